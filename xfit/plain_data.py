"""Lists of numbers in plain data, as JSON gives them, checked."""

from __future__ import annotations

from typing import Any

import numpy as np


def number_array(data: Any, what: str) -> np.ndarray:
    """Return a list of numbers as float64.

    Raises
    ------
    TypeError
        For anything else.
    """
    if not isinstance(data, list) or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in data):
        raise TypeError(f"{what} must be a list of numbers")
    return np.array(data, np.float64)
