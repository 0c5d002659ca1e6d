"""Fits of formulas of the sciences beside those of SciPy, from the same starts to the same data:
``python -m ci.sciences.compare``.

The columns are the formula with its range, the verdict, chi-squared over that of `scipy.optimize.curve_fit`,
evaluations of either, and the seconds in which the formula is read, differentiated and printed as source. Words after
the command choose formulas or fields by parts of their names.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.optimize import OptimizeWarning, curve_fit

import xfit
from ci.sciences.formula import Formula, data
from ci.sciences.table import FIELDS
from xfit.components import Expression
from xfit.engine.codegen.kernel_source import kernel_source
from xfit.engine.pixel import status

#: By how much chi-squared may be above SciPy's, which stops at changes of 1.5e-8.
CLOSE = 1e-6
#: Largest time in which a formula is read, differentiated and printed, in seconds.
LIMIT = 1.0


@dataclass(frozen=True)
class Minimum:
    """Where a fit has ended.

    Attributes
    ----------
    parameters : ndarray
        Values, in the formula's order.
    chisq : float
        Sum of squared deviations from the formula in NumPy; infinite where that is not finite.
    fine : bool
        Whether the fit says of itself that it went well, and has errors of all parameters.
    words : str
        What it says.
    nfev : int
        Evaluations of the model, those for differences among them.
    """

    parameters: np.ndarray
    chisq: float
    fine: bool
    words: str
    nfev: int

    def __str__(self) -> str:
        values = ", ".join(f"{value:.6g}" for value in self.parameters)
        return f"chisq {self.chisq:.9g} at ({values}), {self.words}"


@dataclass(frozen=True)
class Row:
    """One formula over one range: both minima, and what follows.

    Attributes
    ----------
    seconds : float
        Time in which the formula was read, differentiated and printed.
    verdict : str
        "ok"; "lower" where SciPy's fit fails or ends higher; "other minimum" where both end in minima and SciPy's is
        lower; "neither" where both fail; or "FAIL" and why.
    """

    formula: Formula
    limits: tuple[float, ...]
    ours: Minimum
    theirs: Minimum
    seconds: float
    verdict: str

    @property
    def ratio(self) -> float:
        """Chi-squared over SciPy's."""
        return self.ours.chisq / self.theirs.chisq if self.theirs.chisq > 0 else np.inf

    def __str__(self) -> str:
        where = " to ".join(f"{limit:g}" for limit in self.limits[:2]) + (", far" if len(self.limits) > 2 else "")
        return (
            f"{self.formula.name:41} {where:21} {self.ratio:12.9g} {self.ours.nfev:5} {self.theirs.nfev:6} "
            f"{self.seconds:6.3f}  "
            + self.verdict
            + ("" if self.verdict == "ok" else f"\n{'':4}xfit:  {self.ours}\n{'':4}SciPy: {self.theirs}")
        )


def reading(formula: Formula) -> float:
    """Processor time in which the formula is read, differentiated and printed as source, in seconds."""
    began = time.process_time()
    kernel_source(Expression(formula.text).kernel)
    return time.process_time() - began


def fitted(formula: Formula, x: np.ndarray, y: np.ndarray) -> tuple[Minimum, float]:
    """Where `xfit` ends, and the chi-squared that it says itself."""
    component = Expression(formula.text, name="f", **{name: start for name, (_, start) in formula.parameters.items()})
    for name, (low, high) in formula.bounds.items():
        component[name].set(min=low, max=high)
    fit = xr.DataArray(y, dims="x", coords={"x": x}).fit.multifit(xfit.Model([component]))
    values = np.array([float(fit.fit[f"f.{name}"]) for name in formula.parameters])
    errors = np.array([float(fit.fit.stderr(f"f.{name}")) for name in formula.parameters])
    ended = int(fit["status"])
    fine = ended == status.CONVERGED and bool(np.isfinite(errors).all())
    words = status.MEANINGS[ended] + ("" if fine or ended != status.CONVERGED else " without errors")
    return Minimum(values, chisq(formula, x, y, values), fine, words, int(fit["nfev"])), float(fit["chisq"])


