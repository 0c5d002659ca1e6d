"""Every component's kernel, value and all gradients, against NumPy's value alone, in one process on one core.

``python ci/bench/components.py`` prints a table: nanoseconds for a channel of a spectrum of 1024, of the kernel for one
pixel and of the one for eight side by side (for each of them), of NumPy and SciPy as a user would write the function,
and the ratio of the better kernel to that. The shortest of many interleaved passes each.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import xarray as xr
from scipy import special
from scipy.interpolate import CubicSpline, RectBivariateSpline

from tests.support.vectors import vectors
from xfit import components
from xfit.components.core_loss.cross_sections import edge_of, hydrogenic_tables
from xfit.engine.codegen.program import compiled_kernel
from xfit.engine.math.call import call_kernel
from xfit.engine.math.layout import LANE_PITCH, LANE_TILE, LANES, PITCH, TILE
from xfit.modeling.component import Component

N = 1024
X = np.linspace(0.5, 20, N)
Y = np.linspace(-4, 5, N)
PATTERN = xr.DataArray(np.exp(-((X - 9) ** 2)), dims="x", coords={"x": X})
SPLINE = CubicSpline(X, PATTERN.values)
(EDGE,) = hydrogenic_tables(edge_of("C_K"), 200.0)
SURFACE = RectBivariateSpline(*EDGE.table.points, EDGE.table.values, s=0)
ENERGY = np.linspace(250, 600, N)
#: What is the same for all shapes.
_LN2 = math.log(2)


def gaussian(x: Any, c: float, s: float) -> Any:
    """Gaussian of unit area."""
    return np.exp(-((x - c) ** 2) / (2 * s**2)) / (s * math.sqrt(2 * math.pi))


def voigt(x: Any, c: float, g: float, s: float) -> Any:
    """Voigt profile of unit area."""
    return special.wofz((x - c + 1j * g) / (s * math.sqrt(2))).real / (s * math.sqrt(2 * math.pi))


def tailed(x: Any, c: float, s: float, tau: float) -> Any:
    """Gaussian with an exponential tail, of unit area."""
    z = (s / tau - (x - c) / s) / math.sqrt(2)
    return np.exp(-((x - c) ** 2) / (2 * s**2)) * special.erfcx(z) / (2 * tau)


def pearson7(x: Any, A: float, c: float, w: float, m: float) -> Any:
    """Pearson VII."""
    k = 2 * math.sqrt(2 ** (1 / m) - 1) / w
    return A * k * special.gamma(m) / math.sqrt(math.pi) / special.gamma(m - 0.5) * (1 + (k * (x - c)) ** 2) ** -m


def split_voigt(x: Any, A: float, s1: float, s2: float, c: float, f: float) -> Any:
    """Pseudo-Voigt with two widths."""
    t = (x - c) / np.where(x > c, s2, s1)
    return 2 * A / (s1 + s2) * ((1 - f) * np.exp(-(t**2) / 2) / math.sqrt(2 * math.pi) + f / math.pi / (1 + t**2))


def doniach(x: Any, A: float, a: float, c: float, s: float) -> Any:
    """Doniach-Sunjic line."""
    u = x - c - 1.17741 * s * math.tan(math.pi * a / (2 * (2 - a)))
    return A * np.cos(math.pi * a / 2 + (1 - a) * np.arctan(u / s)) * (s**2 + u**2) ** (-(1 - a) / 2)


def core_loss(x: Any, onset: float, angle: float) -> Any:
    """Core-loss edge from the same table."""
    u = np.log(1 + np.maximum(x - onset, 0) / EDGE.scale)
    return np.where(x > onset, np.exp(SURFACE.ev(u, np.full_like(u, math.log(angle)))), 0.0)


def airy(x: Any, y: Any, a: float, cx: float, cy: float, r: float) -> Any:
    """Airy disk."""
    u = 3.8317 * np.hypot(x - cx, y - cy) / r
    return a * (2 * special.j1(u) / u) ** 2


def turned(x: Any, y: Any, cx: float, cy: float, angle: float) -> tuple[Any, Any]:
    """Rotated coordinates."""
    c, s = math.cos(angle), math.sin(angle)
    return (x - cx) * c - (y - cy) * s, (x - cx) * s + (y - cy) * c


def gaussian2d(x: Any, y: Any, angle: float) -> Any:
    """Rotated Gaussian."""
    u, v = turned(x, y, 9, 0, angle)
    return 3 / (2 * math.pi * 2) * np.exp(-(u**2) / 2 - v**2 / 8)


def drude(x: Any, width: float, i: float, e: float) -> Any:
    """Volume plasmon."""
    return np.where(x > 0, i * e**2 * width * x / ((x**2 - e**2) ** 2 + (x * width) ** 2), 0.0)


#: Component, and what a user of NumPy would write for it; of two coordinates where it has two.
LIBRARY: list[tuple[Component, Callable[..., Any]]] = [
    (components.Gaussian(A=3, centre=9, sigma=2), lambda x: 3 * gaussian(x, 9, 2)),
    (components.GaussianHF(height=3, centre=9, fwhm=4), lambda x: 3 * np.exp(-4 * _LN2 * (x - 9) ** 2 / 16)),
    (components.Lorentzian(A=3, centre=9, gamma=2), lambda x: 3 / math.pi * 2 / ((x - 9) ** 2 + 4)),
    (components.Voigt(area=3, centre=9, gamma=1, sigma=1), lambda x: 3 * voigt(x, 9, 1, 1)),
    (
        components.PseudoVoigt(A=3, centre=9, fwhm=2, fraction=0.4),
        lambda x: 1.8 * gaussian(x, 9, 0.85) + 1.2 / math.pi / ((x - 9) ** 2 + 1),
    ),
    (components.Moffat(height=3, centre=9, sigma=2, beta=1.7), lambda x: 3 * (1 + ((x - 9) / 2) ** 2) ** -1.7),
    (components.PearsonVII(A=3, centre=9, fwhm=2, expon=1.7), lambda x: pearson7(x, 3, 9, 2, 1.7)),
    (
        components.SkewNormal(A=3, x0=9, scale=2, shape=3),
        lambda x: 6 * 2 * gaussian(x, 9, 2) * 0.5 * (1 + special.erf(3 * (x - 9) / 2 / math.sqrt(2))),
    ),
    (
        components.SplitVoigt(A=3, sigma1=1, sigma2=2, centre=9, fraction=0.4),
        lambda x: split_voigt(x, 3, 1, 2, 9, 0.4),
    ),
    (
        components.ExponentiallyModifiedGaussian(A=3, centre=7, sigma=1, tau=2),
        lambda x: 3 * tailed(x, 7, 1, 2),
    ),
    (
        components.LogNormal(A=3, centre=5, sigma=0.5),
        lambda x: 3 / (x * 0.5 * math.sqrt(2 * math.pi)) * np.exp(-(np.log(x / 5) ** 2) / 0.5),
    ),
    (
        components.BreitWignerFano(amplitude=3, centre=9, gamma=1, q=2),
        lambda x: 3 * (2 + x - 9) ** 2 / (1 + (x - 9) ** 2),
    ),
    (
        components.DampedOscillator(amplitude=3, centre=9, sigma=0.1),
        lambda x: 3 / np.sqrt((1 - (x / 9) ** 2) ** 2 + (0.2 * x / 9) ** 2),
    ),
    (components.Doniach(A=3, alpha=0.2, centre=9, sigma=1), lambda x: doniach(x, 3, 0.2, 9, 1)),
    (components.PESCoreLineShape(A=3, FWHM=2, origin=9), lambda x: 3 * np.exp(-4 * _LN2 * (x - 9) ** 2 / 4)),
    (components.PESVoigt(area=3, centre=9, FWHM=2, gamma=1), lambda x: 3 * voigt(x, 9, 1, 0.85)),
    (
        components.PESVoigt(True, area=3, centre=9, FWHM=2, gamma=1),
        lambda x: 3 * voigt(x, 9, 1, 0.85) + 1.5 * voigt(x + 0.61, 9, 1, 0.85),
    ),
    (components.SEE(A=3, B=2, Phi=3), lambda x: np.where(x > 3, 3 * (x - 3) / (x - 1) ** 4, 0.0)),
    (components.VolumePlasmonDrude(intensity=3, plasmon_energy=9, fwhm=2), lambda x: drude(x, 2, 3, 9)),
    (components.EELSCLEdge("C_K", 200, 12), lambda x: core_loss(x, 284, 12)),
    (components.DoublePowerLaw(A=3, r=3), lambda x: 3 * ((x + 1) ** -3.1 + (x + 2) ** -3.1)),
    (components.PowerLaw(A=3, r=3.1), lambda x: np.where(x > 0, 3 * x**-3.1, 0.0)),
    (components.Exponential(A=3, tau=2), lambda x: 3 * np.exp(-x / 2)),
    (components.Offset(offset=3), lambda x: np.full_like(x, 3.0)),
    (components.Polynomial(2, a0=3, a1=2, a2=1), lambda x: 3 + 2 * x + x**2),
    (components.Polynomial(6, a0=3, a6=1), lambda x: np.polynomial.polynomial.polyval(x, [3, 0, 0, 0, 0, 0, 1])),
    (components.Bleasdale(a=1, b=2, c=1.5), lambda x: (1 + 2 * x) ** (-1 / 1.5)),
    (components.Vignetting(height=3, optical_center=9, period=3), lambda x: 3 * np.cos((x - 9) / 18.85) ** 4),
    (components.Arctan(A=3, k=2, x0=9), lambda x: 3 * np.arctan(2 * (x - 9))),
    (components.EELSArctan(A=3, k=2, x0=9), lambda x: 3 * (math.pi / 2 + np.arctan(2 * (x - 9)))),
    (components.Erf(A=3, sigma=2, origin=9), lambda x: 1.5 * special.erf((x - 9) / 2 / math.sqrt(2))),
    (components.HeavisideStep(A=3, n=9), lambda x: 3 * np.heaviside(x - 9, 0.5)),
    (components.Logistic(a=3, c=2, origin=9), lambda x: 3 / (1 + np.exp(-2 * (x - 9)))),
    (components.RC(Vmax=3, V0=1, tau=2), lambda x: 1 + 3 * (1 - np.exp(-x / 2))),
    (components.Decay(A=3, tau=2, t0=4), lambda x: 3 * np.exp(-np.maximum(x - 4, 0) / 2) * (x >= 4)),
    (
        components.DoubleExponentialDecay(A1=3, tau1=1, A2=1, tau2=5, centre=4, sigma=0.5),
        lambda x: 3 * tailed(x, 4, 0.5, 1) + 5 * tailed(x, 4, 0.5, 5),
    ),
    (components.ScalableFixedPattern(PATTERN, xscale=0.9, shift=0.1), lambda x: SPLINE(0.9 * x - 0.1)),
    (components.Gaussian2D(A=3, centre_x=9, sigma_x=1, sigma_y=2), lambda x, y: gaussian2d(x, y, 0.0)),
    (
        components.Gaussian2D(True, A=3, centre_x=9, sigma_x=1, sigma_y=2, rotation_angle=0.3),
        lambda x, y: gaussian2d(x, y, 0.3),
    ),
    (components.Lorentzian2D(height=3, centre_x=9), lambda x, y: 3 / (1 + (x - 9) ** 2 + y**2)),
    (components.Moffat2D(height=3, centre_x=9, beta=1.7), lambda x, y: 3 * (1 + (x - 9) ** 2 + y**2) ** -1.7),
    (components.AiryDisk(amplitude=3, centre_x=9, radius=4), lambda x, y: airy(x, y, 3, 9, 0, 4)),
    (components.Plane(), lambda x, y: 1.0 + 2.0 * x + 3.0 * y),
    (components.Polynomial2D(2), lambda x, y: 1 + x + y + x * x + x * y + y * y),
]


@numba.njit
def one_pixel(address: int, x: np.ndarray, p: np.ndarray, tile: np.ndarray, count: int) -> None:
    """Value and gradients of a spectrum, a tile at a time."""
    for start in range(0, N, TILE):
        n = min(TILE, N - start)
        call_kernel(address, x, start, N, p, 0, tile, count * PITCH, tile, 0, n, tile)


@numba.njit
def eight_pixels(address: int, x: np.ndarray, p: np.ndarray, tile: np.ndarray, count: int, scratch: np.ndarray) -> None:
    """The same of eight spectra."""
    for start in range(0, N, LANE_TILE):
        n = min(LANE_TILE, N - start)
        call_kernel(address, x, start, N, p, 0, tile, count * LANE_PITCH * LANES, tile, 0, n, scratch)


def shortest(passes: list[Callable[[], Any]], seconds: float = 0.6) -> list[float]:
    """Time of the fastest pass of each, interleaved, in seconds."""
    best = [math.inf] * len(passes)
    for one in passes:
        one()
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        for k, one in enumerate(passes):
            began = time.perf_counter()
            one()
            best[k] = min(best[k], time.perf_counter() - began)
    return best


def row(component: Component, peer: Callable[..., Any]) -> tuple[str, list[float]]:
    """Nanoseconds a channel: one pixel, each of eight, NumPy."""
    kernel = compiled_kernel(component.kernel)
    axis = ENERGY if isinstance(component, components.EELSCLEdge) else X
    x = np.ascontiguousarray([axis, Y][: len(component.coordinates)])
    values = np.array([p.value for p in component])
    count = values.size
    tile, lanes = np.zeros((count + 1, PITCH)), vectors((count + 1) * LANE_PITCH)
    eight, scratch = np.repeat(values, LANES), vectors(kernel.scratch // LANES + 1)
    # The engine says so where no pixel has constants of its own.
    scratch[0] = 1.0
    times = shortest(
        [
            lambda: one_pixel(kernel.address, x, values, tile, count),
            lambda: eight_pixels(kernel.lane_address, x, eight, lanes, count, scratch),
            lambda: peer(*x),
        ]
    )
    label = type(component).__name__ + (f" ({count} parameters)" if count > 4 else "")
    return label, [times[0] / N * 1e9, times[1] / N / LANES * 1e9, times[2] / N * 1e9]


def main() -> None:
    """Print the table."""
    print(f"{'component':44} {'one':>8} {'eight':>8} {'NumPy':>8} {'ratio':>7}   ns a channel")
    slow = []
    for component, peer in LIBRARY:
        label, (one, eight, numpy) = row(component, peer)
        ratio = min(one, eight) / numpy
        print(f"{label:44} {one:8.2f} {eight:8.2f} {numpy:8.2f} {ratio:7.3f}")
        slow += [label] if ratio > 1 else []
    w = shortest([lambda: special.wofz((X - 9 + 1j) / math.sqrt(2))])[0] / N * 1e9
    print(f"scipy.special.wofz alone: {w:.2f}; slower than NumPy's value: {', '.join(slow) or 'none'}")


if __name__ == "__main__":
    main()
