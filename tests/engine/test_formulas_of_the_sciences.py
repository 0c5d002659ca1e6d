"""A seeded dozen of the formulas of the sciences, over all their ranges, fitted beside `scipy.optimize.curve_fit`;
ci/formulas fits all of them.
"""

from __future__ import annotations

import importlib
import random

import numpy as np
import pytest

from ci.sciences.formula import channels, data
from ci.sciences.table import FIELDS, FORMULAS
from xfit.components import Expression
from xfit.engine.codegen.kernel_source import kernel_source

#: Imported so, mypy does not check it, which takes the starts of a formula for other options of `Expression`.
_COMPARE = importlib.import_module("ci.sciences.compare")
CLOSE, compare, reading = _COMPARE.CLOSE, _COMPARE.compare, _COMPARE.reading
DOZEN = random.Random(1).sample(sorted(FORMULAS), 12)


def test_the_table_is_what_it_claims_to_be() -> None:
    """Each name once, starts on round numbers; ranges that begin at 0, cross it and reach far; data
    wherever the formula has a value.
    """
    assert sum(map(len, FIELDS.values())) == len(FORMULAS) >= 60
    ranges = [limits for formula in FORMULAS.values() for limits in formula.ranges]
    assert sum(limits[0] == 0 for limits in ranges) >= 60
    assert sum(limits[0] < 0 < limits[1] for limits in ranges) >= 60
    assert sum(len(limits) == 3 for limits in ranges) >= 60
    for formula in FORMULAS.values():
        assert all(start == float(f"{start:.2g}") for start in formula.start), formula.name
        for limits in formula.ranges:
            x, y = data(formula, limits)
            assert np.isfinite(y).all(), formula.name
            # Ends of the domain, such as 0/0 and logarithms of zero, are at most two channels.
            assert channels(limits).size - x.size <= 2, formula.name


@pytest.mark.parametrize("name", DOZEN)
def test_at_least_as_good_as_scipy(name: str) -> None:
    """Chi-squared at most SciPy's where that succeeds; read, differentiated and printed
    within a second of processor time.
    """
    formula = FORMULAS[name]
    kernel_source(Expression("a*exp(-x/b)").kernel)  # imports sympy
    seconds = reading(formula)
    for limits in formula.ranges:
        row = compare(formula, limits, seconds)
        assert row.verdict in ("ok", "lower"), str(row)
        # SciPy's own fit stops at changes of 1.5e-8 of chi-squared.
        assert row.ours.chisq <= (1 + CLOSE) * row.theirs.chisq