def of_scipy(formula: Formula, x: np.ndarray, y: np.ndarray, start: np.ndarray) -> Minimum:
    """Where `scipy.optimize.curve_fit` ends."""
    low, high = np.array([formula.bounds.get(name, (-np.inf, np.inf)) for name in formula.parameters]).T
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", OptimizeWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            values, covariance, info, _, _ = curve_fit(
                formula.reference, x, y, p0=start, bounds=(low, high), full_output=True
            )
        except (RuntimeError, ValueError) as error:
            return Minimum(start, np.inf, False, f"{type(error).__name__}: {' '.join(str(error).split())}", 0)
    end = chisq(formula, x, y, values)
    known = bool(np.isfinite(covariance).all())
    words = "converged" if known else "no covariance"
    return Minimum(values, end, known and bool(np.isfinite(end)), words, int(info["nfev"]))


def chisq(formula: Formula, x: np.ndarray, y: np.ndarray, parameters: np.ndarray) -> float:
    """Sum of squared deviations from the formula in NumPy."""
    with np.errstate(all="ignore"):
        total = float(np.sum((y - formula.values(x, parameters)) ** 2))
    return total if np.isfinite(total) else np.inf


def compare(formula: Formula, limits: tuple[float, ...], seconds: float) -> Row:
    """Fit a formula over a range by both.

    Parameters
    ----------
    seconds : float
        Time that `reading` the formula has taken; it is long only the first time in a process.
    """
    x, y = data(formula, limits)
    ours, said = fitted(formula, x, y)
    theirs = of_scipy(formula, x, y, formula.start)
    return Row(formula, limits, ours, theirs, seconds, _verdict(formula, x, y, ours, said, theirs, seconds))


def _verdict(
    formula: Formula, x: np.ndarray, y: np.ndarray, ours: Minimum, said: float, theirs: Minimum, seconds: float
) -> str:
    """What follows from both minima."""
    if seconds >= LIMIT:
        return f"FAIL: read in {seconds:.1f} s"
    if np.isfinite(ours.chisq) and not abs(said - ours.chisq) <= CLOSE * ours.chisq:
        return f"FAIL: chisq {said:.9g} is not that of the values"
    if ours.chisq > (1 + CLOSE) * theirs.chisq:
        # A minimum is where a fit that begins there stays and has errors: not where parameters have lost their
        # influence.
        again = of_scipy(formula, x, y, ours.parameters)
        stays = again.fine and again.chisq >= (1 - CLOSE) * ours.chisq
        return "other minimum" if ours.fine and theirs.fine and stays else f"FAIL: {ours.words}, higher"
    if not ours.fine:
        return f"FAIL: {ours.words}" if theirs.fine else "neither"
    return "ok" if theirs.fine and ours.chisq >= (1 - CLOSE) * theirs.chisq else "lower"


def chosen(words: list[str]) -> Mapping[str, tuple[Formula, ...]]:
    """Formulas of which the name, or the field's, contains one of the words; all without words."""
    found = {
        field: tuple(f for f in formulas if not words or any(word in f"{field} {f.name}" for word in words))
        for field, formulas in FIELDS.items()
    }
    return {field: formulas for field, formulas in found.items() if formulas}


def main() -> int:
    """Print the table; the number of failures is told by the exit code."""
    kernel_source(Expression("a*exp(-x/b)").kernel)  # imports sympy
    verdicts: dict[str, int] = {}
    print(f"{'formula':41} {'range':21} {'chisq/SciPy':>12} {'nfev':>5} {'SciPy':>6} {'read/s':>6}  verdict")
    for field, formulas in chosen(sys.argv[1:]).items():
        print(f"-- {field}")
        for formula in formulas:
            seconds = reading(formula)
            for limits in formula.ranges:
                row = compare(formula, limits, seconds)
                print(row, flush=True)
                verdict = row.verdict.partition(":")[0]
                verdicts[verdict] = verdicts.get(verdict, 0) + 1
    print(", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())))
    return int("FAIL" in verdicts)


if __name__ == "__main__":
    sys.exit(main())
