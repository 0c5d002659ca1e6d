"""Values and errors rounded together: the examples of the Particle Data Group, and that nothing is
rounded by more than half a digit.
"""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xfit.results.rounding import rounded


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.827, 0.119, "0.83 ± 0.12"),
        (0.827, 0.367, "0.8 ± 0.4"),
        (0.827, 0.0961, "0.83 ± 0.10"),
        (0.827, 0.951, "0.8 ± 1.0"),
        (708.12345, 0.01234, "708.123 ± 0.012"),
        (12345.6, 354.0, "(1.235 ± 0.035)e+04"),
        (12345.6, 35.5, "(1.235 ± 0.004)e+04"),
        (-3.14159, 0.002, "-3.1416 ± 0.0020"),
        (1.5e-12, 2e-13, "(1.50 ± 0.20)e-12"),
        (6.02e23, 1e21, "(6.020 ± 0.010)e+23"),
        (0.0, 0.5, "0.0 ± 0.5"),
        (250.0, math.nan, "250"),
        (250.0, 0.0, "250"),
        (math.nan, 1.0, "-"),
        (3.0, 45.0, "(0 ± 4)e+01"),
    ],
)
def test_examples(value, error, text) -> None:
    assert rounded(value, error) == text


@given(st.floats(-1e12, 1e12), st.floats(-10, 10))
@example(99999995000.0, -6.0)
@example(1e12, -10.0)
def test_by_no_more_than_half_a_digit_of_the_error(value, power) -> None:
    error = 10.0**power
    text = rounded(value, error)
    numbers = re.fullmatch(r"\(?(-?[\d.]+) ± ([\d.]+)\)?(?:e([+-]\d+))?", text)
    assert numbers is not None, text
    scale = 10.0 ** int(numbers[3] or 0)
    digit = scale * 10.0 ** -(len(numbers[1].partition(".")[2]))
    assert abs(float(numbers[1]) * scale - value) <= 0.5001 * digit + 1e-12 * abs(value)
    assert abs(float(numbers[2]) * scale - error) <= 0.5001 * digit
    # One or two significant digits of the error.
    assert digit <= 1.01 * error
    assert digit >= error / 36
