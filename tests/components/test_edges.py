"""Inner-shell cross-sections: sum rules, eXSpy's numbers, tables and files, and the component that fits them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import h5py
import numpy as np
import pytest
import xarray as xr
from scipy.integrate import quad, simpson
from scipy.interpolate import BSpline, splev

import xfit
from tests.support.gosh import gosh, table_of
from tests.support.paths import DATA
from xfit.components import EELSCLEdge, Offset, PowerLaw
from xfit.components.core_loss.cross_sections import (
    BOHR_RADIUS,
    RYDBERG,
    edge_of,
    effective_angle,
    hydrogenic,
    integrated,
    strength_k,
    strength_l,
)
from xfit.components.core_loss.fine_structure import fine_structure_of
from xfit.components.core_loss.gos import checked_gos
from xfit.files.gosh import read_gos

STORED = json.loads((DATA / "eels_hydrogenic.json").read_text())


def values_of(component: Any, x: np.ndarray) -> np.ndarray:
    """The component's curve as it is, by a fit of something else."""
    component.set_parameters_not_free()
    zero = xr.DataArray(np.zeros(x.size), dims="energy", coords={"energy": x})
    return zero.fit(xfit.Model([component, Offset(name="zero")])).fit.evaluate([component.name]).values


@pytest.mark.parametrize(("q2", "expected", "within"), [(1e-12, 0.4350, 5e-5), (400.0, 1.0, 1e-9)])
def test_sum_rules_of_hydrogen(q2: float, expected: float, within: float) -> None:
    """Of light, 0.4350 of hydrogen's oscillator strength ionises (Bethe and Salpeter 1957); of
    hard collisions, all (Bethe).
    """
    energy = RYDBERG * np.geomspace(1, 1e5, 200_001)
    strength = strength_k(1, energy, np.full_like(energy, q2))
    assert simpson(strength * energy, x=np.log(energy)) == pytest.approx(expected, abs=within)


@pytest.mark.parametrize("name", ["C_K", "Fe_K"])
def test_k_shells_have_two_electrons(name: str) -> None:
    number = edge_of(name).number
    energy = RYDBERG * (number - 0.5) ** 2 * np.geomspace(1, 1e5, 200_001)
    hard = strength_k(number, energy, np.full_like(energy, 400.0 * (number - 0.5) ** 2))
    assert simpson(hard * energy, x=np.log(energy)) == pytest.approx(2.0, abs=1e-8)


@pytest.mark.parametrize(("with_l1", "electrons"), [(False, 6.0), (True, 8.0)])
def test_l_shells_have_six_or_eight(with_l1: bool, electrons: float) -> None:
    """Of hard collisions all electrons are freed; the rounded coefficients of the first form hold to a thousandth."""
    energy = RYDBERG * 21.85**2 * np.geomspace(0.25, 1e5, 200_001)
    hard = strength_l(26, energy, np.full_like(energy, 200.0 * 21.85**2), with_l1)
    assert simpson(hard * energy, x=np.log(energy)) == pytest.approx(electrons, rel=2e-3)


def test_strengths_are_smooth_through_the_ionisation_energy() -> None:
    """Where the wave number goes through zero the formula changes from arctangent to logarithm."""
    for number, limit, function in ((6, 5.5**2, strength_k), (26, 21.85**2 / 4, partial(strength_l, with_l1=False))):
        energy = RYDBERG * limit * (1 + np.array([-1e-9, 0.0, 1e-9]))
        values = function(number, energy, np.full(3, 0.3))
        np.testing.assert_allclose(values, values[1], rtol=1e-7)


