"""Derived quantities where parameters reach the ends of their domains: values and errors
against 900 digits, or infinite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import sympy
import xarray as xr

from tests.support.library import CASES
from xfit import Component, Model, components
from xfit.components import Gaussian2D, Lorentzian, Moffat, Moffat2D, Voigt
from xfit.formulas import parser
from xfit.formulas.special_functions import FUNCTIONS
from xfit.modeling.derived import _error, _value

#: Half a step for derivatives, relative to the value, with 900 digits: those of a hundred are left, at the least.
_STEP = mp.mpf(10) ** -100

_FWHM = 2 * mp.sqrt(2 * mp.log(2))
_INF = mp.inf

_Quantity = Callable[..., Any]


def _voigt_height(area: Any, gamma: Any, sigma: Any, **_: Any) -> Any:
    """Re w(i t) over the Gaussian's norm, by the continued fraction of erfc for large t."""
    sigma = abs(sigma)
    if sigma == 0:
        return area / (mp.pi * gamma)
    t = gamma / (sigma * mp.sqrt(2))
    if t < 30:
        return area * mp.exp(t * t) * mp.erfc(t) / (sigma * mp.sqrt(2 * mp.pi))
    terms = [mp.mpf(1)]
    for k in range(1, min(200, int(t * t))):
        terms.append(-terms[-1] * (2 * k - 1) / (2 * t * t))
    return area * mp.fsum(terms) / (t * mp.sqrt(mp.pi) * sigma * mp.sqrt(2 * mp.pi))


def _half_width(beta: Any) -> Any:
    return mp.sqrt(mp.expm1(mp.log(2) / beta)) if beta else _INF


def _moffat_area(height: Any, sigma: Any, beta: Any, **_: Any) -> Any:
    if beta <= 0.5:
        return _INF
    return height * abs(sigma) * mp.sqrt(mp.pi) * mp.exp(mp.loggamma(beta - mp.mpf(1) / 2) - mp.loggamma(beta))


def _pearson_height(A: Any, fwhm: Any, expon: Any, **_: Any) -> Any:
    return A / _moffat_area(1, fwhm / (2 * _half_width(expon)), expon) if expon > 0.5 else mp.mpf(0)


def _skew(shape: Any) -> Any:
    return mp.sqrt(2 / mp.pi) * shape / mp.sqrt(1 + shape**2)


def _split_height(A: Any, sigma1: Any, sigma2: Any, fraction: Any, **_: Any) -> Any:
    return 2 * A / (sigma1 + sigma2) * ((1 - fraction) / mp.sqrt(2 * mp.pi) + fraction / mp.pi)


def _oscillator_height(amplitude: Any, sigma: Any, **_: Any) -> Any:
    if 2 * sigma**2 >= 1:
        return amplitude
    return amplitude / (2 * abs(sigma) * mp.sqrt(1 - sigma**2)) if sigma else _INF


def _oscillator_maximum(centre: Any, sigma: Any, **_: Any) -> Any:
    return centre * mp.sqrt(1 - 2 * sigma**2) if 2 * sigma**2 < 1 else mp.mpf(0)


def _doniach_tangent(alpha: Any) -> Any:
    return mp.tan(mp.pi * alpha / (2 * (2 - alpha))) if alpha < 1 else _INF


def _doniach_height(A: Any, alpha: Any, sigma: Any, **_: Any) -> Any:
    return (
        A * mp.cos(mp.pi * alpha / (2 * (2 - alpha))) ** (2 - alpha) * sigma ** (alpha - 1) if alpha < 1 else mp.mpf(0)
    )


def _plasmon(fwhm: Any, plasmon_energy: Any, **_: Any) -> Any:
    u = 2 * plasmon_energy**2 - fwhm**2
    return mp.sqrt((u + mp.sqrt(u**2 + 12 * plasmon_energy**4)) / 6)


def _see(A: Any, B: Any, power: int, factor: Any) -> Any:
    return A * factor / B**power if B > 0 else _INF


