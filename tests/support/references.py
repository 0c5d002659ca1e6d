"""Independent definitions of the library's components in mpmath: of the coordinate(s) and, by name, the parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp

#: First zero of J1: the dark ring of an Airy disk.
FIRST_ZERO = mp.besseljzero(1, 1)


def gaussian(u: Any, sigma: Any) -> Any:
    """Gaussian of unit area."""
    return mp.exp(-(u**2) / (2 * sigma**2)) / (sigma * mp.sqrt(2 * mp.pi))


def lorentzian(u: Any, gamma: Any) -> Any:
    """Lorentzian of unit area."""
    return gamma / (mp.pi * (u**2 + gamma**2))


def voigt(u: Any, sigma: Any, gamma: Any) -> Any:
    """Voigt profile of unit area."""
    if sigma == 0:
        return lorentzian(u, gamma)
    sigma = abs(sigma)
    z = mp.mpc(u, gamma) / (sigma * mp.sqrt(2))
    return (mp.exp(-z * z) * mp.erfc(mp.mpc(z.imag, -z.real))).real / (sigma * mp.sqrt(2 * mp.pi))


def emg(u: Any, sigma: Any, tau: Any) -> Any:
    """Gaussian convolved with a decay, of unit area."""
    if tau == 0:
        return gaussian(u, sigma)
    u, tau = (u, tau) if tau > 0 else (-u, -tau)
    factor = mp.exp(sigma**2 / (2 * tau**2) - u / tau) / (2 * tau)
    return factor * mp.erfc((sigma / tau - u / sigma) / mp.sqrt(2))


def doniach(x: Any, A: Any, alpha: Any, centre: Any, sigma: Any) -> Any:
    """Doniach-Sunjic line with HyperSpy's shift."""
    u = x - centre + mp.mpf("2.35482") * sigma / (2 * mp.tan(mp.pi / (2 - alpha)))
    return A * mp.cos(mp.pi * alpha / 2 + (1 - alpha) * mp.atan(u / sigma)) / (sigma**2 + u**2) ** ((1 - alpha) / 2)


def split_voigt(x: Any, A: Any, sigma1: Any, sigma2: Any, centre: Any, fraction: Any) -> Any:
    """Sum of a split Gaussian and a split Lorentzian, both of height ``1 / mean width`` times their own."""
    u, sigma, mean = x - centre, sigma1 if x <= centre else sigma2, (sigma1 + sigma2) / 2
    parts = (1 - fraction) * gaussian(u, sigma) + fraction * lorentzian(u, sigma)
    return A * parts * sigma / mean


def skew_normal(x: Any, A: Any, shape: Any, scale: Any, x0: Any) -> Any:
    """Skew normal."""
    t = (x - x0) / scale
    return 2 * A * mp.npdf(t) * mp.erfc(-shape * t / mp.sqrt(2)) / 2


def pearson7(x: Any, A: Any, centre: Any, fwhm: Any, expon: Any) -> Any:
    """Pearson VII, as lmfit writes it."""
    sigma = fwhm / (2 * mp.sqrt(2 ** (1 / mp.mpf(expon)) - 1))
    norm = mp.gamma(expon) * mp.rgamma(expon - mp.mpf(0.5)) / mp.sqrt(mp.pi)
    return A * norm / sigma * (1 + ((x - centre) / sigma) ** 2) ** (-expon)


def pseudo_voigt(x: Any, A: Any, centre: Any, fwhm: Any, fraction: Any) -> Any:
    """Pseudo-Voigt, as lmfit writes it."""
    sigma = fwhm / 2
    return A * (
        (1 - fraction) * gaussian(x - centre, sigma / mp.sqrt(2 * mp.log(2))) + fraction * lorentzian(x - centre, sigma)
    )


def pes_voigt(x: Any, area: Any, centre: Any, FWHM: Any, gamma: Any, resolution: Any, **other: Any) -> Any:
    """One or two Voigt lines."""
    sigma = mp.sqrt((FWHM**2 + resolution**2) / (8 * mp.log(2)))
    u = x - centre + other["non_isochromaticity"]
    lines = voigt(u, sigma, gamma)
    if "spin_orbit_branching_ratio" in other:
        lines += other["spin_orbit_branching_ratio"] * voigt(u + other["spin_orbit_splitting_energy"], sigma, gamma)
    return area * other["transmission_function"] * lines


