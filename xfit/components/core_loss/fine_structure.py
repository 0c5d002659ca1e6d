"""Fine structure of an edge: cubic splines near its energy, in the place of the cross-section."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from xfit.formulas.kernel_spec import SplineSum

#: Coefficients of a cubic without a knot inside, and the most that a fit could make sense of.
_COUNTS = (4, 400)


@dataclass(frozen=True)
class FineStructure:
    """Where a fine structure is, and what it is made of.

    Attributes
    ----------
    width : float
        Energy in eV above that of the edge where the cross-section begins.
    onset : float
        Energy in eV above that of the edge where the splines begin; below it there is nothing.
    coefficients : int
        Number of B-splines; zero for nothing but a gap.
    """

    width: float
    onset: float
    coefficients: int

    @property
    def step(self) -> float:
        """Distance of the points between which the splines are cubics, in eV."""
        return self.width / max(self.coefficients - 1, 1)

    def names(self) -> list[str]:
        """Names of the coefficients."""
        digits = len(str(max(self.coefficients - 1, 0)))
        return [f"fine_structure_{k:0{digits}d}" for k in range(self.coefficients)]

    def splines(self, name: str) -> SplineSum:
        """Sum of the B-splines, each times its coefficient, over ``x`` and ``onset_energy``, under a name.

        The knots are those of eXSpy: even, without the second point and the last but one. Such splines are sums of
        those with even knots; all but the first and last few are one of these.
        """
        at = f"(x - onset_energy)/{self.step!r}"
        shares = tuple(map(tuple, _in_even_splines(self.coefficients).tolist()))
        return SplineSum(name, at, tuple(self.names()), shares)


def _in_even_splines(count: int) -> np.ndarray:
    """B-splines without two knots, as sums of those with even knots: (count, count + 2), from the one around -1 on."""
    points = np.arange(count, dtype=np.float64)
    knots = np.concatenate([np.zeros(4), points[2:-2], np.full(4, count - 1.0)])
    even = np.arange(-3.0, count + 3.0)
    at = np.linspace(0, count - 1, 8 * count)
    ours = scipy.interpolate.BSpline.design_matrix(at, knots, 3).toarray()
    theirs = scipy.interpolate.BSpline.design_matrix(at, even, 3).toarray()
    shares = np.linalg.lstsq(theirs, ours, rcond=None)[0].T
    # They are fractions of small numbers; what is left of them by rounding would be terms of its own.
    return np.round(shares, 12) + 0.0


def fine_structure_of(width: Any, onset: Any, coefficients: Any) -> FineStructure | None:
    """Check what is said of a fine structure; None where there is none.

    Raises
    ------
    TypeError, ValueError
        For what is no number, for energies below the edge, for an onset or coefficients without a width, and for a
        width of which it is not said what is in it.
    """
    for name, value in (("fine_structure_onset", onset), ("fine_structure_width", width)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, numbers.Real)):
            raise TypeError(f"{name}={value!r} must be a number, in eV above the edge")
    low, high = _COUNTS
    told = coefficients is not None
    coefficients = coefficients if told else 0
    if isinstance(coefficients, bool) or not isinstance(coefficients, numbers.Integral):
        raise TypeError(f"fine_structure_coefficients={coefficients!r} must be an integer")
    if coefficients and not low <= int(coefficients) <= high:
        raise ValueError(f"fine_structure_coefficients={coefficients} must be zero, or from {low} to {high}")
    if width is None:
        if onset or coefficients:
            raise ValueError("a fine structure needs its width: fine_structure_width=, in eV above the edge")
        return None
    if not (np.isfinite(width) and 0 <= onset < width):
        raise ValueError(
            f"fine_structure_onset={onset!r} and fine_structure_width={width!r} must be energies above the edge in eV, "
            "the width the larger"
        )
    if not told:
        raise ValueError(
            f"fine_structure_width={width!r} takes the cross-section away up to there, and nothing is said of what "
            f"takes its place: give fine_structure_coefficients=, from {low} to {high} B-splines (about one for each "
            "three channels), or 0 to leave the range empty for components of your own"
        )
    return FineStructure(float(width), float(onset), int(coefficients))
