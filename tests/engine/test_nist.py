"""The NIST StRD nonlinear regression sets: certified values to 11 digits, from both starts, with default options."""

from __future__ import annotations

import pytest

from tests.support.nist import NAMES, digits, fit, read


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_certified_values(name: str, start: int) -> None:
    """Six digits of every parameter, four of its standard deviation, six of the residual sum of squares.

    Lanczos1 is the exception: its residuals are 1e-13 of the data, a few hundred units in their last place, so that
    sums of squares computed in double precision can have no more than about three digits; standard deviations follow
    them.
    """
    case = read(name)
    result = fit(case, start)
    assert result.attrs["message"] == "converged"
    assert digits(result.value, case.values) >= 6
    assert digits(result.stderr, case.stderr) >= (2 if name == "Lanczos1" else 4)
    assert digits(result.chisq, case.rss) >= (2 if name == "Lanczos1" else 6)
