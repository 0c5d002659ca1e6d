"""The library's components with their independent definitions, and parameters to try them at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import mpmath as mp
import numpy as np
import xarray as xr
from scipy.interpolate import CubicSpline

from tests.support.references import (
    airy,
    doniach,
    double_power_law,
    drude,
    emg,
    fano,
    gaussian,
    logistic,
    lorentzian,
    lorentzian2d,
    moffat2d,
    oscillator,
    pearson7,
    pes_voigt,
    polynomial2d,
    pseudo_voigt,
    skew_normal,
    split_voigt,
    turned,
    two_decays,
    vignetting,
    voigt,
)
from xfit import Component, components
from xfit.components.core_loss.cross_sections import edge_of, hydrogenic_tables


@dataclass(frozen=True)
class Case:
    """A component and what is known of it.

    Attributes
    ----------
    reference : callable
        The component in mpmath: of the coordinate(s) and, by name, the parameters.
    truth : mapping
        Parameters that a fit on ``x`` must find again from a start that is 20 % off.
    x : tuple
        First and last coordinate of that fit.
    ranges : mapping
        Where parameters are drawn from for comparisons with the reference; about the truth if not given.
    edges : sequence of mapping
        Parameters at which naive formulas fail, on top of the truth.
    wide : mapping
        Where parameters are drawn from for tests of finiteness; by their kind if not given.
    rtol : float
        To what the component agrees with the reference at the ranges.
    free : tuple of str
        Parameters that a fit changes, other than by default.
    options : mapping
        Further arguments of the component.
    """

    make: type[Component]
    reference: Callable[..., Any]
    truth: Mapping[str, float]
    x: tuple[float, float] = (-6.0, 6.0)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    edges: tuple[Mapping[str, float], ...] = ()
    wide: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    rtol: float = 1e-12
    free: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def component(self, **values: float) -> Component:
        """The component at the truth, or elsewhere."""
        numbers: dict[str, Any] = {**self.truth, **values}
        made = self.make(**self.options, **numbers)
        made.set_parameters_free(self.free)
        return made


_PATTERN_X = np.linspace(-12, 12, 49)
#: Two peaks on a coarse grid.
PATTERN = xr.DataArray(
    np.exp(-(_PATTERN_X**2) / 6) + 0.3 * np.exp(-((_PATTERN_X - 4) ** 2)), dims="x", coords={"x": _PATTERN_X}
)
_SPLINE = CubicSpline(_PATTERN_X, PATTERN.values)


def _pattern(x: Any, xscale: Any, yscale: Any, shift: Any) -> Any:
    """SciPy's spline, evaluated in as many digits as wanted."""
    u = xscale * x - shift
    beyond = abs(u) - 12
    if beyond > 0:
        # It ends at zero, to which it goes within a step.
        t = min(beyond * 2, 1)
        return yscale * mp.mpf(float(PATTERN.values[-1 if u > 0 else 0])) * (1 - 3 * t**2 + 2 * t**3)
    k = min(max(int(mp.floor((u + 12) * 2)), 0), 47)
    return yscale * mp.polyval([mp.mpf(float(c)) for c in _SPLINE.c[:, k]], u - mp.mpf(float(_PATTERN_X[k])))


_EDGE = {"edge": "C_K", "beam_energy": 200.0, "collection_angle": 12.0}
(_EDGE_TABLE,) = hydrogenic_tables(edge_of("C_K"), 200.0)
_EDGE_PIECES = _EDGE_TABLE.table.pieces


