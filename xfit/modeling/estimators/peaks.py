"""Estimators of peaks, from their moments, quartiles or heights."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from xfit.modeling.estimators.rows import (
    Estimates,
    above_baseline,
    edges_of,
    factor_of,
    filled,
    height_of,
    peak_moments,
    pick,
    quantile,
    sums,
)

#: A Lorentzian's quartiles are taken within this many gammas.
_LORENTZIAN_REACH = 8.0

#: Full width at half maximum over the standard deviation of the moments: between a Gaussian's 2.35 and a Lorentzian's
#: 1.25.
_WIDTH = 1.75

#: Width of a Gaussian and of a Lorentzian of the same width whose convolution has a width of one, by the formula of
#: Olivero and Longbothum (1977), doi:10.1016/0022-4073(77)90161-3.
_EACH = 1 / (0.5346 + math.sqrt(1.2166))

#: Area over that of the channels that the moments are taken from, half way between a Gaussian's and a Lorentzian's.
_TAILS = 1.12

_FWHM = math.sqrt(8 * math.log(2))


def gaussian(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    """Estimate a Gaussian by its area from moments: see `peak_moments`.

    HyperSpy's ``Gaussian.estimate_parameters`` takes the same moments over the whole range without a baseline, and the
    area from the largest value.
    """
    area, centre, sigma = peak_moments(x, y, width)
    return {"A": area, "centre": centre, "sigma": sigma}


def gaussian_hf(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    """Estimate a Gaussian by its height from moments: see `peak_moments`."""
    area, centre, sigma = peak_moments(x, y, width)
    fwhm = sigma * math.sqrt(8 * math.log(2))
    return {"centre": centre, "fwhm": fwhm, "height": area / (sigma * math.sqrt(2 * math.pi))}


def peak(*, height: str, centre: str, width: str, fwhm: float) -> Callable[..., Estimates]:
    """Make an estimator for a peak that is about as high and as wide as a Gaussian of the same data.

    Parameters
    ----------
    height, centre, width : str
        Names of the component's parameters.
    fwhm : float
        Full width at half maximum of the component where its width is one.
    """

    def estimate(x: np.ndarray, y: np.ndarray, widths: np.ndarray) -> Estimates:
        found = gaussian_hf(x, y, widths)
        return {height: found["height"], centre: found["centre"], width: found["fwhm"] / fwhm}

    return estimate


def lorentzian(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    r"""Estimate a Lorentzian by its quartiles, which unlike its moments exist.

    The centre is the median, gamma half of the distance between the quartiles, as in HyperSpy; but here after a
    baseline has been subtracted, interpolated within channels, and over the channels within 8 gamma of the centre. Of a
    Lorentzian :math:`\frac{2}{\pi}\arctan 8` lies in there, and its quartiles are at
    :math:`\pm\gamma\tan(\frac{1}{2}\arctan 8)`.
    """
    above = above_baseline(x, filled(x, y))
    area, centre, sigma = peak_moments(x, y, width)
    cumulative = sums(above * width)
    edges = edges_of(x)
    inner = math.tan(math.atan(_LORENTZIAN_REACH) / 2)
    gamma = sigma / 1.6  # what the moments of a Lorentzian within 3.5 sigma give
    for _ in range(4):
        reach = np.maximum(_LORENTZIAN_REACH * gamma, sigma)
        low, high = np.searchsorted(x, centre - reach), np.searchsorted(x, centre + reach, "right")
        total = pick(cumulative, high) - pick(cumulative, low)
        quarters = [quantile(cumulative, edges, low, total, part) for part in (0.25, 0.5, 0.75)]
        good = (total > 0) & (quarters[2] > quarters[0])
        area = np.where(good, total * math.pi / (2 * math.atan(_LORENTZIAN_REACH)), area)
        centre = np.where(good, quarters[1], centre)
        gamma = np.where(good, (quarters[2] - quarters[0]) / 2 / inner, gamma)
    return {"A": area, "centre": centre, "gamma": gamma}


def _symmetric(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Area, centre and full width at half maximum of a peak that may be a Gaussian, a Lorentzian or between."""
    area, centre, sigma = peak_moments(x, y, width)
    return _TAILS * area, centre, _WIDTH * sigma


