"""Every component of the library: values, gradients, areas and widths, fits, storage, and extreme parameters."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import xarray as xr
from scipy.integrate import quad

from tests.support.library import CASES, Case, near_parameters, wide_parameters
from tests.support.paths import DATA
from xfit import Component, Model, components
from xfit.components import TYPES
from xfit.engine.codegen.program import compiled_kernel
from xfit.engine.math.layout import PITCH
from xfit.formulas import calculus
from xfit.formulas.kernel_expression import expression_of
from xfit.formulas.kernel_spec import FormulaKernel

ORACLE = {
    case["name"].removeprefix("exspy."): case
    for case in json.loads((DATA / "hyperspy_components.json").read_text())["components"]
}
MADE = {name: case.make(**case.options) for name, case in CASES.items()}
FEW, MANY = 12, 2000


def default(name: str) -> Component:
    """A component with its defaults."""
    return TYPES[name](**CASES[name].options if name in CASES else {})


def run(c: Component, coordinates: list[np.ndarray], values: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Value, under "f", and gradients of the compiled kernel, as the engine gets them."""
    names = c.kernel.parameters
    n, count = coordinates[0].size, len(names)
    x, p = np.ascontiguousarray(coordinates, float), np.array([values[name] for name in names], float)
    f, jac = np.zeros(PITCH), np.full((count, PITCH), np.nan)
    pointers = [a.ctypes.data_as(_double_pointer()) for a in (x, p, f, jac)]
    compiled_kernel(c.kernel).call(pointers[0], n, pointers[1], pointers[2], pointers[3], n, pointers[2])
    return {"f": f[:n], **{name: jac[k, :n] for k, name in enumerate(names)}}


@functools.cache
def _double_pointer() -> Any:
    import ctypes

    return ctypes.POINTER(ctypes.c_double)


def exact(case: Case, coordinates: list[np.ndarray], values: Mapping[str, float]) -> dict[str, np.ndarray]:
    """The same from the reference, in 90 digits: gradients by central differences, to 1e-30 of the larger ones."""
    with mp.workdps(90):
        at = {name: mp.mpf(value) for name, value in values.items()}
        points = [[mp.mpf(float(t)) for t in point] for point in zip(*coordinates, strict=True)]
        found = {"f": [case.reference(*point, **at) for point in points]}
        for name, value in at.items():
            h = mp.mpf(10) ** -25 * (abs(value) if value else 1)
            one_sided = value == 0 and name in ("gamma", "beta", "tau1", "alpha", "b")
            slopes = []
            for point in points:
                up = case.reference(*point, **(at | {name: value + h}))
                # Where a parameter ends at zero: the second-order forward difference.
                if one_sided:
                    up2, here = case.reference(*point, **(at | {name: value + 2 * h})), case.reference(*point, **at)
                    slopes.append((4 * up - 3 * here - up2) / (2 * h))
                else:
                    slopes.append((up - case.reference(*point, **(at | {name: value - h}))) / (2 * h))
            found[name] = slopes
        return {name: np.array([float(v) for v in column]) for name, column in found.items()}


def grid(case: Case, random: np.random.Generator | None = None, n: int = 9) -> list[np.ndarray]:
    """Coordinates: within the range of the fit, a little more, and not on any step."""
    first, last = case.x
    both = MADE[next(name for name, other in CASES.items() if other is case)].coordinates
    if random is None:
        return [np.linspace(first, last, n) + 0.0137 * k for k, _ in enumerate(both)]
    width = last - first
    return [random.uniform(first - 0.3 * width, last + 0.3 * width, n) for _ in both]


def assert_agrees(
    found: dict[str, np.ndarray], expected: dict[str, np.ndarray], rtol: float, at: Mapping[str, float]
) -> None:
    """Compare to a fraction of each number, and a tenth of that of the largest one in the spectrum.

    A derivative is never asked to be better than what the rounding of the value alone does to it.
    """
    rounding = 4e-16 * np.max(np.abs(expected["f"]))
    for name, values in expected.items():
        floor = 0.1 * rtol * np.max(np.abs(values))
        if at.get(name):
            floor = max(floor, rounding / abs(at[name]))
        np.testing.assert_allclose(found[name], values, rtol=rtol, atol=max(floor, 1e-300), err_msg=f"{name} at {at}")


