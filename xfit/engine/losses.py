"""What a fit minimises: the losses by name, with their numbers, and those of users."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from xfit.formulas.snapshots import digest, frozen

#: Losses by name, with what they are.
NAMES = {
    "ls": "sum of squared deviations over the variance",
    "poisson": "Cash's statistic: the likelihood of counts",
    "huber": "squares up to loss_scale, then straight lines",
    "soft_l1": "a smooth Huber",
    "cauchy": "logarithm: the likelihood of Cauchy's distribution",
    "arctan": "arctangent: what is far out has no influence",
}

#: Names that other programs have for them.
_SYNONYMS = {"linear": "ls", "least_squares": "ls", "ml-poisson": "poisson", "cash": "poisson", "cstat": "poisson"}

#: Those that outliers have little influence on.
ROBUST = tuple(name for name in NAMES if name not in ("ls", "poisson"))

#: Those that `scipy.optimize.least_squares` has under the same name.
OF_SCIPY = ("huber", "soft_l1", "cauchy", "arctan")


@dataclass(frozen=True)
class LossKernel:
    """A loss of a user's own, compiled, for all optimizers that follow derivatives.

    A fit takes the function as it is when the fit is called, with the numbers, arrays and functions that it reads.

    Parameters
    ----------
    function : callable
        ``function(data, model, weight)`` of three numbers, those of a channel; it returns its value and its first and
        second derivative with respect to ``model``. The weight is the inverse of the variance (one where there is
        none). It must be compilable by numba: arithmetic, `math` and `numpy` functions, conditions. The value should be
        zero where the model meets the data.
    name : str, optional
        What reports call it; by default the function's name.

    Examples
    --------
    >>> import xfit
    >>> def log_cosh(data, model, weight):
    ...     r = model - data
    ...     t = math.tanh(r)
    ...     return 2 * weight * math.log(math.cosh(r)), 2 * weight * t, 2 * weight * (1 - t * t)
    >>> xfit.LossKernel(log_cosh).name
    'log_cosh'
    """

    function: Callable[[float, float, float], tuple[float, float, float]]
    name: str = ""

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"function must be callable, not {type(self.function).__name__}")
        _check_arguments(self.function, "LossKernel")
        if not self.name:
            object.__setattr__(self, "name", getattr(self.function, "__name__", "custom"))

    def snapshot(self) -> LossKernel:
        """Return the loss as it is now: later changes of what the function reads do not concern it."""
        return LossKernel(frozen(self.function), self.name)


@dataclass(frozen=True)
class Loss:
    """A checked loss, as it travels with the tasks of a fit.

    Attributes
    ----------
    name : str
        One of `NAMES`, or that of a user's function.
    scale : float
        Of robust losses: the deviation, in standard deviations, where outliers begin.
    kernel : LossKernel, optional
        A user's compiled loss.
    function : callable, optional
        A user's Python function of arrays, which returns the whole loss.
    gain, offset, correlation : float
        Of counts: the detector; see `xfit.noise`.
    iterated : bool
        Whether this is least squares with a variance that follows the model.
    digest : str
        Of a user's function: what tells it apart from others; see `xfit.formulas.snapshots.digest`. Empty where that
        can't be told.
    """

    name: str = "ls"
    scale: float = 1.0
    kernel: LossKernel | None = None
    function: Callable[..., float] | None = None
    gain: float = 1.0
    offset: float = 0.0
    correlation: float = 1.0
    iterated: bool = False
    digest: str = ""

    @property
    def kind(self) -> str:
        """One of `NAMES`, or "kernel" or "callable" for a user's."""
        return "kernel" if self.kernel is not None else "callable" if self.function is not None else self.name

    @property
    def robust(self) -> bool:
        """Whether it is one of those that outliers have little influence on."""
        return self.kind in ROBUST

    @property
    def has_likelihood(self) -> bool:
        """Whether its value is that of a likelihood, so that models can be compared by information criteria."""
        return self.kind in ("ls", "poisson") and not self.iterated

    def with_detector(self, gain: float, offset: float, correlation: float) -> Loss:
        """Least squares whose variance follows the model, by the linear noise of a detector."""
        return replace(self, gain=gain, offset=offset, correlation=correlation, iterated=True)


#: The loss of a fit that asks for no other.
LEAST_SQUARES = Loss()


def loss_of(loss: Any, scale: float = 1.0) -> Loss:
    """Check a loss that a user asks for.

    Raises
    ------
    TypeError, ValueError
        For what is no loss, listing those there are, or a scale that makes no sense.
    """
    if isinstance(scale, bool) or not isinstance(scale, numbers.Real) or not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"loss_scale={scale!r} must be a number above zero: the deviation where outliers begin")
    if isinstance(loss, str):
        name = _SYNONYMS.get(loss.lower(), loss.lower())
        if name not in NAMES:
            raise ValueError(
                f"unknown loss {loss!r}; use one of: {', '.join(NAMES)}, an xfit.LossKernel, or a function of arrays"
            )
        if scale != 1.0 and name not in ROBUST:
            raise ValueError(f"loss_scale={scale} means nothing to loss={loss!r}; it is for: {', '.join(ROBUST)}")
        return Loss(name, float(scale))
    if scale != 1.0:
        raise ValueError(f"loss_scale={scale} means nothing to a loss of your own; it is for: {', '.join(ROBUST)}")
    if callable(loss) and hasattr(loss, "py_func"):
        loss = LossKernel(loss)
    if isinstance(loss, LossKernel):
        kernel = loss.snapshot()
        return Loss(kernel.name, kernel=kernel, digest=digest(kernel.function))
    if callable(loss):
        _check_arguments(loss, "loss")
        function = frozen(loss, compiled=False)
        return Loss(getattr(loss, "__name__", "custom"), function=function, digest=_digest_if_any(function))
    raise TypeError(
        f"loss must be one of {', '.join(NAMES)}, an xfit.LossKernel, or a function of arrays (data, model, weight); "
        f"not {loss!r}"
    )


def _digest_if_any(function: Callable[..., Any]) -> str:
    """Digest of a Python function; empty where it reads objects of any kind."""
    try:
        return digest(function)
    except TypeError:
        return ""


def _check_arguments(function: Callable[..., Any], what: str) -> None:
    """Refuse functions that don't take data, model and weight."""
    names = list(inspect.signature(getattr(function, "py_func", function)).parameters)
    if len(names) != 3:
        raise ValueError(f"{what}: the function must take three arguments (data, model, weight), not {names}")