def _core_loss(x: Any, intensity: Any, onset_energy: Any, effective_angle: Any, onset_width: Any) -> Any:
    """The table's polynomials, evaluated in as many digits as wanted; within the table."""
    u = mp.log(1 + max(x - onset_energy, 0) / mp.mpf(_EDGE_TABLE.scale))
    v = mp.log(effective_angle)
    where = []
    for at, grid in ((u, _EDGE_TABLE.table.points[0]), (v, _EDGE_TABLE.table.points[1])):
        step = (grid[-1] - grid[0]) / (grid.size - 1)
        k = min(int((at - mp.mpf(float(grid[0]))) / mp.mpf(float(step))), grid.size - 2)
        where.append((k, at - mp.mpf(float(grid[0])) - k * mp.mpf(float(step))))
    (i, u), (j, v) = where
    terms = (mp.mpf(float(_EDGE_PIECES[i, j, a, b])) * u**a * v**b for a in range(4) for b in range(4))
    rise = min(max((x - onset_energy) / onset_width + mp.mpf(1) / 2, 0), 1)
    return intensity * rise * mp.exp(mp.fsum(terms))


_SPOT = {"centre_x": 0.4, "centre_y": -0.5}
_EXTREME = (1e-3, 1e3)
#: Where z**2 comes near 128, derivatives of w and erfcx with respect to a width cancel by z**4: 2e-16 becomes 4e-12.
_CANCELS = 2e-11