def test_every_component_is_here() -> None:
    assert {type(c).__name__ for c in MADE.values()} == set(TYPES) - {"Expression", "Function"}
    assert set(components.__all__) == set(TYPES)


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradients(name: str) -> None:
    """The compiled kernel against the definition in 90 digits, at random parameters."""
    case, random = CASES[name], np.random.default_rng(7)
    for _ in range(FEW):
        at, x = near_parameters(case, random), grid(case, random)
        # Arguments of exponentials are rounded in units of 1e-16 of themselves, and reach 100 here.
        assert_agrees(run(MADE[name], x, at), exact(case, x, at), case.rtol, at)


@pytest.mark.parametrize(("name", "k"), [(name, k) for name, case in CASES.items() for k in range(len(case.edges))])
def test_value_and_gradients_where_naive_formulas_fail(name: str, k: int) -> None:
    case = CASES[name]
    at, x = {key: float(v) for key, v in {**case.truth, **case.edges[k]}.items()}, grid(case)
    assert_agrees(run(MADE[name], x, at), exact(case, x, at), max(1e-11, case.rtol), at)


# --- declarations, against HyperSpy

#: Where declarations differ from HyperSpy's (default, min, max, free, linear), and why: see the notes of each
#: component.
DIFFERENT: dict[tuple[str, str], tuple[float, float, float, bool, bool]] = {
    # No gradient: a fit can't move it.
    ("HeavisideStep", "n"): (0.0, -math.inf, math.inf, False, False),
    ("DoublePowerLaw", "left_cutoff"): (0.0, -math.inf, math.inf, False, False),
    # A fit can't tell it from the origin.
    ("Logistic", "b"): (1.0, -math.inf, math.inf, False, False),
    # Linear, or not.
    ("Bleasdale", "b"): (1.0, -math.inf, math.inf, True, False),
    ("PESCoreLineShape", "A"): (1.0, 0.0, math.inf, True, True),
    ("PESVoigt", "area"): (1.0, -math.inf, math.inf, True, True),
    ("Vignetting", "height"): (0.0, -math.inf, math.inf, True, True),
    # Bounds that hold the default, have no units, and end where the function does.
    ("SplitVoigt", "A"): (1.0, 0.0, math.inf, True, True),
    ("SplitVoigt", "sigma1"): (1.0, 0.0, math.inf, True, False),
    ("SplitVoigt", "sigma2"): (1.0, 0.0, math.inf, True, False),
    ("SplitVoigt", "fraction"): (0.0, 0.0, 1.0, True, False),
    ("Doniach", "alpha"): (0.5, 1e-8, 1.0, True, False),
    ("PESVoigt", "gamma"): (0.0, 0.0, math.inf, True, False),
}
#: Parameters of parts that are not here.
ABSENT = {
    "Vignetting": {"left_slope", "right_slope", "left", "right", "sigma"},
}
#: Factors by which the same function takes other numbers: HyperSpy's FWHM is half of one.
RESCALED = {("PESCoreLineShape", "FWHM"): 2.0}
#: Wrong gradients of HyperSpy's, and what they lack.
WRONG = {("VolumePlasmonDrude", "fwhm"): 8.0}
COMPARED = [name for name in ORACLE if name in TYPES]


def test_every_case_of_hyperspy_is_compared() -> None:
    assert set(ORACLE) - set(COMPARED) == {"Polynomial(order=2)", "Polynomial(order=10)"}  # in test_components.py


@pytest.mark.parametrize("name", COMPARED)
def test_declarations_are_those_of_hyperspy(name: str) -> None:
    case, made = ORACLE[name], default(name)
    expected = {}
    for p in case["params"]:
        low, high = (-math.inf if p["bmin"] is None else p["bmin"]), (math.inf if p["bmax"] is None else p["bmax"])
        if p["name"] not in ABSENT.get(name, ()):
            theirs = (p["default"], low, high, p["free"], p["linear"])
            expected[p["name"]] = DIFFERENT.get((name, p["name"]), theirs)
            assert expected[p["name"]] != theirs or (name, p["name"]) not in DIFFERENT
    assert {p.name: (p.value, p.min, p.max, p.free, p.linear) for p in made} == expected
    assert list(expected) == [p.name for p in made]
    assert made.is_background == case["isbackground"]
    assert case["position"] in (None, made.position)