def test_the_integral_over_angles_is_exact() -> None:
    energy, angle = np.array([290.0, 500.0, 2000.0]), np.array([2.0, 20.0, 100.0])
    found = integrated(lambda e, q2: strength_k(6, e, q2), energy, angle, 200.0)

    def one(e: float, largest: float) -> float:
        """The definition: over the angle, with momenta by relativistic kinematics."""
        rest, beam = 510998.95069, 2e5
        p0, p1 = (np.sqrt(w**2 + 2 * w * rest) / np.sqrt(2 * rest * RYDBERG) for w in (beam, beam - e))
        t = rest * (1 - 1 / (1 + beam / rest) ** 2) / 2

        def over(log_angle: float) -> float:
            theta = np.exp(log_angle)
            q2 = p0**2 + p1**2 - 2 * p0 * p1 * np.cos(theta)
            return float(strength_k(6, np.array(e), np.array(q2))) * 2 * p0 * p1 * np.sin(theta) / q2 * theta

        total = quad(over, np.log(1e-9), np.log(largest * 1e-3), epsabs=0, epsrel=1e-10, limit=500)[0]
        return float(4 * np.pi * BOHR_RADIUS**2 * 1e28 * RYDBERG**2 / (e * t) * total)

    expected = [[one(e, a) for a in angle] for e in energy]
    # The definition subtracts squares of momenta that are 1e6 times the least q squared: 1e-10 of it are rounding.
    np.testing.assert_allclose(found, expected, rtol=2e-9)


@pytest.mark.parametrize("case", STORED["edges"], ids=lambda case: f"{case['edge']} {case['beam_energy']} keV")
def test_cross_sections_are_those_of_exspy(case: dict[str, Any]) -> None:
    edge = edge_of(case["edge"])
    assert edge.onset == case["onset"]
    found = hydrogenic(edge, np.array(case["energy"]), np.array([case["angle"]]), case["beam_energy"])[:, 0]
    # eXSpy takes 3.5166e8 for 3.5189e8 (the squared Bohr radius), 13.606 for 13.6057 eV, a wave number of at least 0.01
    # near the ionisation energy, and momenta to second order in the loss over the energy of the beam.
    np.testing.assert_allclose(found, np.array(case["cross_section"]) * 3.51893 / 3.5166, rtol=3e-3)


@pytest.mark.parametrize("case", STORED["effective_angles"])
def test_effective_angles_are_those_of_exspy_at_twice_the_energy(case: dict[str, float]) -> None:
    """There the characteristic angle is E over gamma T; it is E over 2 gamma T (Egerton 2011, equation 3.28)."""
    found = effective_angle(case["beam_energy"], 2 * case["energy"], case["convergence"], case["collection"])
    # A rest energy of 511 keV there.
    assert found == pytest.approx(case["effective"], rel=1e-4)
    assert effective_angle(200, 284, 0, 17.0) == 17.0


@pytest.mark.parametrize(("convergence", "collection"), [(6.0, 15.0), (15.0, 15.0), (20.0, 8.0)])
def test_effective_angles_collect_as_much(convergence: float, collection: float) -> None:
    """The Lorentzian of the characteristic angle, summed over both apertures point by point."""
    t = 1e3 * 708 / (2e5 * (2e5 + 2 * 510998.95) / (2e5 + 510998.95))
    found = effective_angle(200, 708, convergence, collection)
    fraction = np.log1p((found / t) ** 2) / np.log1p((collection / t) ** 2)
    if convergence > collection:
        fraction *= (collection / convergence) ** 2
    nodes, weights = np.polynomial.legendre.leggauss(120)
    incident, collected = convergence * (nodes + 1) / 2, collection * (nodes + 1) / 2
    angle = np.pi * (np.arange(720) + 0.5) / 720
    r, s, phi = np.meshgrid(incident, collected, angle, indexing="ij")
    scattered = 1 / (r**2 + s**2 - 2 * r * s * np.cos(phi) + t**2)
    total = np.einsum("i,j,ijk->", weights * incident, weights * collected, scattered) / 720
    # Means over the incident disc and 2 pi of the angle, over pi log(1 + collection^2/t^2) for a parallel beam.
    mean = total * (convergence / 2) * (collection / 2) * 2 * np.pi * 2 / convergence**2
    assert fraction == pytest.approx(mean / (np.pi * np.log1p((collection / t) ** 2)), rel=1e-5)


@pytest.mark.parametrize("name", ["C_K", "Fe_L3"])
def test_the_component_looks_its_cross_section_up(name: str) -> None:
    edge = edge_of(name)
    x = np.concatenate([np.linspace(edge.onset - 20, 6 * edge.onset, 1500) + 0.013, [40 * edge.onset]])
    for angle in (1.7, 12.0, 90.0):
        made = EELSCLEdge(name, beam_energy=200, collection_angle=12, intensity=2.0, onset_width=1e-6)
        made.effective_angle.value = angle
        found = values_of(made, x)
        expected = 2 * hydrogenic(edge, x, np.array([angle]), 200.0)[:, 0]
        assert (found[x < edge.onset] == 0).all()
        # What the class says of its table.
        np.testing.assert_allclose(found[:-1], expected[:-1], rtol=3e-4, atol=1e-12)
        assert 0 < found[-1] < found[-2]


