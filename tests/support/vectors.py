"""Memory for vectors of pixels side by side."""

from __future__ import annotations

import numpy as np

from xfit.engine.math.layout import LANES


def vectors(count: int) -> np.ndarray:
    """Allocate so many vectors, each in a cache line."""
    raw = np.zeros(count * LANES + 8)
    skip = (-(raw.ctypes.data // 8)) % 8
    return raw[skip : skip + count * LANES]