#: What each quantity is, by its definition, and where it is tried besides the usual place.
REFERENCES: dict[str, tuple[dict[str, _Quantity], tuple[Mapping[str, float], ...]]] = {
    "Gaussian": (
        {
            "area": lambda A, sigma, **_: A * (mp.sign(sigma) or 1),
            "fwhm": lambda sigma, **_: _FWHM * abs(sigma),
            "height": lambda A, sigma, **_: A / (sigma * mp.sqrt(2 * mp.pi)) if sigma else _INF,
        },
        ({"sigma": 0}, {"sigma": 1e-12}, {"sigma": 1e12}, {"sigma": -2, "A": -3}),
    ),
    "GaussianHF": (
        {
            "sigma": lambda fwhm, **_: abs(fwhm) / _FWHM,
            "area": lambda height, fwhm, **_: height * abs(fwhm) / _FWHM * mp.sqrt(2 * mp.pi),
        },
        ({"fwhm": 0}, {"fwhm": 1e-12}, {"fwhm": 1e12}, {"fwhm": -2}),
    ),
    "Lorentzian": (
        {
            "area": lambda A, gamma, **_: A * (mp.sign(gamma) or 1),
            "fwhm": lambda gamma, **_: 2 * abs(gamma),
            "height": lambda A, gamma, **_: A / (mp.pi * gamma) if gamma else _INF,
        },
        ({"gamma": 0}, {"gamma": 1e-12}, {"gamma": 1e12}, {"gamma": -2, "A": -3}),
    ),
    "Voigt": (
        {
            # Olivero and Longbothum's formula is the definition.
            "fwhm": lambda gamma, sigma, **_: (
                mp.mpf(0.5346) * 2 * gamma + mp.sqrt(mp.mpf(0.2166) * (2 * gamma) ** 2 + 8 * mp.log(2) * sigma**2)
            ),
            "gwidth": lambda sigma, **_: _FWHM * abs(sigma),
            "lwidth": lambda gamma, **_: 2 * gamma,
            "height": _voigt_height,
        },
        (
            *({"sigma": s, "gamma": 1.0} for s in (0, 1e-300, 1e-9, 1e-3, 0.06, 0.0625, 0.0626, 0.1, 30, 1e9, -0.5)),
            *({"sigma": 1.0, "gamma": g} for g in (0, 1e-300, 1e-9, 1e-3, 30)),
        ),
    ),
    "PseudoVoigt": (
        {
            "area": lambda A, fwhm, **_: A * (mp.sign(fwhm) or 1),
            "height": lambda A, fwhm, fraction, **_: (
                A * 2 / fwhm * ((1 - fraction) * mp.sqrt(mp.log(2) / mp.pi) + fraction / mp.pi) if fwhm else _INF
            ),
        },
        ({"fraction": 0}, {"fraction": 1}, {"fwhm": 0}, {"fwhm": 1e-12}, {"fwhm": 1e12}, {"fwhm": -1, "A": -1}),
    ),
    "Moffat": (
        {"fwhm": lambda sigma, beta, **_: 2 * abs(sigma) * _half_width(beta), "area": _moffat_area},
        (
            *({"beta": b} for b in (0, 0.01, 0.3, 0.5, 0.5 + 1e-9, 0.51, 11.9, 12.0, 12.1, 1e3, 1e6, 1e10, 1e14, 1e16)),
            *({"sigma": s} for s in (0, 1e-12, 1e12, -2)),
            {"sigma": 1e8, "beta": 1e16},
        ),
    ),
    "PearsonVII": (
        {"area": lambda A, fwhm, **_: A * (mp.sign(fwhm) or 1), "height": _pearson_height},
        (
            *({"expon": m} for m in (0.5, 0.5 + 1e-9, 0.51, 11.9, 12.1, 1e3, 1e6, 1e10, 1e12, 1e14, 3e15, 1e16)),
            *({"fwhm": w} for w in (1e-12, 1e12)),
        ),
    ),
    "SkewNormal": (
        {
            "area": lambda A, scale, **_: A * abs(scale),
            "mean": lambda x0, scale, shape, **_: x0 + scale * _skew(shape),
            "variance": lambda scale, shape, **_: scale**2 * (1 - _skew(shape) ** 2),
            "skewness": lambda scale, shape, **_: (
                (-1 if scale < 0 else 1) * (4 - mp.pi) / 2 * _skew(shape) ** 3 / (1 - _skew(shape) ** 2) ** 1.5
            ),
        },
        (
            *({"shape": s, "x0": 0} for s in (0, 1e-9, 0.999, 1.001, 1e3, -1e3, 1e8, -1e8, 1e16, 1e200)),
            *({"scale": s} for s in (0, 1e-12, 1e12, -2)),
        ),
    ),
    "SplitVoigt": (
        {
            "area": lambda A, sigma1, sigma2, **_: (
                A * (abs(sigma1) + abs(sigma2)) / (sigma1 + sigma2) if sigma1 + sigma2 else A
            ),
            "height": lambda **given: _split_height(**given) if given["sigma1"] + given["sigma2"] else _INF,
        },
        (
            *({"sigma1": s} for s in (0, 1e-12, 1e12, -0.1)),
            {"sigma1": 0, "sigma2": 0},
            {"fraction": 0},
            {"fraction": 1},
        ),
    ),
    "ExponentiallyModifiedGaussian": (
        {
            "area": lambda A, **_: A,
            "mean": lambda centre, tau, **_: centre + tau,
            "variance": lambda sigma, tau, **_: sigma**2 + tau**2,
            "skewness": lambda sigma, tau, **_: 2 * tau**3 / (sigma**2 + tau**2) ** 1.5,
        },
        (
            *({"tau": t, "sigma": 1.0} for t in (0, 1e-120, 1e-9, 0.99, 1.01, -3, 1e9, -1e9, 1e120)),
            *({"tau": -2.0, "sigma": s} for s in (0, 1e-120, 1e-9, 1e9)),
        ),
    ),
    "LogNormal": (
        {
            "area": lambda A, sigma, **_: A * (mp.sign(sigma) or 1),
            "mean": lambda centre, sigma, **_: centre * mp.exp(sigma**2 / 2),
            "mode": lambda centre, sigma, **_: centre * mp.exp(-(sigma**2)),
            "fwhm": lambda centre, sigma, **_: (
                2 * centre * mp.exp(-(sigma**2)) * mp.sinh(abs(sigma) * mp.sqrt(2 * mp.log(2)))
            ),
            "height": lambda A, centre, sigma, **_: (
                A * mp.exp(sigma**2 / 2) / (sigma * mp.sqrt(2 * mp.pi) * centre) if sigma and centre else _INF
            ),
        },
        (*({"sigma": s} for s in (0, 1e-12, 10, 19.9, 20.1, 25)), {"centre": 0}, {"centre": 1e-12}, {"centre": 1e12}),
    ),
    "BreitWignerFano": (
        {
            "height": lambda amplitude, q, **_: amplitude * (1 + q**2),
            "maximum": lambda centre, gamma, q, **_: centre + gamma / q if q else _INF,
        },
        ({"q": 0}, {"q": 1e-9, "centre": 0}, {"q": 1e9, "centre": 0}, {"q": -1e9, "centre": 0}, {"gamma": 0}),
    ),
    "DampedOscillator": (
        {"height": _oscillator_height, "maximum": _oscillator_maximum},
        tuple({"sigma": s} for s in (0, 1e-12, 0.5, 0.707, 0.708, 0.99, 1, 2, 1e12)),
    ),
    "VolumePlasmonDrude": (
        {"maximum": _plasmon},
        (
            *({"fwhm": w, "plasmon_energy": 15.0} for w in (0, 1e-12, 20, 21, 22, 1e3, 1e5, 1e9, 1e12, -3)),
            {"fwhm": 3, "plasmon_energy": 1e-9},
        ),
    ),
    "DoubleExponentialDecay": (
        {
            "area": lambda A1, tau1, A2, tau2, **_: A1 * tau1 + A2 * tau2,
            "lifetime": lambda A1, tau1, A2, tau2, **_: (A1 * tau1**2 + A2 * tau2**2) / (A1 * tau1 + A2 * tau2),
        },
        ({"A1": 0}, {"A2": 0}, {"tau1": 0}, {"tau1": 1e-12}, {"tau2": 1e12}),
    ),
    "Doniach": (
        {
            "height": _doniach_height,
            "maximum": lambda centre, alpha, sigma, **_: centre + mp.mpf(0.17741) * sigma * _doniach_tangent(alpha),
        },
        (
            *({"alpha": a, "centre": 0} for a in (1e-8, 1e-4, 0.9, 1 - 1e-9, 1)),
            {"sigma": 1e-8},
            {"sigma": 1e12},
        ),
    ),
    "PESCoreLineShape": (
        {"area": lambda A, FWHM, **_: A * abs(FWHM) / _FWHM * mp.sqrt(2 * mp.pi)},
        tuple({"FWHM": w} for w in (0, 1e-12, 1e12, -1)),
    ),
    "PESVoigt": (
        {
            "fwhm": lambda gamma, FWHM, resolution, **_: (
                mp.mpf(0.5346) * 2 * gamma + mp.sqrt(mp.mpf(0.2166) * (2 * gamma) ** 2 + FWHM**2 + resolution**2)
            )
        },
        ({"FWHM": 0}, {"gamma": 0}, {"gamma": 0, "resolution": 0}, {"FWHM": 1e-12}, {"FWHM": 1e12}),
    ),
    "SEE": (
        {
            "area": lambda A, B, **_: _see(A, B, 2, mp.mpf(1) / 6),
            "height": lambda A, B, **_: _see(A, B, 3, mp.mpf(27) / 256),
            "maximum": lambda B, Phi, **_: Phi + B / 3 if B > 0 else Phi - B,
        },
        ({"B": 0}, {"B": -2}, {"B": 1e-12}, {"B": 1e12}),
    ),
    "Erf": ({"fwhm": lambda sigma, **_: _FWHM * abs(sigma)}, ({"sigma": 0}, {"sigma": -2}, {"sigma": 1e12})),
    "Decay": (
        {"area": lambda A, tau, **_: A * tau, "half_life": lambda tau, **_: tau * mp.log(2)},
        ({"tau": 0}, {"tau": 1e12}, {"A": 0}),
    ),
    "Exponential": ({"half_life": lambda tau, **_: tau * mp.log(2)}, ({"tau": 0}, {"tau": -2}, {"tau": 1e12})),
    "Gaussian2D": (
        {
            "fwhm_x": lambda sigma_x, **_: _FWHM * abs(sigma_x),
            "fwhm_y": lambda sigma_y, **_: _FWHM * abs(sigma_y),
            "height": lambda A, sigma_x, sigma_y, **_: (
                A / (2 * mp.pi * sigma_x * sigma_y) if sigma_x * sigma_y else _INF
            ),
            "sigma_major": lambda sigma_x, sigma_y, **_: max(abs(sigma_x), abs(sigma_y)),
            "sigma_minor": lambda sigma_x, sigma_y, **_: min(abs(sigma_x), abs(sigma_y)),
            "ellipticity": lambda sigma_x, sigma_y, **_: (
                max(abs(sigma_x), abs(sigma_y)) / min(abs(sigma_x), abs(sigma_y)) if sigma_x * sigma_y else _INF
            ),
        },
        ({"sigma_x": 0}, {"sigma_x": 1e-16}, {"sigma_x": 1e-12}, {"sigma_x": 1e17}, {"sigma_x": -2, "A": -1}),
    ),
    "Lorentzian2D": (
        {"fwhm_x": lambda gamma_x, **_: 2 * abs(gamma_x), "fwhm_y": lambda gamma_y, **_: 2 * abs(gamma_y)},
        ({"gamma_x": 0, "gamma_y": 0}, {"gamma_x": -2, "gamma_y": -3}),
    ),
    "Moffat2D": (
        {
            "volume": lambda height, sigma_x, sigma_y, beta, **_: (
                mp.pi * height * abs(sigma_x * sigma_y) / (beta - 1) if beta > 1 else _INF
            ),
            "fwhm_x": lambda sigma_x, beta, **_: 2 * abs(sigma_x) * _half_width(beta),
            "fwhm_y": lambda sigma_y, beta, **_: 2 * abs(sigma_y) * _half_width(beta),
        },
        tuple({"beta": b} for b in (0, 0.5, 0.9, 1, 1 + 1e-9, 1.5, 1e3, 1e10, 1e16)),
    ),
    "AiryDisk": (
        {"fwhm": lambda radius, **_: mp.mpf(0.8436659602162362) * abs(radius)},
        ({"radius": 0}, {"radius": -1}),
    ),
}