def test_a_power_law_goes_on_beyond_the_table() -> None:
    made = EELSCLEdge("C_K", beam_energy=200, collection_angle=12)
    far = values_of(made, np.array([12.0, 24.0, 48.0]) * 284)
    assert far[1] / far[0] == pytest.approx(far[2] / far[1], rel=1e-9)
    assert 2.0**-7 < far[1] / far[0] < 2.0**-3


def test_the_rise_is_what_falls_into_a_channel() -> None:
    """With the width of a channel, sums over channels are integrals wherever the edge lies between two of them."""
    x = np.arange(270.0, 300.0, 0.5)
    for shift in (0.0, 0.1, 0.2, 0.3, 0.4):
        made = EELSCLEdge("C_K", beam_energy=200, collection_angle=12, onset_width=0.5)
        made.onset_energy.value = 284 + shift
        inside = np.linspace(284.0, 299.75 - shift, 4001)
        expected = simpson(hydrogenic(edge_of("C_K"), inside, np.array([12.0]), 200.0)[:, 0], x=inside)
        assert values_of(made, x).sum() * 0.5 == pytest.approx(expected, rel=1e-4)


def test_intensity_and_onset_are_fitted() -> None:
    random = np.random.default_rng(0)
    x = np.arange(600.0, 1100.0, 0.5)
    edge = EELSCLEdge("Fe_L3", beam_energy=200, collection_angle=20, convergence_angle=10, onset_width=0.5, name="Fe")
    edge.onset_energy.set(free=True, min=695, max=725)
    m = xfit.Model([PowerLaw(name="bg", A=1e12, r=3), edge])
    shifts, amounts = random.uniform(-4, 4, 50), random.uniform(20, 60, 50)
    curves = []
    for shift, amount in zip(shifts, amounts, strict=True):
        made = edge.copy()
        made.set_parameters_free()
        made.intensity.value, made.onset_energy.value = amount, 708 + shift
        curves.append(values_of(made, x) + 1e12 * x**-3.0)
    clean = np.array(curves)
    data = xr.DataArray(random.poisson(clean), dims=("pixel", "energy"), coords={"energy": x})
    fit = data.fit.multifit(m, start={"Fe.intensity": 40.0}, variance=data.copy(data=clean), scale_covariance=False)
    assert (fit["status"] == 1).all()
    pulls = (fit.fit["Fe.intensity"] - amounts) / fit.fit.stderr("Fe.intensity")
    # The mean of 50 pulls is known to 0.14.
    assert abs(float(pulls.mean())) < 0.6
    assert 0.6 < float(pulls.std()) < 1.5
    # A channel is half an electron volt; the rise in it holds some 400 counts over 3000.
    assert np.abs(fit.fit["Fe.onset_energy"] - 708 - shifts).max() < 1.0


def test_a_table_of_strengths_gives_the_cross_section_of_what_it_was_made_from() -> None:
    gos = table_of("C_K")
    made = EELSCLEdge("C_K", beam_energy=200, collection_angle=15, gos=gos, onset_width=1e-6)
    x = np.linspace(284.1, 2000, 300)
    expected = hydrogenic(edge_of("C_K"), x, np.array([15.0]), 200.0)[:, 0]
    # Straight lines between 400 points of each coordinate.
    np.testing.assert_allclose(values_of(made, x), expected, rtol=2e-3)
    again = xfit.Model.from_json(xfit.Model([made.copy()]).to_json())
    assert again[0] == made
    turned = gos.transpose("q", "energy").isel(q=slice(None, None, -1))
    assert EELSCLEdge("C_K", beam_energy=200, collection_angle=15, gos=turned, onset_width=1e-6).kernel == made.kernel