def voigt(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    """Estimate a Voigt profile from moments, its Gaussian and its Lorentzian equally wide.

    HyperSpy's gives all of the width to the Gaussian, and leaves the Lorentzian as it is.
    """
    area, centre, fwhm = _symmetric(x, y, width)
    return {"area": area, "centre": centre, "gamma": _EACH * fwhm / 2, "sigma": _EACH * fwhm / _FWHM}


def pes_voigt(
    x: np.ndarray,
    y: np.ndarray,
    width: np.ndarray,
    *,
    resolution: float,
    non_isochromaticity: float,
    transmission_function: float,
    shirley_background: float,
    spin_orbit_branching_ratio: float = 0.0,
    spin_orbit_splitting_energy: float = 0.0,
) -> Estimates:
    """Estimate a photoemission line as `voigt`; what else shapes it stays as it is, and is taken into account.

    Of a doublet the line that stands out is taken for the main one.
    """
    found = voigt(x, y, width)
    gaussian = np.sqrt(np.maximum((_FWHM * found["sigma"]) ** 2 - resolution**2, (0.1 * _FWHM * found["sigma"]) ** 2))
    kept = {
        "resolution": resolution,
        "non_isochromaticity": non_isochromaticity,
        "transmission_function": transmission_function,
        "shirley_background": shirley_background,
        "spin_orbit_branching_ratio": spin_orbit_branching_ratio,
        "spin_orbit_splitting_energy": spin_orbit_splitting_energy,
    }
    return {
        "area": found["area"] / transmission_function,
        "centre": found["centre"] + non_isochromaticity,
        "FWHM": gaussian,
        "gamma": found["gamma"],
        **{name: np.full(len(y), value) for name, value in kept.items()},
    }


def core_line(x: np.ndarray, y: np.ndarray, width: np.ndarray, *, ab: float, shirley: float) -> Estimates:
    """Estimate a Gaussian core line from moments; its shift and background stay as they are."""
    area, centre, sigma = peak_moments(x, y, width)
    fwhm = _FWHM * sigma
    height = area / (sigma * math.sqrt(2 * math.pi))
    kept = {"ab": np.full(len(y), ab), "shirley": np.full(len(y), shirley)}
    return {"A": height, "FWHM": fwhm, "origin": centre + ab, **kept}


def pseudo_voigt(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    """Estimate a pseudo-Voigt profile from moments, half Gaussian and half Lorentzian."""
    area, centre, fwhm = _symmetric(x, y, width)
    return {"A": area, "centre": centre, "fwhm": fwhm, "fraction": np.full(len(y), 0.5)}


def moffat(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    """Estimate a Moffat profile from moments, with an exponent of two: half way between Lorentzian and Gaussian."""
    area, centre, fwhm = _symmetric(x, y, width)
    sigma = fwhm / (2 * math.sqrt(math.sqrt(2) - 1))
    return {"height": area / (sigma * math.pi / 2), "centre": centre, "sigma": sigma, "beta": np.full(len(y), 2.0)}


def pearson7(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    """Estimate a Pearson VII profile from moments, with an exponent of two."""
    area, centre, fwhm = _symmetric(x, y, width)
    return {"A": area, "centre": centre, "fwhm": fwhm, "expon": np.full(len(y), 2.0)}


def doniach(x: np.ndarray, y: np.ndarray, width: np.ndarray, *, alpha: float) -> Estimates:
    """Estimate a Doniach-Sunjic line from the place, width and height of its maximum; its asymmetry stays as it is.

    The maximum is where ``u = -sigma*cot(pi/(2 - alpha))``, and the centre is next to it; see the component.
    """
    _, centre, sigma = peak_moments(x, y, width)
    gamma = _WIDTH * sigma / 2
    t = -math.tan(math.pi * alpha / (2 * (2 - alpha)))
    top = math.cos(math.pi * alpha / 2 + (1 - alpha) * math.atan(t)) / (1 + t * t) ** ((1 - alpha) / 2)
    height = height_of(above_baseline(x, filled(x, y)))
    return {
        "A": height * gamma ** (1 - alpha) / top,
        "alpha": np.full(len(y), alpha),
        "centre": centre + 0.17741 * gamma * t,
        "sigma": gamma,
    }


def drude(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    """Estimate a plasmon from place, width and height of its maximum, which at the plasmon energy is I*E/width."""
    _, centre, fwhm = _symmetric(x, y, width)
    height = height_of(above_baseline(x, filled(x, y)))
    return {"fwhm": fwhm, "intensity": height * fwhm / centre, "plasmon_energy": centre}


def pattern(
    x: np.ndarray,
    y: np.ndarray,
    width: np.ndarray,
    *,
    curve: Callable[[np.ndarray], np.ndarray],
    xscale: float,
    shift: float,
) -> Estimates:
    """Estimate the factor of a pattern by linear least squares; its scale and shift along x stay as they are.

    Parameters
    ----------
    curve : callable
        The pattern, as a function of its coordinate.
    """
    factor = factor_of(curve(xscale * x - shift), y, width)
    return {"xscale": np.full(len(y), xscale), "yscale": factor, "shift": np.full(len(y), shift)}
