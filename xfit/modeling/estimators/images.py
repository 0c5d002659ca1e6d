"""Estimators of images: spots from their moments, backgrounds by linear least squares.

As those of spectra (`xfit.modeling.estimators`), but of two coordinates: ``f(x, y, z, area)``, all of them flattened,
with the data ``z`` float64 (n_pixels, n_channels), NaN where left out, and the areas of the channels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xfit.modeling.estimators.rows import Estimates, regression

#: Moments are taken within this many standard deviations, where 98.9 % of a Gaussian's volume and 95 % of its variance
#: lie.
_REACH, _VOLUME, _VARIANCE = 3.0, 0.98889, 0.94944


class Spot(NamedTuple):
    """Moments of a spot: float64 (n_pixels,) each; NaN where there is none."""

    volume: np.ndarray
    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    yy: np.ndarray
    xy: np.ndarray
    height: np.ndarray


def _above_border(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Data above the mean of the channels at the border; zero where they are left out."""
    border = (x == x.min()) | (x == x.max()) | (y == y.min()) | (y == y.max())
    known = ~np.isnan(z)
    count = (known & border).sum(axis=1)
    level = np.where(known & border, z, 0.0).sum(axis=1) / np.maximum(count, 1)
    return np.where(known, z - level[:, None], 0.0)


def spot(x: np.ndarray, y: np.ndarray, z: np.ndarray, area: np.ndarray) -> Spot:
    r"""Volume, centre and covariance of the spot that stands out.

    Moments first of the squares of the data, which favour what is bright, then eight times of the data themselves,
    within three standard deviations of the moments before, and corrected for what a Gaussian has beyond.
    """
    above = _above_border(x, y, z)
    # About the middle, in units of the extent: moments of large coordinates would cancel.
    half = max(np.ptp(x), np.ptp(y)) / 2
    u, v = (x - (x.max() + x.min()) / 2) / half, (y - (y.max() + y.min()) / 2) / half
    weight = np.where(above > 0.3 * above.max(axis=1, keepdims=True), above, 0.0) ** 2 * area
    total, cu, cv, uu, vv, uv = _moments(u, v, weight)
    least = area.min() / half**2 / 12
    uu, vv, uv = 2 * uu + least, 2 * vv + least, 2 * uv
    volume = np.full(len(z), np.nan)
    for _ in range(8):
        du, dv = u - cu[:, None], v - cv[:, None]
        determinant = (uu * vv - uv * uv)[:, None]
        distance = (vv[:, None] * du**2 - 2 * uv[:, None] * du * dv + uu[:, None] * dv**2) / determinant
        total, mean_u, mean_v, new_uu, new_vv, new_uv = _moments(
            u, v, np.where(distance <= _REACH**2, above * area, 0.0)
        )
        good = (total > 0) & (new_uu > least) & (new_vv > least) & (new_uu * new_vv > new_uv**2 * 1.0001)
        volume = np.where(good, total / _VOLUME, volume)
        cu, cv = np.where(good, mean_u, cu), np.where(good, mean_v, cv)
        uu, vv, uv = (np.where(good, new / _VARIANCE, old) for new, old in ((new_uu, uu), (new_vv, vv), (new_uv, uv)))
    middle = (x.max() + x.min()) / 2, (y.max() + y.min()) / 2
    scale = half**2
    return Spot(
        volume, middle[0] + half * cu, middle[1] + half * cv, scale * uu, scale * vv, scale * uv, above.max(axis=1)
    )


def _moments(u: np.ndarray, v: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, ...]:
    """Sum, means and covariances under weights."""
    total = weight.sum(axis=1)
    mean_u, mean_v = (weight * u).sum(axis=1) / total, (weight * v).sum(axis=1) / total
    uu, vv = (weight * u * u).sum(axis=1) / total - mean_u**2, (weight * v * v).sum(axis=1) / total - mean_v**2
    return total, mean_u, mean_v, uu, vv, (weight * u * v).sum(axis=1) / total - mean_u * mean_v


