"""Which function or formula a user's component had when it was fitted: results and stored runs know it by a digest."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from xfit.formulas.function_kernel import FunctionKernel, remembered
from xfit.modeling.text_limits import json_of

if TYPE_CHECKING:
    from xfit.engine.codegen.program import Kernel
    from xfit.modeling.component import Component
    from xfit.modeling.model import Model


def digests_of(model: Model, kernels: Iterable[Kernel]) -> dict[str, str]:
    """Digests of the kernels of components that users have defined, by the components' names."""
    return {
        component.name: _digest(kernel)
        for component, kernel in zip(model, kernels, strict=True)
        if isinstance(kernel, FunctionKernel) or not type(component).__module__.startswith("xfit.")
    }


def _digest(kernel: Kernel) -> str:
    if isinstance(kernel, FunctionKernel):
        return kernel.digest
    # Not at the top: `import xfit` does not wait for the engine.
    from xfit.engine.codegen.program import content_of

    return hashlib.sha256(repr(content_of(kernel)).encode()).hexdigest()


def as_text(digests: dict[str, str]) -> str:
    """Digests as a result's attribute has them."""
    return json.dumps({"python": sys.implementation.cache_tag, "digests": digests}, ensure_ascii=False)


def restore(model: Model, text: str | None) -> None:
    """Give the components of a result's model the functions that were fitted.

    Parameters
    ----------
    model : Model
        As it was read; changed in place.
    text : str, optional
        See `as_text`; results without it have no such components.

    Raises
    ------
    ValueError
        For a component that is another one now than was fitted.
    """
    known: dict[str, Any] = json_of(text) if text else {"python": "", "digests": {}}
    for name, digest in known["digests"].items():
        component = model[name]
        if isinstance(component.kernel, FunctionKernel):
            # Another Python has other bytecode for the same source.
            if known["python"] != sys.implementation.cache_tag or component.kernel.digest == digest:
                continue
            fitted = remembered(digest)
            if fitted is None:
                raise ValueError(_message(component, f"the function {component.registered!r}"))
            component._use(fitted)
        elif _digest(component.kernel) != digest:
            raise ValueError(_message(component, f"the class {type(component).__name__!r}"))


def _message(component: Component, what: str) -> str:
    return (
        f"component {component.name!r}: {what} is not the one of the fit any more, its code or a value that it reads "
        "has changed; define it as it was to evaluate the result, or fit again"
    )