TRIED = [
    (name, place, quantity)
    for name, (quantities, places) in REFERENCES.items()
    for place in ({}, *places)
    for quantity in quantities
]


def test_every_quantity_has_a_reference() -> None:
    """But one that is a polynomial of the fraction, which a test of curves compares with the curve."""
    known = {(name, quantity) for name, (quantities, _) in REFERENCES.items() for quantity in quantities}
    all_of_them = {(kind, quantity) for kind, cls in components.TYPES.items() for quantity in cls.derived}
    assert all_of_them - known == {("SplitVoigt", "fwhm")}


def _at(name: str, place: Mapping[str, float]) -> tuple[Component, dict[str, Any]]:
    component = CASES[name].component()
    for key, value in place.items():
        component[key].set(value=value, min=-math.inf, max=math.inf)
    return component, {p.name: mp.mpf(p.value) for p in component.parameters}


def _reference(quantity: _Quantity, given: Mapping[str, Any]) -> Any:
    with mp.workdps(900):
        return +mp.mpf(quantity(**given))


@pytest.mark.parametrize(("name", "place", "quantity"), TRIED)
def test_values_and_errors_at_the_ends_of_domains(name: str, place: Mapping[str, float], quantity: str) -> None:
    """Values to a few units in the last place; errors for one parameter that varies at a time are derivatives.

    Formulas have some ten operations; where one takes exp of a logarithm of gamma (up to 18) or an exponential of up to
    700, that many units are lost: 5e-14 covers both. Derivatives of w(z) cancel by abs(z)**4, up to 128 squared: 1e-11.
    """
    component, given = _at(name, place)
    definition = REFERENCES[name][0][quantity]
    expected, found = _reference(definition, given), getattr(component, quantity)
    if mp.isinf(expected):
        assert math.isinf(found)
        assert found > 0
    else:
        # The result itself is a double: numbers below the smallest are zero.
        assert found == pytest.approx(float(expected), rel=5e-14, abs=1e-307)
    text = component.derived[quantity].formula
    names = parser.names(text)
    values = [np.float64(component[key].value) for key in names]
    for key in names:
        errors = [1e-3 if key == other else math.nan for other in names]
        pairs = [0.0] * (len(names) * (len(names) - 1) // 2)
        error = float(_error(*values, *errors, *pairs, text=text, names=names))
        if mp.isinf(expected):
            assert math.isnan(error)
            continue
        with mp.workdps(900):
            step = _STEP * (abs(given[key]) or 1)
            above, below = (definition(**{**given, key: given[key] + sign * step}) for sign in (1, -1))
            middle = definition(**given)
            right, left = (above - middle) / step, (middle - below) / step
            smooth = (
                mp.isfinite(left)
                and mp.isfinite(right)
                and abs(right - left) <= mp.mpf(10) ** -50 * (abs(right) + abs(left))
            )
        if not smooth:
            assert math.isnan(error) or error == pytest.approx(abs(float(right)) * 1e-3, rel=1e-11), key
            continue
        # Where one parameter has next to no part in it, its rounding counts against the others'.
        # The step from zero, 1e-100, leaves its square of what is cubic.
        part = abs(float(expected / given[key])) if given[key] else 1e-180
        assert error == pytest.approx(abs(float(right)) * 1e-3, rel=1e-11, abs=1e-17 * part + 1e-307), key


@pytest.mark.parametrize("ratio", [1.0, 1.5])
def test_a_kink_between_tied_parameters_is_none(ratio: float) -> None:
    """Tied widths that are equal stay so, and the error of the larger is theirs; free
    ones that happen to be have none.
    """
    text = Gaussian2D.derived["sigma_major"].formula
    error = _error(2.0, 2.0 * ratio, 0.1, 0.1 * ratio, 0.01 * ratio, text=text, names=("sigma_x", "sigma_y"))
    assert float(error) == pytest.approx(0.1 * ratio, rel=1e-14)
    free = float(_error(2.0, 2.0 * ratio, 0.1, 0.1, 0.0, text=text, names=("sigma_x", "sigma_y")))
    assert math.isnan(free) if ratio == 1 else free == pytest.approx(0.1, rel=1e-14)


def test_a_fit_that_ends_where_the_volume_is_infinite() -> None:
    """Its volume is infinite, and has no error; what is finite has one."""
    y, x = np.mgrid[-30:31, -30:31] * 1.0
    noise = np.random.default_rng(0).normal(0, 0.1, x.shape)
    da = xr.DataArray(100 * (1 + (x**2 + y**2) / 4) ** -0.9 + noise, dims=("y", "x"), coords={"y": y[:, 0], "x": x[0]})
    start: dict[str, Any] = {"centre_x": 0.3, "centre_y": -0.2, "sigma_x": 1.5, "sigma_y": 1.5, "beta": 1.5}
    fit = da.fit(Model([Moffat2D(name="p", height=80, **start)]))
    assert float(fit.fit["p.beta"]) == pytest.approx(0.9, rel=0.01)
    assert float(fit.fit["p.volume"]) == math.inf
    assert math.isnan(float(fit.fit.stderr("p.volume")))
    assert 0 < float(fit.fit.stderr("p.fwhm_x")) < 0.1


def test_at_a_bound_the_other_parameters_give_the_error() -> None:
    """A Voigt profile held at sigma = 0 has the height of the Lorentzian, with its error,
    alike in memory and lazily.
    """
    x = np.linspace(-10, 10, 201)
    rng = np.random.default_rng(1)
    data = 5 / np.pi * 0.8 / (x**2 + 0.64) + rng.normal(0, 0.01, (3, x.size))
    da = xr.DataArray(data, dims=("p", "x"), coords={"x": x})
    line = Voigt(name="v", area=4, centre=0.1, gamma=1, sigma=0.0)
    line.sigma.free = False
    fit = da.fit.multifit(Model([line.copy()]))
    other = da.fit.multifit(Model([Lorentzian(name="v", A=4, centre=0.1, gamma=1)]))
    for name in ("v.height", "v.fwhm"):
        rtol = 1e-5 if name == "v.fwhm" else 1e-9
        np.testing.assert_allclose(fit.fit[name], other.fit[name], rtol=rtol)
        np.testing.assert_allclose(fit.fit.stderr(name), other.fit.stderr(name), rtol=max(rtol, 1e-6))
    lazy = da.chunk(p=1).fit.multifit(Model([line.copy()]))
    assert lazy.fit["v.height"].chunks is not None
    np.testing.assert_array_equal(lazy.fit["v.height"].compute(), fit.fit["v.height"])
    np.testing.assert_array_equal(lazy.fit.stderr("v.height").compute(), fit.fit.stderr("v.height"))


def test_functions_of_formulas_that_numpy_lacks() -> None:
    """A class's own quantities may use every function of formulas: compared with mpmath, near and far from zero."""
    points: list[tuple[float, ...]] = [(0.3, 0.2), (3.0, 0.0), (5.0, 4.0), (20.0, 1.0), (1e6, 1e5)]
    ones: list[tuple[float, ...]] = [(0.3,), (0.0,), (7.0,)]
    cases: tuple[tuple[str, list[tuple[float, ...]]], ...] = (
        *((name, points) for name in FUNCTIONS if FUNCTIONS[name].nargs == {2}),
        *((name, ones) for name in FUNCTIONS if FUNCTIONS[name].nargs == {1}),
        ("voigt", [(0.3, 2.0, 0.1), (3.0, 0.1, 2.0)]),
    )
    for name, places in cases:
        for place in places:
            exact = float(FUNCTIONS[name](*(sympy.Float(value, 40) for value in place)).evalf(30))
            keys = ("a", "b", "c")[: len(place)]
            found = float(_value(*place, text=f"{name}({', '.join(keys)})", names=keys))
            # Second derivatives of w(z) cancel by abs(z)**4, up to 128 squared, times 2e-16, times a few.
            assert found == pytest.approx(exact, rel=1e-10, abs=1e-300), (name, place)


def test_scattered_exponents_change_nothing_at_the_seam() -> None:
    """Next to an exponent of 12, where the series begins, areas go on smoothly: to 1e-14."""
    areas = [Moffat(height=1.0, sigma=1.0, beta=12 + d).area for d in (-1e-9, 1e-9)]
    slope = float(mp.diff(lambda b: mp.sqrt(mp.pi) * mp.gammaprod([b - 0.5], [b]), 12))
    assert areas[1] - areas[0] == pytest.approx(2e-9 * slope, abs=2e-14)
