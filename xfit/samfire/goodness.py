"""Tests of goodness: whether a fit is good enough to be kept, and to be a start for its neighbours."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numba
import numpy as np

from xfit.engine.pixel.scalars import SCALARS
from xfit.formulas.snapshots import frozen

Statistics = Mapping[str, np.ndarray]


class Goodness(Protocol):
    """A test of goodness; any class with such a method is one."""

    def good(self, statistics: Statistics) -> np.ndarray:
        """Which fits are good; those that have not converged are none whatever is said of them.

        Parameters
        ----------
        statistics : mapping of str to float64 (n,)
            "chisq", "red_chisq", "loss", "dof", "nfev", "aic", "aicc" and "bic" of each fit.

        Returns
        -------
        bool (n,)
        """
        ...


@dataclass(frozen=True)
class RedChisq:
    """Good where the reduced chi-squared is within ``tolerance`` of what is expected.

    It needs a true variance: without one, the reduced chi-squared is the mean squared residual, and ``expected`` must
    be of that size.

    Parameters
    ----------
    tolerance : float
        Largest distance.
    expected : float
        What a good fit has.
    """

    tolerance: float = 1.0
    expected: float = 1.0

    def __post_init__(self) -> None:
        _check("tolerance", self.tolerance)
        _check("expected", self.expected)
        if self.tolerance <= 0:
            raise ValueError(f"tolerance={self.tolerance!r} must be above zero")

    def good(self, statistics: Statistics) -> np.ndarray:
        """See `Goodness.good`."""
        return np.asarray(np.abs(statistics["red_chisq"] - self.expected) < self.tolerance)


@dataclass(frozen=True)
class _Criterion:
    """Good where an information criterion is at most ``threshold``.

    Parameters
    ----------
    threshold : float
        Largest value.
    """

    threshold: float

    def __post_init__(self) -> None:
        _check("threshold", self.threshold)

    def good(self, statistics: Statistics) -> np.ndarray:
        """See `Goodness.good`."""
        return np.asarray(statistics[type(self).__name__.lower()] <= self.threshold)


class AIC(_Criterion):
    """Good where Akaike's information criterion is at most ``threshold``."""


class AICc(_Criterion):
    """Good where Akaike's criterion, corrected for few channels, is at most ``threshold``."""


class BIC(_Criterion):
    """Good where the Bayesian information criterion is at most ``threshold``."""


@dataclass(frozen=True)
class _Function:
    """A user's function of some of the statistics, one fit at a time, compiled."""

    function: Callable[..., Any]
    names: tuple[str, ...]

    def good(self, statistics: Statistics) -> np.ndarray:
        """See `Goodness.good`."""
        rows = zip(*(statistics[name] for name in self.names), strict=True)
        return np.array([bool(self.function(*row)) for row in rows], bool)


_STATISTICS = tuple(name for name in SCALARS if name != "status")


def goodness_of(given: Any) -> Goodness:
    """Check a test of goodness.

    Parameters
    ----------
    given : None, Goodness or callable
        None is ``RedChisq()``. A function, compiled by numba or to be compiled, names as its arguments the statistics
        that it needs.

    Raises
    ------
    TypeError
        For what is none.
    """
    if given is None:
        return RedChisq()
    if callable(getattr(given, "good", None)):
        found: Goodness = given
        return found
    plain = getattr(given, "py_func", given)
    if not callable(given) or isinstance(given, type):
        raise TypeError(
            f"goodness={given!r} must be a test such as xfit.samfire.RedChisq(tolerance=1.0), or a function of some of "
            f"{', '.join(_STATISTICS)}"
        )
    names = tuple(inspect.signature(plain).parameters)
    unknown = [name for name in names if name not in _STATISTICS]
    if unknown or not names:
        raise TypeError(
            f"goodness is a function of {list(names)}; its arguments must be some of {', '.join(_STATISTICS)}"
        )
    function = given if hasattr(given, "py_func") else numba.njit(frozen(given))
    function(*(1.0 for _ in names))
    return _Function(function, names)


def _check(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(float(value)):
        raise ValueError(f"{name}={value!r} must be a finite number")