def test_a_gosh_file_is_read(tmp_path: Path) -> None:
    gos = table_of("C_K")
    read = read_gos(gosh(tmp_path / "a.gosh", gos, ratio=0.5), "C_K")
    np.testing.assert_allclose(read, 0.5 * gos, rtol=1e-15)
    np.testing.assert_allclose(read["energy"], gos["energy"], atol=1e-12)
    with pytest.raises(ValueError, match=r"no edge 'C_L3'; its shells are \['K'\]"):
        read_gos(tmp_path / "a.gosh", "C_L3")
    with pytest.raises(ValueError, match=r"no table 'N/K1'.*its elements are \['C'\]"):
        read_gos(tmp_path / "a.gosh", "N_K")
    with pytest.raises(ValueError, match=r"lacks \['q'\]"):
        read_gos(gosh(tmp_path / "b.gosh", gos, q=True), "C_K")
    h5py.File(tmp_path / "c.gosh", "w").close()
    with pytest.raises(ValueError, match="no GOSH file"):
        read_gos(tmp_path / "c.gosh", "C_K")
    with pytest.raises(ValueError, match="has shape"):
        read_gos(gosh(tmp_path / "d.gosh", gos, one=True), "C_K")


def test_all_shells_are_known_and_take_tables() -> None:
    """Of M edges, what the table says is integrated, from the edge's energy on."""
    assert (edge_of("La_M5").onset, edge_of("La_M5").number) == (832.0, 57)
    gos = table_of("Fe_L2")
    lanthanum = EELSCLEdge("La_M5", beam_energy=200, collection_angle=15, gos=gos, onset_width=1e-6)
    x = np.array([835.3, 870.0, 1400.0])

    def strength(energy: np.ndarray, q2: np.ndarray) -> np.ndarray:
        return strength_l(26, energy - 832.0 + edge_of("Fe_L2").onset, q2, False)

    expected = integrated(strength, x, np.array([15.0]), 200.0)[:, 0]
    np.testing.assert_allclose(values_of(lanthanum.copy(), x), expected, rtol=3e-3)
    assert values_of(lanthanum, np.array([831.0])) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Xx_K", 200), "edge='Xx_K' is not known; it must be an element and a shell"),
        (("Fe_M5", 200), "edge='Fe_M5' is not known; of Fe there are: Fe_K, Fe_L1, Fe_L2, Fe_L3, Fe_M2, Fe_M3"),
        (("Fe_L2", 200), "'Fe_L2' has no hydrogenic cross-section .take 'Fe_L3', which is that of all L electrons"),
        (("La_M5", 200), "'La_M5' has no hydrogenic cross-section .only K and L3 have.; others need a table: gos="),
        (("Fe_K", 15), "beam_energy=15 keV is too little for Fe_K at 7113 eV; it takes more than 17.7825 keV"),
    ],
)
def test_edges_that_can_not_be(arguments: tuple[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EELSCLEdge(*arguments, collection_angle=10)


def iron(**options: Any) -> EELSCLEdge:
    return EELSCLEdge("Fe_L3", beam_energy=200, collection_angle=20, name="Fe", **options)


def curve_of_exspy(x: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Fine structure as eXSpy's source has it, by SciPy's splev on its knots: 30 eV from 708 eV on."""
    knots = np.concatenate([[708] * 4, np.linspace(708, 738, coefficients.size)[2:-2], [738] * 4])
    return np.asarray(splev(x, (knots, np.concatenate([coefficients, np.zeros(4)]), 3)))


@pytest.mark.parametrize("count", [4, 5, 6, 7, 8, 13, 94])
def test_splines_are_those_of_exspy(count: int) -> None:
    fine = fine_structure_of(30.0, 0.0, count)
    assert fine is not None
    coefficients = np.random.default_rng(count).normal(size=count)
    x = np.linspace(708.0, 738.0, 701)
    splines = fine.splines("s")
    even = BSpline.basis_element(np.arange(-2.0, 3.0), extrapolate=False)
    at = (x - 708)[:, None] / (30 / (count - 1)) - np.arange(-1, count + 1)
    found = np.nan_to_num(even(at)) @ np.array(splines.shares).T @ coefficients
    np.testing.assert_allclose(found, curve_of_exspy(x, coefficients), rtol=0, atol=1e-10)


def test_fine_structure_takes_the_place_of_the_cross_section() -> None:
    """From onset to width; before that there is nothing."""
    options = {"fine_structure_width": 30.0, "fine_structure_onset": 2.5, "fine_structure_coefficients": 13}
    made, plain = iron(onset_width=1e-6, intensity=3.0, **options), iron(onset_width=1e-6, intensity=3.0)
    coefficients = np.random.default_rng(0).normal(size=13)
    names = [p.name for p in made.parameters if p.name.startswith("fine_structure_")]
    assert names == sorted(names)
    for name, value in zip(names, coefficients, strict=True):
        made[name].value = value
    x = np.linspace(700.013, 760.013, 700)
    inside = np.where(x >= 710.5, curve_of_exspy(x, coefficients), 0.0)
    expected = np.where(x >= 738, values_of(plain, x), inside)
    np.testing.assert_allclose(values_of(made, x), expected, rtol=1e-9, atol=1e-10)


def test_a_gap_in_the_place_of_fine_structure() -> None:
    """For peaks of their own."""
    x = np.linspace(700.0, 760.0, 121)
    values = values_of(iron(onset_width=1e-6, fine_structure_width=20, fine_structure_coefficients=0), x)
    assert (values[x < 728] == 0).all()
    np.testing.assert_array_equal(values[x > 728], values_of(iron(onset_width=1e-6), x)[x > 728])


def white_lines(x: np.ndarray, onset: float = 708.0) -> np.ndarray:
    """Two peaks over a step."""
    peaks = 900 * np.exp(-((x - onset - 4) ** 2) / 8) + 500 * np.exp(-((x - onset - 17) ** 2) / 8)
    return peaks + 100 * (x > onset) * (x < onset + 30)


def test_fine_structure_is_fitted_as_a_linear_problem() -> None:
    """Without the onset, all is linear: one step of any method, the values and errors of NumPy's normal equations."""
    random = np.random.default_rng(3)
    x = np.arange(680.0, 900.0, 0.5)
    edge = iron(onset_width=0.5, fine_structure_width=30, fine_structure_coefficients=13, intensity=20.0)
    tail = values_of(edge.copy(), x) * 2
    clean = tail + white_lines(x) + 300
    data = xr.DataArray(random.poisson(clean, (4, x.size)), dims=("pixel", "energy"), coords={"energy": x})
    m = xfit.Model([Offset(name="bg", offset=250.0), edge])
    unit = []
    free = [p for p in m.parameters if p.free]
    for parameter in free:
        made = m.copy()
        for other in free:
            made.parameter(other.full_name).value = float(other is parameter)
        unit.append(made)
    design = np.array([curve(each, x) for each in unit]).T
    matrix = np.linalg.inv(design.T @ (design / clean[:, None]))
    expected = (data.values / clean) @ design @ matrix
    for optimizer in ("lstsq", "lm", "varpro"):
        fit = data.fit.multifit(
            m, optimizer=optimizer, variance=xr.DataArray(clean, dims="energy"), scale_covariance=False
        )
        found = fit.sel(param=[p.full_name for p in free])
        np.testing.assert_allclose(found["value"], expected, atol=1e-4 * np.sqrt(np.diag(matrix)).max(), rtol=1e-6)
        np.testing.assert_allclose(found["stderr"][0], np.sqrt(np.diag(matrix)), rtol=1e-5)
        pair = fit["pair_covariance"].sel(pair="Fe.fine_structure_03, Fe.intensity")
        names = [p.full_name for p in free]
        a, b = names.index("Fe.fine_structure_03"), names.index("Fe.intensity")
        np.testing.assert_allclose(pair, matrix[a, b], rtol=1e-4)


def curve(m: xfit.Model, x: np.ndarray) -> np.ndarray:
    """A model's curve at its present values."""
    return sum((values_of(component.copy(), x) for component in m), np.zeros(x.shape))


def test_fine_structure_moves_with_the_edge() -> None:
    """A free onset is found to a part of a channel, from either side, with the structure's shape held."""
    x = np.arange(680.0, 860.0, 0.5)
    edge = iron(onset_width=0.5, fine_structure_width=30, fine_structure_coefficients=13, intensity=20.0)
    shape = (x >= 708) & (x < 738)
    data = xr.DataArray(values_of(edge.copy(), x) + white_lines(x), dims="energy", coords={"energy": x})
    fit = data.fit(xfit.Model([edge]), where=xr.DataArray(shape | (x > 739), dims="energy"))
    for name in fit["parameter"].values:
        edge[str(name)].value = float(fit.fit[f"Fe.{name}"])
    coefficients = [p for p in edge.parameters if p.name.startswith("fine_structure_")]
    moved = edge.copy()
    moved.onset_energy.value = 709.3
    measured = xr.DataArray(values_of(moved, x), dims="energy", coords={"energy": x})
    for p in coefficients:
        p.free = False
    for start in (707.5, 711.0):
        edge.onset_energy.set(value=start, free=True, min=700, max=720)
        again = measured.fit(xfit.Model([edge.copy()]))
        assert float(again.fit["Fe.onset_energy"]) == pytest.approx(709.3, abs=1e-5)
        assert float(again.fit["Fe.intensity"]) == pytest.approx(20.0, rel=1e-6)


def test_fine_structure_is_stored_with_the_model() -> None:
    made = iron(fine_structure_width=30.0, fine_structure_onset=1.0, fine_structure_coefficients=9)
    made.fine_structure_4.value = 7.5
    again = xfit.Model.from_json(xfit.Model([made]).to_json())[0]
    assert again == made
    assert again.fine_structure_4.value == 7.5
    assert again.fine_structure_4.linear
    assert "fine_structure_coefficients" not in iron().options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": "a"}, "fine_structure_width='a' must be a number, in eV above the edge"),
        ({"width": 0}, "fine_structure_onset=0.0 and fine_structure_width=0 must be energies above the edge"),
        ({"width": 10, "onset": 10}, "fine_structure_onset=10 and fine_structure_width=10 must be"),
        ({"width": np.inf}, "fine_structure_width=inf must be"),
        ({"width": 10, "onset": -1}, "fine_structure_onset=-1 and"),
        ({"width": 10, "coefficients": 3}, "fine_structure_coefficients=3 must be zero, or from 4 to 400"),
        ({"width": 10, "coefficients": 4.5}, "fine_structure_coefficients=4.5 must be an integer"),
        (
            {"width": 35},
            "fine_structure_width=35 takes the cross-section away .*: give fine_structure_coefficients=, from 4 to 400",
        ),
        ({"coefficients": 8}, "a fine structure needs its width"),
        ({"onset": 2.0}, "a fine structure needs its width"),
    ],
)
def test_bad_fine_structures_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        iron(**{f"fine_structure_{key}": value for key, value in options.items()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.rename(q="k"), "must have 'energy' and 'q'"),
        (lambda g: -g, "below zero"),
        (lambda g: g.where(g["q"] > 1e9), "not finite"),
        (lambda g: g.assign_coords(energy=g["energy"] + 1), "must begin at zero"),
        (lambda g: g.assign_coords(q=g["q"] - 1e9), "must be above zero"),
        (lambda g: g.isel(q=[0]), "at least two"),
    ],
)
def test_bad_tables_are_refused(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_gos(change(table_of("C_K")))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"beam_energy": 0}, ValueError, "beam_energy=0 must lie between 1 and 3000 keV"),
        ({"beam_energy": "200"}, TypeError, "must be a number, in keV"),
        ({"collection_angle": -1}, ValueError, "collection_angle=-1"),
        ({"gos": 3}, TypeError, "gos must be an xarray.DataArray"),
        ({"gos": {"q": []}}, ValueError, "must have 'energy', 'q' and 'values'"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    needed: dict[str, Any] = {"edge": "C_K", "beam_energy": 200, "collection_angle": 10}
    with pytest.raises(error, match=message):
        EELSCLEdge(**(needed | arguments))


def test_tables_travel_once_not_with_every_task() -> None:
    x = np.arange(650.0, 950.0, 1.0)
    zeros = xr.DataArray(np.zeros((20, 20, x.size)), dims=("y", "x", "energy"), coords={"energy": x})
    m = xfit.Model([PowerLaw(name="bg"), EELSCLEdge("Fe_L3", beam_energy=200, collection_angle=20)])
    lazy = zeros.chunk(y=2, x=2).fit.multifit(m)
    for array in (lazy["value"], lazy.fit.evaluate()):
        (optimised,) = dask.optimize(array.data)
        sizes = [len(cloudpickle.dumps(task)) for task in dict(optimised.dask).values()]
        assert len(sizes) > 100
        # The table alone is 74 kB; a chunk of data is as large as 10 kB.
        assert sum(size > 20_000 for size in sizes) <= 2