@pytest.mark.parametrize("name", sorted(set(COMPARED) - {"ScalableFixedPattern"}))  # in test_patterns.py
def test_values_and_gradients_are_those_of_hyperspy(name: str) -> None:
    """To 1e-12 of each number; 5e-12 for Voigt profiles, where HyperSpy takes another w."""
    case, made = ORACLE[name], default(name)
    assert isinstance(made.kernel, FormulaKernel)
    at = {p.name: case["at"].get(p.name, p.value) * RESCALED.get((name, p.name), 1.0) for p in made}
    found = run(made, [np.array(case["x"])], at)
    np.testing.assert_allclose(found["f"], case["f"], rtol=1e-12)
    # Sums over channels are compared in test_shirley.py.
    for parameter in set(case["grad"]) - ABSENT.get(name, set()) - {made.kernel.summed}:
        expected = np.array(case["grad"][parameter]) * WRONG.get((name, parameter), 1.0)
        expected /= RESCALED.get((name, parameter), 1.0)
        np.testing.assert_allclose(found[parameter], expected, rtol=1e-12, atol=1e-300, err_msg=parameter)


@pytest.mark.parametrize("name", CASES)
def test_defaults_lie_within_bounds_and_are_described(name: str) -> None:
    for p in MADE[name]:
        assert p.min <= p.value <= p.max
        assert p.description
        assert p.dimension is not None or p.name in ("A", "a", "b")
    assert type(MADE[name]).__doc__


@pytest.mark.parametrize("name", CASES)
def test_linear_flags_are_what_the_formula_says(name: str) -> None:
    c = MADE[name]
    assert isinstance(c.kernel, FormulaKernel)
    declared = [p.name for p in c if p.linear]
    names = [n for n in c.kernel.parameters if n != c.kernel.summed]
    found = calculus.linear_parameters(expression_of(c.kernel), [*declared, *names])
    assert set(found) == set(declared)


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in CASES
        if not n.startswith(("PowerLaw", "DoublePower", "Doniach", "Bleas", "ScalableFixed", "EELSCLEdge"))
    ],
)
def test_dimensions(name: str) -> None:
    """Stretching data and coordinates, and every parameter with them, stretches the component like the data."""
    case, c = CASES[name], MADE[name]
    # One stretch for both: an Airy disk is round.
    stretch = {"data": 3.0, "x": 2.0, "y": 2.0}
    x = grid(case)
    before = run(c, x, case.truth)["f"]
    scaled = {}
    for p in c:
        assert p.dimension is not None
        scaled[p.name] = case.truth[p.name] * math.prod(stretch[k] ** e for k, e in p.dimension.items())
    after = run(c, [2.0 * t for t in x], scaled)["f"]
    np.testing.assert_allclose(after, 3.0 * before, rtol=1e-11, atol=1e-13 * np.max(np.abs(before)))


# --- areas and widths


def at_point(name: str, *point: float, **values: float) -> float:
    """Value of a component at one point."""
    return float(run(MADE[name], [np.array([t]) for t in point], dict(CASES[name].truth) | values)["f"][0])


AREAS = {
    "Gaussian": lambda t: t["A"],
    "GaussianHF": lambda t: t["height"] * t["fwhm"] * math.sqrt(math.pi / math.log(2)) / 2,
    "Lorentzian": lambda t: t["A"],
    "Voigt": lambda t: t["area"],
    "PseudoVoigt": lambda t: t["A"],
    "PearsonVII": lambda t: t["A"],
    "Moffat": lambda t: (
        t["height"] * t["sigma"] * math.sqrt(math.pi) * math.gamma(t["beta"] - 0.5) / math.gamma(t["beta"])
    ),
    "SkewNormal": lambda t: t["A"] * t["scale"],
    "SplitVoigt": lambda t: t["A"],
    "ExponentiallyModifiedGaussian": lambda t: t["A"],
    "LogNormal": lambda t: t["A"],
    "PESCoreLineShape": lambda t: t["A"] * t["FWHM"] * math.sqrt(math.pi / math.log(2)) / 2,
    "PESVoigt": lambda t: t["area"] * t["transmission_function"],
    "PESVoigt with splitting": lambda t: t["area"] * t["transmission_function"] * (1 + t["spin_orbit_branching_ratio"]),
    "Decay": lambda t: t["A"] * t["tau"],
    "DoubleExponentialDecay": lambda t: t["A1"] * t["tau1"] + t["A2"] * t["tau2"],
}