def double_power_law(x: Any, A: Any, left_cutoff: Any, origin: Any, r: Any, ratio: Any, shift: Any) -> Any:
    """Two power laws, each zero up to its singularity."""
    terms = [(1, x - origin), (ratio, x - origin - shift)]
    return A * sum(factor * u ** (-r) for factor, u in terms if u > 0) if x > left_cutoff else mp.mpf(0)


def drude(x: Any, fwhm: Any, intensity: Any, plasmon_energy: Any) -> Any:
    """Energy-loss function Im(-1/epsilon) of free electrons."""
    if x <= 0:
        return mp.mpf(0)
    epsilon = 1 - plasmon_energy**2 / mp.mpc(x**2, fwhm * x)
    return intensity * (-1 / epsilon).imag


def vignetting(x: Any, optical_center: Any, height: Any, period: Any, **edges: Any) -> Any:
    """Fourth power of a cosine, times lines at the edges: integrals of the normal distribution."""

    def ramp(t: Any) -> Any:
        return t * mp.ncdf(t / edges["sigma"]) + edges["sigma"] * mp.npdf(t / edges["sigma"])

    value = height * mp.cos((x - optical_center) / (2 * mp.pi * period)) ** 4
    if not edges:
        return value
    left, right = ramp(edges["left"] - x), ramp(x - edges["right"])
    return value * (1 - edges["left_slope"] * left - edges["right_slope"] * right)


def turned(profile: Callable[..., Any]) -> Callable[..., Any]:
    """Function of both coordinates from one of the distances along the axes."""

    def function(x: Any, y: Any, centre_x: Any, centre_y: Any, rotation_angle: Any = None, **other: Any) -> Any:
        u, v = x - centre_x, y - centre_y
        if rotation_angle is not None:
            cos, sin = mp.cos(rotation_angle), mp.sin(rotation_angle)
            u, v = u * cos - v * sin, u * sin + v * cos
        return profile(u, v, **other)

    return function


def airy(x: Any, y: Any, amplitude: Any, centre_x: Any, centre_y: Any, radius: Any) -> Any:
    """Airy disk."""
    q = FIRST_ZERO**2 * ((x - centre_x) ** 2 + (y - centre_y) ** 2) / radius**2
    return amplitude * mp.hyp0f1(2, -q / 4) ** 2


def polynomial2d(x: Any, y: Any, **coefficients: Any) -> Any:
    """Sum of powers."""
    return sum(a * x ** int(name[1]) * y ** int(name[3]) for name, a in coefficients.items())


def two_decays(x: Any, A1: Any, tau1: Any, A2: Any, tau2: Any, centre: Any, sigma: Any) -> Any:
    """Two decays with a Gaussian response."""
    return A1 * tau1 * emg(x - centre, sigma, tau1) + A2 * tau2 * emg(x - centre, sigma, tau2)


def logistic(x: Any, a: Any, b: Any, c: Any, origin: Any) -> Any:
    """Logistic step."""
    return a / (1 + b * mp.exp(-c * (x - origin)))


def lorentzian2d(u: Any, v: Any, height: Any, gamma_x: Any, gamma_y: Any) -> Any:
    """Lorentzian of two coordinates."""
    return height / (1 + (u / gamma_x) ** 2 + (v / gamma_y) ** 2)


def moffat2d(u: Any, v: Any, height: Any, sigma_x: Any, sigma_y: Any, beta: Any) -> Any:
    """Moffat function of two coordinates."""
    return height * (1 + (u / sigma_x) ** 2 + (v / sigma_y) ** 2) ** (-beta)


def fano(x: Any, amplitude: Any, centre: Any, gamma: Any, q: Any) -> Any:
    """Fano profile."""
    energy = (x - centre) / gamma
    return amplitude * (q + energy) ** 2 / (1 + energy**2)


def oscillator(x: Any, amplitude: Any, centre: Any, sigma: Any) -> Any:
    """Modulus of the complex response."""
    return amplitude * abs(1 / mp.mpc(1 - (x / centre) ** 2, 2 * sigma * x / centre))