CASES: dict[str, Case] = {
    "Gaussian": Case(
        components.Gaussian,
        lambda x, A, centre, sigma: A * gaussian(x - centre, sigma),
        {"A": 5, "centre": 0.7, "sigma": 1.2},
    ),
    "GaussianHF": Case(
        components.GaussianHF,
        lambda x, centre, fwhm, height: height * 2 ** (-4 * (x - centre) ** 2 / fwhm**2),
        {"centre": 0.7, "fwhm": 2.2, "height": 5},
    ),
    "Lorentzian": Case(
        components.Lorentzian,
        lambda x, A, centre, gamma: A * lorentzian(x - centre, gamma),
        {"A": 5, "centre": 0.7, "gamma": 1.2},
    ),
    "Voigt": Case(
        components.Voigt,
        lambda x, area, centre, gamma, sigma: area * voigt(x - centre, sigma, gamma),
        {"area": 5, "centre": 0.7, "gamma": 0.6, "sigma": 0.8},
        rtol=_CANCELS,
        edges=(
            {"gamma": 0},
            {"gamma": 1e-9},
            {"sigma": 0},
            {"sigma": 1e-9},
            {"sigma": 0.01},
            {"sigma": 0.04},
            {"sigma": 0.055},
            {"sigma": 1e-3, "gamma": 1e-6},
        ),
    ),
    "PseudoVoigt": Case(
        components.PseudoVoigt,
        pseudo_voigt,
        {"A": 5, "centre": 0.7, "fwhm": 2.2, "fraction": 0.4},
        edges=({"fraction": 0}, {"fraction": 1}),
        ranges={"fraction": (0, 1)},
        wide={"fraction": (0, 1)},
    ),
    "Moffat": Case(
        components.Moffat,
        lambda x, height, centre, sigma, beta: height * (1 + ((x - centre) / sigma) ** 2) ** (-beta),
        {"height": 5, "centre": 0.7, "sigma": 1.2, "beta": 1.7},
        edges=(
            {"beta": 0},
            {"beta": 1e-9},
            {"beta": 1e9, "sigma": 4e4},
            {"beta": 1e16, "sigma": 1e8},
            {"beta": 1e4, "sigma": 1e2},
            {"sigma": 1e3},
            {"sigma": 1e-3},
        ),
        wide={"beta": _EXTREME},
    ),
    "PearsonVII": Case(
        components.PearsonVII,
        pearson7,
        {"A": 5, "centre": 0.7, "fwhm": 2.2, "expon": 1.7},
        edges=({"expon": 0.5 + 1e-9}, {"expon": 12}, {"expon": 12.5}, {"expon": 1e4}, {"expon": 1e9}, {"expon": 3e15}),
        ranges={"expon": (0.55, 30)},
        wide={"expon": (0.5, 1e6)},
    ),
    "EELSCLEdge": Case(
        components.EELSCLEdge,
        _core_loss,
        {"intensity": 5, "onset_energy": 285.3, "effective_angle": 12.0, "onset_width": 2.0},
        x=(286.5, 420.0),
        ranges={"onset_energy": (260, 275), "effective_angle": (2, 100), "onset_width": (0.5, 4)},
        wide={"onset_energy": (250, 320), "effective_angle": (1, 150), "onset_width": (1e-3, 10)},
        # Coefficients in a cell are rounded by 1e-16 of the logarithm, and differences of u by that of the grid.
        rtol=1e-11,
        options=_EDGE,
    ),
    "ScalableFixedPattern": Case(
        components.ScalableFixedPattern,
        _pattern,
        {"xscale": 1.1, "yscale": 5, "shift": 0.4},
        ranges={"xscale": (0.8, 1.2), "shift": (-1, 1)},
        # Where pieces join a third derivative jumps, which is no matter; arguments are rounded by 1e-16 of 12.
        rtol=1e-11,
        options={"pattern": PATTERN},
    ),
    "SkewNormal": Case(
        components.SkewNormal,
        skew_normal,
        {"A": 5, "shape": 2, "scale": 1.2, "x0": 0.7},
        edges=({"shape": 30}, {"shape": -30}, {"shape": 0}, {"shape": 1e16}, {"shape": -1e16}, {"scale": 0.1}),
        ranges={"shape": (-4, 4)},
        wide={"shape": (-1e3, 1e3)},
    ),
    "SplitVoigt": Case(
        components.SplitVoigt,
        split_voigt,
        {"A": 5, "sigma1": 0.8, "sigma2": 1.3, "centre": 0.7, "fraction": 0.4},
        edges=({"fraction": 0}, {"fraction": 1}),
        ranges={"fraction": (0, 1)},
        wide={"fraction": (0, 1)},
    ),
    "ExponentiallyModifiedGaussian": Case(
        components.ExponentiallyModifiedGaussian,
        lambda x, A, centre, sigma, tau: A * emg(x - centre, sigma, tau),
        {"A": 5, "centre": -1.0, "sigma": 0.8, "tau": 1.5},
        rtol=_CANCELS,
        edges=(
            {"tau": 0},
            {"tau": 1e-9},
            {"tau": -1e-9},
            {"tau": -1.5},
            {"tau": 0.05},
            {"tau": 0.01},
            {"tau": 1e3},
            {"sigma": 1e-3},
            {"sigma": 1e-3, "tau": -1},
            {"sigma": 0.01, "tau": 0.01},
        ),
        ranges={"tau": (-3, 3)},
        wide={"tau": (-1e3, 1e3)},
    ),
    "LogNormal": Case(
        components.LogNormal,
        lambda x, A, centre, sigma: A * gaussian(mp.log(x / centre), sigma) / x if x > 0 else mp.mpf(0),
        {"A": 5, "centre": 2.0, "sigma": 0.6},
        x=(-1, 9),
        ranges={"centre": (0.5, 4)},
        wide={"centre": _EXTREME, "sigma": (0.01, 100)},
    ),
    "BreitWignerFano": Case(
        components.BreitWignerFano,
        fano,
        {"amplitude": 5, "centre": 0.7, "gamma": 1.2, "q": 1.5},
        edges=({"q": 0}, {"q": 1e16}),
        ranges={"q": (-3, 3)},
        wide={"q": (-1e3, 1e3)},
    ),
    "DampedOscillator": Case(
        components.DampedOscillator,
        oscillator,
        {"amplitude": 5, "centre": 2.0, "sigma": 0.3},
        x=(0, 6),
        ranges={"centre": (1, 4)},
        wide={"centre": _EXTREME},
    ),
    "Arctan": Case(
        components.Arctan,
        lambda x, A, k, x0: A * mp.atan(k * (x - x0)),
        {"A": 5, "k": 1.5, "x0": 0.7},
        wide={"k": _EXTREME},
    ),
    "EELSArctan": Case(
        components.EELSArctan,
        lambda x, A, k, x0: A * (mp.pi / 2 + mp.atan(k * (x - x0))),
        {"A": 5, "k": 1.5, "x0": 0.7},
        wide={"k": _EXTREME},
    ),
    "Erf": Case(
        components.Erf,
        lambda x, A, origin, sigma: A / 2 * mp.erf((x - origin) / (mp.sqrt(2) * sigma)),
        {"A": 5, "origin": 0.7, "sigma": 1.2},
    ),
    "HeavisideStep": Case(
        components.HeavisideStep,
        lambda x, A, n: A * ((x > n) + mp.mpf(0.5) * (x == n)),
        {"A": 5, "n": 0.7},
    ),
    "Logistic": Case(
        components.Logistic,
        logistic,
        {"a": 5, "b": 1.4, "c": 1.5, "origin": 0.7},
        edges=({"c": 90}, {"c": -90}, {"b": 1e9}, {"b": 1e-9}, {"b": 0}),
        wide={"b": _EXTREME, "c": (-1e4, 1e4)},
    ),
    "PowerLaw": Case(
        components.PowerLaw,
        lambda x, A, left_cutoff, origin, r: A * (x - origin) ** (-r) if x > left_cutoff else mp.mpf(0),
        {"A": 50, "left_cutoff": 1.5, "origin": -0.7, "r": 2.3},
        x=(1, 9),
        ranges={"left_cutoff": (1, 3), "r": (1, 5), "origin": (-1, 0.9)},
        wide={"left_cutoff": (50, 60), "origin": (-50, 49), "r": (1, 5)},
        free=("origin",),
    ),
    "Offset": Case(components.Offset, lambda x, offset: offset + 0 * x, {"offset": 5}),
    "Polynomial": Case(
        components.Polynomial, lambda x, a0, a1, a2: a0 + a1 * x + a2 * x**2, {"a0": 5, "a1": -2, "a2": 0.3}
    ),
    "Exponential": Case(
        components.Exponential,
        lambda x, A, tau: A * mp.exp(-x / tau),
        {"A": 5, "tau": 3},
        x=(0, 9),
        wide={"tau": (1, 1e4)},
    ),
    "Bleasdale": Case(
        components.Bleasdale,
        lambda x, a, b, c: (a + b * x) ** (-1 / c) if a + b * x > 0 else mp.mpf(0),
        {"a": 1.3, "b": 0.8, "c": 1.6},
        x=(-1, 9),
        ranges={"a": (2, 4), "b": (-1, 1), "c": (0.4, 3)},
        edges=({"a": -1.1, "b": -1}, {"a": 0, "b": 1}, {"c": -0.4}),
        wide={"a": (-1e3, 1e3), "b": (-1e3, 1e3), "c": (0.05, 100)},
    ),
    "Vignetting": Case(
        components.Vignetting,
        vignetting,
        {"optical_center": 0.7, "height": 5, "period": 0.4},
        wide={"period": _EXTREME},
    ),
    "Vignetting with edges": Case(
        components.Vignetting,
        vignetting,
        {
            "optical_center": 0.7,
            "height": 5,
            "period": 1.0,
            "left_slope": 0.3,
            "right_slope": 0.2,
            "left": -3,
            "right": 2.5,
            "sigma": 0.5,
        },
        ranges={"left": (-4, -2), "right": (2, 4)},
        edges=({"sigma": 1e-3},),
        wide={"period": _EXTREME},
        options={"side_vignetting": True},
    ),
    "DoublePowerLaw": Case(
        components.DoublePowerLaw,
        double_power_law,
        {"A": 50, "left_cutoff": 3.0, "origin": 0.5, "r": 2.3, "ratio": 0.8, "shift": 2.0},
        x=(2, 20),
        ranges={"left_cutoff": (2, 5), "r": (1, 5), "origin": (-1, 0.5), "shift": (1, 4)},
        wide={"left_cutoff": (-50, 50), "origin": (-50, 50), "shift": (0, 50), "r": (1, 5), "ratio": (-10, 10)},
    ),
    "VolumePlasmonDrude": Case(
        components.VolumePlasmonDrude,
        drude,
        {"fwhm": 1.2, "intensity": 5, "plasmon_energy": 3.0},
        x=(-1, 9),
        ranges={"plasmon_energy": (1, 6)},
        wide={"plasmon_energy": _EXTREME},
    ),
    "Doniach": Case(
        components.Doniach,
        doniach,
        {"A": 5, "alpha": 0.3, "centre": 0.7, "sigma": 1.2},
        ranges={"alpha": (0, 0.9)},
        edges=({"alpha": 1e-8}, {"alpha": 0}, {"alpha": 0.999}, {"sigma": 1e-8}),
        wide={"alpha": (1e-8, 1)},
    ),
    "RC": Case(
        components.RC,
        lambda x, Vmax, V0, tau: V0 - Vmax * mp.expm1(-x / tau),
        {"V0": 0.7, "Vmax": 5, "tau": 1.6},
        x=(0.0, 8.0),
        edges=({"tau": 1e6, "V0": 0}, {"tau": -2}, {"tau": 1e-2}),
        wide={"tau": (1, 1e3)},
    ),
    "PESCoreLineShape": Case(
        components.PESCoreLineShape,
        lambda x, A, FWHM, origin, ab, shirley: A * 2 ** (-4 * (x - (origin - ab)) ** 2 / FWHM**2),
        {"A": 5, "FWHM": 2.2, "origin": 0.7, "ab": 0.3, "shirley": 0},
    ),
    "PESVoigt": Case(
        components.PESVoigt,
        pes_voigt,
        {
            "area": 5,
            "centre": 0.7,
            "FWHM": 1.2,
            "gamma": 0.6,
            "resolution": 0.5,
            "shirley_background": 0,
            "non_isochromaticity": 0.1,
            "transmission_function": 0.9,
        },
        rtol=_CANCELS,
        edges=({"FWHM": 0, "resolution": 0}, {"resolution": 0}, {"gamma": 0}),
    ),
    "PESVoigt with splitting": Case(
        components.PESVoigt,
        pes_voigt,
        {
            "area": 5,
            "centre": 2.0,
            "FWHM": 1.2,
            "gamma": 0.4,
            "resolution": 0.5,
            "shirley_background": 0,
            "non_isochromaticity": 0.1,
            "transmission_function": 0.9,
            "spin_orbit_branching_ratio": 0.5,
            "spin_orbit_splitting_energy": 2.5,
        },
        rtol=_CANCELS,
        edges=({"FWHM": 0, "resolution": 0},),
        free=("area", "centre", "FWHM", "gamma", "spin_orbit_branching_ratio", "spin_orbit_splitting_energy"),
        options={"spin_orbit_splitting": True},
    ),
    "SEE": Case(
        components.SEE,
        lambda x, A, B, Phi: A * (x - Phi) / (x - Phi + B) ** 4 if x > Phi else mp.mpf(0),
        {"A": 50, "B": 1.5, "Phi": 0.7},
        x=(-1, 9),
        wide={"B": _EXTREME},
    ),
    "Decay": Case(
        components.Decay,
        lambda x, A, tau, t0: A * mp.exp(-(x - t0) / tau) if x >= t0 else mp.mpf(0),
        {"A": 5, "tau": 3, "t0": 0.7},
        x=(-2, 9),
        wide={"tau": (1, 1e4)},
    ),
    "DoubleExponentialDecay": Case(
        components.DoubleExponentialDecay,
        two_decays,
        {"A1": 5, "tau1": 0.8, "A2": 2, "tau2": 4.0, "centre": 0.7, "sigma": 0.5},
        rtol=_CANCELS,
        x=(-2, 14),
        edges=({"tau1": 0}, {"tau1": 1e-9}, {"tau1": 0.02}, {"sigma": 1e-3}, {"tau2": 1e4}),
    ),
    "Gaussian2D": Case(
        components.Gaussian2D,
        turned(lambda u, v, A, sigma_x, sigma_y: A * gaussian(u, sigma_x) * gaussian(v, sigma_y)),
        {"A": 50, **_SPOT, "sigma_x": 1.2, "sigma_y": 1.9, "rotation_angle": 0.5},
        options={"add_rotation": True},
    ),
    "Lorentzian2D": Case(
        components.Lorentzian2D,
        turned(lorentzian2d),
        {"height": 5, **_SPOT, "gamma_x": 1.2, "gamma_y": 1.9},
    ),
    "Moffat2D": Case(
        components.Moffat2D,
        turned(moffat2d),
        {"height": 5, **_SPOT, "sigma_x": 1.2, "sigma_y": 1.9, "beta": 1.7},
        edges=(
            {"beta": 0},
            {"beta": 1e9, "sigma_x": 4e4, "sigma_y": 6e4},
            {"beta": 1e16, "sigma_x": 1e8, "sigma_y": 2e8},
        ),
        wide={"beta": _EXTREME},
    ),
    "Moffat2D turned": Case(
        components.Moffat2D,
        turned(moffat2d),
        {"height": 5, **_SPOT, "sigma_x": 1.2, "sigma_y": 1.9, "beta": 1.7, "rotation_angle": 0.5},
        options={"add_rotation": True},
        wide={"beta": _EXTREME},
    ),
    "AiryDisk": Case(
        components.AiryDisk,
        airy,
        {"amplitude": 5, **_SPOT, "radius": 2.5},
        edges=({"centre_x": 0, "centre_y": 0}, {"radius": 1e3}, {"radius": 0.5}),
        wide={"radius": (1, 1e3)},
    ),
    "Plane": Case(
        components.Plane,
        lambda x, y, slope_x, slope_y, intercept: slope_x * x + slope_y * y + intercept,
        {"slope_x": 0.4, "slope_y": -0.3, "intercept": 5},
    ),
    "Polynomial2D": Case(
        components.Polynomial2D,
        polynomial2d,
        {"a0_0": 5, "a0_1": 0.4, "a0_2": -0.2, "a1_0": 0.7, "a1_1": -0.3, "a2_0": 0.15},
    ),
    "Polynomial2D of order 4": Case(
        components.Polynomial2D,
        polynomial2d,
        {f"a{i}_{j}": (-1) ** i * (1 + j) / (1 + i) ** 2 for i in range(5) for j in range(5 - i)},
        options={"order": 4},
    ),
}