@pytest.mark.parametrize("name", AREAS)
def test_area(name: str) -> None:
    """Numerical integral, to the 1e-10 that it is asked for."""
    parts = [(-np.inf, -5.0), (-5.0, 0.7), (0.7, 5.0), (5.0, 30.0), (30.0, np.inf)]
    total = sum(quad(lambda x: at_point(name, x), *part, epsrel=1e-10, epsabs=1e-11)[0] for part in parts)
    assert total == pytest.approx(AREAS[name](CASES[name].truth), rel=1e-8)


@pytest.mark.parametrize("tau", [-2.0, -1e-3, 0.0, 0.3, 5.0])
def test_area_and_mean_of_a_gaussian_with_a_tail(tau: float) -> None:
    edges = np.linspace(-300, 300, 24001)
    values = np.concatenate(
        [
            run(MADE["ExponentiallyModifiedGaussian"], [part], {"A": 5, "centre": 1, "sigma": 0.8, "tau": tau})["f"]
            for part in np.array_split(edges, 60)
        ]
    )
    # Trapezoids of a smooth function that ends in zeros are exact; what is left is rounding.
    assert np.trapezoid(values, edges) == pytest.approx(5, rel=1e-11)
    assert np.trapezoid(values * edges, edges) / 5 == pytest.approx(1 + tau, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "centre", "width", "values"),
    [
        ("GaussianHF", "centre", lambda t: t["fwhm"], {}),
        ("Lorentzian", "centre", lambda t: 2 * t["gamma"], {}),
        ("PseudoVoigt", "centre", lambda t: t["fwhm"], {}),
        ("PseudoVoigt", "centre", lambda t: t["fwhm"], {"fraction": 1.0}),
        ("PearsonVII", "centre", lambda t: t["fwhm"], {}),
        ("PearsonVII", "centre", lambda t: t["fwhm"], {"expon": 1e5}),
        ("Moffat", "centre", lambda t: 2 * t["sigma"] * math.sqrt(2 ** (1 / t["beta"]) - 1), {}),
        ("PESCoreLineShape", "origin", lambda t: t["FWHM"], {"ab": 0.0}),
        ("BreitWignerFano", "centre", lambda t: 2 * t["gamma"], {"q": 1e7}),
        ("Doniach", "centre", lambda t: 2 * t["sigma"], {"alpha": 1e-8}),
    ],
)
def test_full_width_at_half_maximum(name: str, centre: str, width: Any, values: dict[str, float]) -> None:
    at = dict(CASES[name].truth) | values
    middle, half = at[centre], width(at) / 2
    top = at_point(name, middle, **values)
    for side in (-1, 1):
        # Doniach, Fano: in the limit of alpha = 0, q = infinity, which is 1e-7 away.
        assert at_point(name, middle + side * half, **values) == pytest.approx(top / 2, rel=1e-6)


def test_half_widths_and_volume_of_images() -> None:
    assert at_point("Lorentzian2D", 0.4 + 1.2, -0.5) == pytest.approx(2.5)
    assert at_point("Lorentzian2D", 0.4, -0.5 + 1.9) == pytest.approx(2.5)
    half = 1.2 * math.sqrt(2 ** (1 / 1.7) - 1)
    assert at_point("Moffat2D", 0.4 + half, -0.5) == pytest.approx(2.5)
    radial = quad(lambda r: 2 * math.pi * r * at_point("Moffat2D", 0.4 + 1.2 * r, -0.5), 0, np.inf, epsrel=1e-10)[0]
    assert radial * 1.2 * 1.9 == pytest.approx(math.pi * 5 * 1.2 * 1.9 / 0.7, rel=1e-6)
    assert at_point("AiryDisk", 0.4, -0.5) == 5
    assert at_point("AiryDisk", 0.4 + 2.5 * 0.6, -0.5 + 2.5 * 0.8) == pytest.approx(0, abs=1e-28)


