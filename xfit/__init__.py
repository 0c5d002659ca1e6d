"""Curve fitting of hyperspectral data: labelled, chunked, at compiled speed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xfit import accessor, components, noise
from xfit._version import __version__
from xfit.arrays.masks import signal_range
from xfit.components.function import component
from xfit.engine.block.optimizers import optimizers
from xfit.engine.losses import LossKernel
from xfit.modeling.component import Component, Derived, Spec, provide
from xfit.modeling.estimators import Estimator
from xfit.modeling.model import Model
from xfit.modeling.parameter import Parameter

if TYPE_CHECKING:
    from xfit.components.from_lmfit import from_lmfit as from_lmfit
    from xfit.files.gosh import read_gos as read_gos
    from xfit.files.open import open as open
    from xfit.files.save import save as save
    from xfit.fitting.multifit import multifit as multifit
    from xfit.fitting.planning.arguments import BoundsLike as BoundsLike
    from xfit.fitting.planning.arguments import StartLike as StartLike
    from xfit.fitting.planning.arguments import VarianceLike as VarianceLike
    from xfit.fitting.selection import compare_nested as compare_nested
    from xfit.hyperspy.signals import from_hyperspy as from_hyperspy
    from xfit.hyperspy.signals import to_hyperspy as to_hyperspy

# Without `open` and `hyperspy`, which `from xfit import *` would put in the place of others of these names.
__all__ = [
    "BoundsLike",
    "Component",
    "Derived",
    "Estimator",
    "LossKernel",
    "Model",
    "Parameter",
    "Spec",
    "StartLike",
    "VarianceLike",
    "__version__",
    "accessor",
    "compare_nested",
    "component",
    "components",
    "from_hyperspy",
    "from_lmfit",
    "models",
    "multifit",
    "noise",
    "optimizers",
    "read_gos",
    "samfire",
    "save",
    "signal_range",
    "to_hyperspy",
]


def _estimate(*args: Any, **options: Any) -> Any:
    from xfit.fitting.running.estimate_component import estimate

    return estimate(*args, **options)


provide(estimate=_estimate)

#: Imported when they are first asked for.
_LATER = {
    "open": "xfit.files.open",
    "save": "xfit.files.save",
    "models": "xfit.fitting.stored.model_store",
    "multifit": "xfit.fitting.multifit",
    "BoundsLike": "xfit.fitting.planning.arguments",
    "StartLike": "xfit.fitting.planning.arguments",
    "VarianceLike": "xfit.fitting.planning.arguments",
    "compare_nested": "xfit.fitting.selection",
    "from_hyperspy": "xfit.hyperspy.signals",
    "from_lmfit": "xfit.components.from_lmfit",
    "read_gos": "xfit.files.gosh",
    "to_hyperspy": "xfit.hyperspy.signals",
}
_PACKAGES = ("hyperspy", "samfire")


def __getattr__(name: str) -> Any:
    """Import what fits, schedules work, reads files or converts when it is first asked for:
    `import xfit` does not wait for it.
    """
    if name in _PACKAGES:
        return import_module(f"xfit.{name}")
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'xfit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, *_PACKAGES})