#: Parameters that are widths, drawn from logarithmic ranges.
_WIDTHS = ("sigma", "gamma", "fwhm", "FWHM", "tau", "scale", "resolution", "period", "radius")
_POSITIONS = ("centre", "x0", "origin", "left", "right", "optical_center", "n", "Phi", "ab", "non_isochromaticity")


def near_parameters(case: Case, random: np.random.Generator) -> dict[str, float]:
    """Parameters about the truth."""
    drawn = {}
    for name, value in case.truth.items():
        low, high = case.ranges.get(name, sorted((0.3 * value, 2.5 * value)))
        if name.startswith(_POSITIONS) and name not in case.ranges:
            low, high = value - 1, value + 1
        drawn[name] = float(random.uniform(low, high))
    return drawn


def wide_parameters(case: Case, random: np.random.Generator) -> dict[str, float]:
    """Parameters from wide ranges: widths over six decades, amplitudes over twelve."""
    drawn = {}
    for name in case.truth:
        default = (
            _EXTREME if name.startswith(_WIDTHS) else (-50.0, 50.0) if name.startswith(_POSITIONS) else (1e-6, 1e6)
        )
        low, high = case.wide.get(name, default)
        if low > 0:
            drawn[name] = float(np.exp(random.uniform(np.log(low), np.log(high))))
        elif low < 0 < high and random.random() < 0.5:
            # Either sign, over all sizes.
            drawn[name] = float(np.sign(random.uniform(-1, 1)) * high * np.exp(random.uniform(-14, 0)))
        else:
            drawn[name] = float(random.uniform(low, high))
    return drawn
