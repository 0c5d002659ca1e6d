"""The variance of counts, as a function of arrays: the linear noise of a detector."""

from __future__ import annotations

import numpy as np


def variance_of_counts(values: np.ndarray, gain: float, offset: float, correlation: float) -> np.ndarray:
    """Variance ``correlation * (gain * values + offset)``, nowhere below that of the readout or of a single count.

    Parameters
    ----------
    values : array
        Data, of any real dtype.
    gain, offset, correlation : float
        See `xfit.noise.Poisson`.

    Returns
    -------
    float64, of the same shape
        NaN where the data are.
    """
    expected = np.asarray(values, np.float64) * gain
    expected += offset
    np.maximum(expected, max(offset, gain**2), out=expected)
    expected *= correlation
    return expected
