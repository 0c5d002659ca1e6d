"""Pulls and coverage: whether the errors of many fits of one truth tell how far their values are off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xfit.results.fit_result import ONE_SIGMA

#: How far the mean of pulls, their width and the coverage may be from 0, 1 and the level, besides chance, if errors are
#: to hold.
MEAN, WIDTH, COVERAGE = 0.1, 0.1, 0.02


@dataclass(frozen=True)
class Outcome:
    """What many fits say of one parameter.

    Attributes
    ----------
    parameter : str
        Its full name, or that of a derived quantity.
    covered : bool (n,)
        Whether the interval holds the truth, of fits that have errors.
    pulls : float (n,), optional
        What values are off by, over their errors; intervals by themselves have none.
    share : float
        Which part of all pixels this is about: those with errors, of those that are asked for.
    level : float
        Probability that the interval is to have.
    where : str
        Which pixels are asked for, in words.
    """

    parameter: str
    covered: np.ndarray
    pulls: np.ndarray | None = None
    share: float = 1.0
    level: float = ONE_SIGMA
    where: str = ""

    @property
    def coverage(self) -> float:
        """Share of the intervals that hold the truth."""
        return float(self.covered.mean())

    @property
    def coverage_error(self) -> float:
        """Standard deviation of the coverage by chance, binomial, were it the level."""
        return float(np.sqrt(self.level * (1 - self.level) / self.covered.size))

    @property
    def mean(self) -> float:
        """Mean of the pulls."""
        return float("nan") if self.pulls is None else float(self.pulls.mean())

    @property
    def width(self) -> float:
        """Standard deviation of the pulls."""
        return float("nan") if self.pulls is None else float(self.pulls.std())

    @property
    def holds(self) -> bool:
        """Whether mean, width and coverage are what they should be, to `MEAN`, `WIDTH` and `COVERAGE` and three
        standard deviations by chance.
        """
        if abs(self.coverage - self.level) > COVERAGE + 3 * self.coverage_error:
            return False
        if self.pulls is None:
            return True
        n = self.pulls.size
        return abs(self.mean) <= MEAN + 3 / np.sqrt(n) and abs(self.width - 1) <= WIDTH + 3 / np.sqrt(2 * n)


def of_fit(
    fit: xr.Dataset,
    truth: Mapping[str, float],
    names: Iterable[str] | None = None,
    among: np.ndarray | None = None,
    where: str = "",
) -> Iterator[Outcome]:
    """Outcomes of parameters, or of quantities derived of them, by their standard errors.

    Parameters
    ----------
    names : iterable of str, optional
        Which of the truth's; all by default.
    among : bool (n,), optional
        Which fits are asked for, and in ``where`` the words for it.
    """
    for name in truth if names is None else names:
        pulls = ((fit.fit[name] - truth[name]) / fit.fit.stderr(name)).values.ravel()
        known = np.isfinite(pulls) & (True if among is None else among)
        yield Outcome(name, np.abs(pulls[known]) <= 1, pulls[known], float(known.mean()), where=where)


def of_intervals(ends: xr.Dataset, truth: Mapping[str, float]) -> Iterator[Outcome]:
    """Outcomes of confidence intervals; where an end is NaN there is none."""
    for level in np.atleast_1d(ends["level"].values):
        at = ends.sel(level=level) if "level" in ends.dims else ends
        for name in map(str, ends["param"].values):
            lower, upper = (at[side].sel(param=name).values for side in ("lower", "upper"))
            known = ~(np.isnan(lower) | np.isnan(upper))
            covered = (lower <= truth[name]) & (truth[name] <= upper)
            yield Outcome(name, covered[known], None, float(known.mean()), float(level))