def test_the_width_of_a_voigt_peak_is_what_its_notes_say() -> None:
    for gamma, sigma in ((0.1, 1.0), (1.0, 1.0), (1.0, 0.2)):
        lorentz, gauss = 2 * gamma, 2.3548 * sigma
        half = (0.5346 * lorentz + math.sqrt(0.2166 * lorentz**2 + gauss**2)) / 2
        top = at_point("Voigt", 0.7, gamma=gamma, sigma=sigma)
        assert at_point("Voigt", 0.7 + half, gamma=gamma, sigma=sigma) == pytest.approx(top / 2, rel=4e-4)


def test_the_maximum_of_a_doniach_line_is_where_its_notes_say() -> None:
    x = np.linspace(0.6, 0.9, 400)
    alpha, sigma = 0.3, 1.2
    f = run(MADE["Doniach"], [x], CASES["Doniach"].truth)["f"]
    shift = 0.17741 * sigma * math.tan(math.pi * alpha / (2 * (2 - alpha)))
    assert x[np.argmax(f)] == pytest.approx(0.7 + shift, abs=x[1] - x[0])


# --- fits and storage


def data_of(case: Case) -> xr.DataArray:
    """Noiseless data of a component at the truth."""
    c = case.component()
    if c.signal_dimension == 1:
        x = np.linspace(*case.x, 200)
        return xr.DataArray(run(c, [x], case.truth)["f"], dims="x", coords={"x": x})
    x, y = np.linspace(-5, 5, 21), np.linspace(-4, 4, 19)
    both = [t.ravel() for t in np.meshgrid(x, y)]
    f = run(c, both, case.truth)["f"].reshape(19, 21)
    return xr.DataArray(f, dims=("y", "x"), coords={"x": x, "y": y})


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("factor", [1.2, 0.8])
def test_a_fit_finds_the_parameters_again(name: str, factor: float) -> None:
    """From 20 % off, within the default bounds."""
    case = CASES[name]
    c = case.component()
    for p in c.free_parameters:
        p.value = min(max(factor * p.value, p.min), p.max)
    da = data_of(case)
    result = da.fit.multifit(Model([c]), da.dims)
    assert int(result.status) == 1
    for p in c.parameters:
        assert float(result.fit[p.full_name]) == pytest.approx(case.truth[p.name], rel=1e-6), p.name


