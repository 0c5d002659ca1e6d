"""Estimators: parameters of components from data, for many pixels at once; NumPy only.

An estimator is a function ``f(x, y, width)`` that returns a dict of parameter name to float64 (n_pixels,):

- ``x`` float64 (n_channels,): the coordinate, ascending.
- ``y`` float64 (n_pixels, n_channels), C-contiguous: densities, which for binned data are the counts over the channel
  width; NaN where a channel is left out (`filled` interpolates over those).
- ``width`` float64 (n_channels,): channel widths, for integrals.

Those of images take two coordinates. What it can't tell is NaN or infinite. A component offers it as
``estimator = Estimator(f, channels=3)``. Every number of a pixel must come from its row alone by elementwise
operations, sums or cumulative sums along it, never by a matrix product: then its bits do not depend on which pixels
share the block.
"""

from xfit.modeling.estimators.backgrounds import (
    bleasdale,
    double_power_law,
    exponential,
    offset,
    polynomial,
    power_law,
    vignetting,
)
from xfit.modeling.estimators.decays import decay, double_decay, saturation
from xfit.modeling.estimators.images import airy, gaussian2d, lorentzian2d, moffat2d, surface
from xfit.modeling.estimators.peaks import (
    core_line,
    doniach,
    drude,
    gaussian,
    gaussian_hf,
    lorentzian,
    moffat,
    pattern,
    peak,
    pearson7,
    pes_voigt,
    pseudo_voigt,
    voigt,
)
from xfit.modeling.estimators.rows import Estimates, Estimator, filled
from xfit.modeling.estimators.skewed import (
    exponentially_modified,
    fano,
    log_normal,
    oscillator,
    secondary_electrons,
    skew_normal,
    split_voigt,
)
from xfit.modeling.estimators.steps import arctan, eels_arctan, erf, heaviside, logistic

__all__ = [
    "Estimates",
    "Estimator",
    "airy",
    "arctan",
    "bleasdale",
    "core_line",
    "decay",
    "doniach",
    "double_decay",
    "double_power_law",
    "drude",
    "eels_arctan",
    "erf",
    "exponential",
    "exponentially_modified",
    "fano",
    "filled",
    "gaussian",
    "gaussian2d",
    "gaussian_hf",
    "heaviside",
    "log_normal",
    "logistic",
    "lorentzian",
    "lorentzian2d",
    "moffat",
    "moffat2d",
    "offset",
    "oscillator",
    "pattern",
    "peak",
    "pearson7",
    "pes_voigt",
    "polynomial",
    "power_law",
    "pseudo_voigt",
    "saturation",
    "secondary_electrons",
    "skew_normal",
    "split_voigt",
    "surface",
    "vignetting",
    "voigt",
]