def _axes(found: Spot, rotation_angle: float | None) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Standard deviations along the axes of a component, and its angle if it has one: that of the longer axis."""
    if rotation_angle is None:
        return np.sqrt(found.xx), np.sqrt(found.yy), {}
    mean, spread = (found.xx + found.yy) / 2, np.hypot((found.xx - found.yy) / 2, found.xy)
    angle = np.arctan2(-2 * found.xy, found.xx - found.yy) / 2
    return np.sqrt(mean + spread), np.sqrt(np.maximum(mean - spread, 0)), {"rotation_angle": angle}


def gaussian2d(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, area: np.ndarray, *, rotation_angle: float | None = None
) -> Estimates:
    """Estimate a Gaussian from its moments; see `spot`."""
    found = spot(x, y, z, area)
    long, short, turned = _axes(found, rotation_angle)
    return {"A": found.volume, "centre_x": found.x, "centre_y": found.y, "sigma_x": long, "sigma_y": short, **turned}


def lorentzian2d(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, area: np.ndarray, *, rotation_angle: float | None = None
) -> Estimates:
    """Estimate a Lorentzian from its moments, which tails make larger than its half width."""
    found = spot(x, y, z, area)
    long, short, turned = _axes(found, rotation_angle)
    widths = {"gamma_x": 0.6 * long, "gamma_y": 0.6 * short}
    return {"height": found.height, "centre_x": found.x, "centre_y": found.y, **widths, **turned}


def moffat2d(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, area: np.ndarray, *, rotation_angle: float | None = None
) -> Estimates:
    """Estimate a Moffat profile from its moments, with an exponent of two."""
    found = spot(x, y, z, area)
    long, short, turned = _axes(found, rotation_angle)
    widths = {"sigma_x": 1.3 * long, "sigma_y": 1.3 * short, "beta": np.full(len(z), 2.0)}
    return {"height": found.height, "centre_x": found.x, "centre_y": found.y, **widths, **turned}


def airy(x: np.ndarray, y: np.ndarray, z: np.ndarray, area: np.ndarray) -> Estimates:
    """Estimate an Airy disk from the moments of its core, whose standard deviation is 0.36 of
    the radius of the first ring.
    """
    found = spot(x, y, z, area)
    radius = np.sqrt((found.xx + found.yy) / 2) / 0.36
    return {"amplitude": found.height, "centre_x": found.x, "centre_y": found.y, "radius": radius}


def surface(
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    area: np.ndarray,
    *,
    powers: tuple[tuple[str, int, int], ...] = (("intercept", 0, 0), ("slope_x", 1, 0), ("slope_y", 0, 1)),
) -> Estimates:
    """Fit powers of x and y by linear least squares, all channels alike.

    Parameters
    ----------
    powers : tuple of (str, int, int)
        Name, power of x and power of y of each coefficient.
    """
    known = ~np.isnan(z)
    middle_x, middle_y = (x.max() + x.min()) / 2, (y.max() + y.min()) / 2
    half_x, half_y = np.ptp(x) / 2 or 1.0, np.ptp(y) / 2 or 1.0
    u, v = (x - middle_x) / half_x, (y - middle_y) / half_y
    columns = [np.where(known, u**i * v**j, 0.0) for _, i, j in powers]
    found = regression(columns, np.where(known, z, 0.0))
    found = [np.where(known.sum(axis=1) >= len(powers), each, np.nan) for each in found]
    # From powers of u and v back to powers of x and y.
    along_x, along_y = (
        [np.polynomial.Polynomial([-middle / half, 1 / half]) ** n for n in range(10)]
        for middle, half in ((middle_x, half_x), (middle_y, half_y))
    )
    out = {name: np.zeros(len(z)) for name, _, _ in powers}
    for coefficient, (_, i, j) in zip(found, powers, strict=True):
        for name, a, b in powers:
            if a <= i and b <= j:
                out[name] = out[name] + coefficient * (along_x[i].coef[a] * along_y[j].coef[b])
    return out