@pytest.mark.parametrize("name", CASES)
def test_storage(name: str) -> None:
    model = Model([CASES[name].component()])
    again = Model.from_json(model.to_json())
    assert again == model
    assert again[0].kernel == model[0].kernel
    assert model.copy() == model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: components.Lorentzian2D("yes"), "add_rotation='yes' must be True or False"),  # type: ignore[arg-type]
        (lambda: components.PESVoigt(spin_orbit_splitting=0.5), "spin_orbit_splitting=0.5 must be True or False"),  # type: ignore[arg-type]
        (lambda: components.Vignetting(side_vignetting=1), "side_vignetting=1 must be True or False"),  # type: ignore[arg-type]
        (lambda: components.Polynomial2D(2.0), "order=2.0 must be an integer"),  # type: ignore[arg-type]
        (lambda: components.Polynomial2D(10), "order=10 must be from 1 to 9; for a constant use Offset"),
    ],
)
def test_wrong_options_say_what_would_be_right(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_options() -> None:
    assert components.Polynomial2D(3).options == {"order": 3}
    assert [p.name for p in components.Polynomial2D(1)] == ["a0_0", "a0_1", "a1_0"]
    assert components.PESVoigt(True).options == {"spin_orbit_splitting": True}
    assert [p.name for p in components.Vignetting()] == ["optical_center", "height", "period"]


# --- extreme parameters


@pytest.mark.parametrize("name", CASES)
def test_numbers_are_finite_for_any_parameters(name: str) -> None:
    """No NaN and no infinity at 2,000 random sets of parameters within wide bounds, at the centre too."""
    case, c, random = CASES[name], MADE[name], np.random.default_rng(11)
    for _ in range(MANY):
        at = wide_parameters(case, random)
        x = [random.uniform(-100, 100, 24) for _ in c.coordinates]
        for rows, axis in zip(x, c.coordinates, strict=True):
            rows[:2] = 0.0
            centre = at.get("centre" if len(x) == 1 else f"centre_{axis}", at.get(str(c.position), 0.0))
            rows[2:4] = centre, np.nextafter(centre, np.inf)
        for key, values in run(c, x, at).items():
            assert np.isfinite(values).all(), (key, at, [t[~np.isfinite(values)] for t in x])


@pytest.mark.parametrize(
    ("name", "values", "x"),
    [
        ("Logistic", {"c": 1e6}, [-50.0, 50.0]),
        ("Logistic", {"c": -1e6, "b": 1e-30}, [-50.0, 50.0]),
        ("LogNormal", {}, [-1.0, 0.0, 5e-324, 1e-300]),
        ("Voigt", {"sigma": 0.0}, [-50.0, 0.0]),
        ("Voigt", {"sigma": 1e-200}, [-50.0, 0.7 + 1e-9]),
        ("Voigt", {"gamma": 0.0, "sigma": 0.0}, [-50.0, 50.0]),
        ("ExponentiallyModifiedGaussian", {"tau": 1e-200}, [-50.0, 0.0, 50.0]),
        ("ExponentiallyModifiedGaussian", {"tau": 1e100}, [-50.0, 0.0, 50.0]),
        ("ExponentiallyModifiedGaussian", {"sigma": 1e-60}, [-50.0, 0.0, 50.0]),
        ("DoubleExponentialDecay", {"tau1": 0.0, "sigma": 1e-60}, [-50.0, 0.0, 50.0]),
        ("Doniach", {"alpha": 1.0}, [-50.0, 0.7, 50.0]),
        ("Moffat", {"beta": 0.0}, [-1e100, 0.7, 1e100]),
        ("PearsonVII", {"expon": 0.5}, [-1e6, 0.7, 1e6]),
        ("PearsonVII", {"expon": 1e300}, [-1e6, 0.7, 1e6]),
        ("Bleasdale", {"a": -1.0, "b": 1.0}, [0.0, 1.0, 2.0]),
        ("DoublePowerLaw", {"left_cutoff": -9.0}, [-5.0, 0.0, 1.0, 2.0]),
        ("DampedOscillator", {"sigma": 0.0}, [0.0, 1.0]),
        ("AiryDisk", {}, [0.4, -0.5]),
    ],
)
def test_numbers_are_finite_at_the_ends(name: str, values: dict[str, float], x: list[float]) -> None:
    points = [np.array(x)] if MADE[name].coordinates == ("x",) else [np.array([t]) for t in x]
    for key, found in run(MADE[name], points, dict(CASES[name].truth) | values).items():
        assert np.isfinite(found).all(), (key, found)


def test_limits() -> None:
    """A Voigt profile without one of its widths is the other one; a peak without tail, or exponent, is what is left."""
    x = [np.linspace(-3, 3, 40) + 0.011]
    gauss = run(MADE["Gaussian"], x, {"A": 5, "centre": 0.7, "sigma": 0.8})["f"]
    lorentz = run(MADE["Lorentzian"], x, {"A": 5, "centre": 0.7, "gamma": 0.6})["f"]
    voigt = dict(CASES["Voigt"].truth)
    np.testing.assert_allclose(run(MADE["Voigt"], x, voigt | {"gamma": 0.0})["f"], gauss, rtol=1e-13)
    np.testing.assert_allclose(run(MADE["Voigt"], x, voigt | {"sigma": 0.0})["f"], lorentz, rtol=1e-13)
    tail = {"A": 5, "centre": 0.7, "sigma": 0.8, "tau": 0.0}
    np.testing.assert_allclose(run(MADE["ExponentiallyModifiedGaussian"], x, tail)["f"], gauss, rtol=1e-13)
    fwhm = 0.8 * math.sqrt(8 * math.log(2))
    pearson = {"A": 5, "centre": 0.7, "fwhm": fwhm, "expon": 1e14}
    np.testing.assert_allclose(run(MADE["PearsonVII"], x, pearson)["f"], gauss, rtol=1e-12)
    # Nothing at and below zero: neither value nor gradients.
    below = run(MADE["LogNormal"], [np.array([-2.0, 0.0])], CASES["LogNormal"].truth)
    assert all((values == 0).all() for values in below.values())
