"""Lists of numbers in plain data, as JSON gives them, checked."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from xfit.modeling.text_limits import shown


def number_array(data: Any, what: str) -> np.ndarray:
    """Return a list of numbers as float64.

    Raises
    ------
    TypeError
        For anything else.
    ValueError
        For numbers that are not finite, or larger than any that a float can hold; with their place.
    """
    if not isinstance(data, list) or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in data):
        raise TypeError(f"{what} must be a list of numbers")
    try:
        found = np.array(data, np.float64)
    except OverflowError:
        found = np.array([v if abs(v) <= sys.float_info.max else np.inf for v in data])
    wrong = np.flatnonzero(~np.isfinite(found))
    if wrong.size:
        raise ValueError(f"{what}[{wrong[0]}] must be a finite number, not {shown(data[wrong[0]])}")
    return found
