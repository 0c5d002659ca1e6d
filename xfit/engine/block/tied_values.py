"""Values of tied parameters for many pixels at once, and their slopes: the instructions of
`xfit.engine.evaluation.tie_machine` on arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xfit.engine.evaluation.tie_machine import OPERATIONS, Ties
from xfit.formulas.array_functions import SPECIAL, of_scipy

_ONE: dict[str, Callable[[Any], Any]] = {
    **{
        name: getattr(np, name)
        for name in ("exp", "log", "sqrt", "abs", "sin", "cos", "tan", "sinh", "cosh", "tanh", "sign")
    },
    **{name: getattr(np, f"arc{name[1:]}") for name in ("asin", "acos", "atan")},
    **{name: of_scipy(name) for name in ("erf", "erfc", "gamma", "digamma")},
    "loggamma": of_scipy("gammaln"),
    "trigamma": lambda x: of_scipy("polygamma")(1, x),
    "heaviside": lambda x: np.heaviside(x, 0.5),
    **{name: SPECIAL[name] for name in ("erfcx", "erfcx_prime", "besselj0", "besselj1", "jinc", "jinc_prime")},
}
_TWO: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "mul": np.multiply,
    "pow": np.power,
    "atan2": np.arctan2,
    "min": np.minimum,
    "max": np.maximum,
    **{name: SPECIAL[name] for name in SPECIAL if name.startswith("wofz")},
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}


def set_tied(ties: Ties, values: np.ndarray) -> None:
    """Set the tied columns of a table of parameters, float64 (n_pixels, n_parameters), from the others, in place."""
    for k, position in enumerate(ties.tied):
        values[:, position] = _run(ties, range(ties.span[k], ties.span[k + 1]), values)


def slopes_of_ties(ties: Ties, values: np.ndarray) -> np.ndarray:
    """Derivatives of the ties with respect to what their formulas name, float64 (n_derivatives,), at one pixel's
    parameters (n_parameters,).
    """
    spans = zip(ties.derivative_span[:-1], ties.derivative_span[1:], strict=True)
    return np.array([_run(ties, range(*span), values[None])[0] for span in spans], np.float64)


def _run(ties: Ties, instructions: range, values: np.ndarray) -> Any:
    """Value of the instructions of one tie."""
    stack: list[Any] = []
    with np.errstate(all="ignore"):
        for i in instructions:
            name = OPERATIONS[ties.operation[i]]
            if name == "const":
                stack.append(np.full(len(values), ties.constant[i]))
            elif name == "load":
                stack.append(values[:, ties.position[i]])
            elif name in _ONE:
                stack.append(np.asarray(_ONE[name](stack.pop()), np.float64))
            elif name in _TWO:
                other = stack.pop()
                stack.append(np.asarray(_TWO[name](stack.pop(), other), np.float64))
            else:
                otherwise, value, condition = stack.pop(), stack.pop(), stack.pop()
                stack.append(np.where(condition != 0, value, otherwise))
    return stack[0]
