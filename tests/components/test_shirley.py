"""Shirley backgrounds: sums over the channels of larger x, against NumPy's cumulative sums and HyperSpy's numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import curve_fit
from scipy.special import wofz

import xfit
from tests.support.paths import DATA
from xfit.components import Offset, PESCoreLineShape, PESVoigt

X = np.linspace(80, 90, 251)


def spectra(values: np.ndarray, x: np.ndarray = X) -> xr.DataArray:
    return xr.DataArray(values, dims=("y", "energy")[-values.ndim :], coords={"energy": x})


def core(x: np.ndarray, A: Any, width: Any, origin: Any) -> np.ndarray:
    return A * np.exp(-4 * np.log(2) * (x - origin) ** 2 / width**2)


def voigt(x: np.ndarray, area: float, centre: float, sigma: float, gamma: float) -> np.ndarray:
    return area * wofz((x - centre + 1j * gamma) / sigma / np.sqrt(2)).real / sigma / np.sqrt(2 * np.pi)


def with_background(line: np.ndarray, factor: float) -> np.ndarray:
    return line + factor * (line.sum(axis=-1, keepdims=True) - np.cumsum(line, axis=-1))


def curve(component: Any, x: np.ndarray) -> xr.DataArray:
    """The component's curve as it is, by a fit of something else."""
    component.set_parameters_not_free()
    m = xfit.Model([component, Offset(name="zero")])
    return spectra(np.zeros(x.size), x).fit(m).fit.evaluate([component.name])


def test_values_and_the_derivative_are_those_of_hyperspy() -> None:
    stored = json.loads((DATA / "hyperspy_components.json").read_text())["components"]
    (oracle,) = (case for case in stored if case["name"].endswith("PESCoreLineShape"))
    at, x = dict(oracle["at"]), np.array(oracle["x"])
    at["FWHM"] *= 2  # HyperSpy's is half of one.
    for factor in (0.0, 0.05, -0.3):
        expected = np.array(oracle["f"]) + factor * np.array(oracle["grad"]["shirley"])
        # HyperSpy's sums are differences of cumulative ones, rounded as those are, which reach 21.
        found = curve(PESCoreLineShape(**at, shirley=factor), x)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_both_lines_of_a_doublet_have_a_background() -> None:
    values: dict[str, Any] = {"area": 50, "centre": 86, "FWHM": 0.8, "gamma": 0.3, "shirley_background": 0.02}
    line = PESVoigt(True, **values, spin_orbit_branching_ratio=0.6, spin_orbit_splitting_energy=2)
    sigma = 0.8 / np.sqrt(8 * np.log(2))
    both = voigt(X, 50, 86, sigma, 0.3) + 0.6 * voigt(X, 50, 84, sigma, 0.3)
    np.testing.assert_allclose(curve(line, X), with_background(both, 0.02), rtol=1e-11)


def test_fits_find_line_and_background() -> None:
    random = np.random.default_rng(0)
    truth = {"A": random.uniform(80, 300, 60), "FWHM": random.uniform(0.8, 2, 60), "origin": random.uniform(84, 86, 60)}
    factor = random.uniform(0.002, 0.05, 60)
    lines = core(X, truth["A"][:, None], truth["FWHM"][:, None], truth["origin"][:, None])
    data = spectra(np.array([with_background(line, f) for line, f in zip(lines, factor, strict=True)]) + 5)
    m = xfit.Model([PESCoreLineShape(name="s", A=150, FWHM=1.2, origin=85, shirley=0.01), Offset(name="o")])
    m["s"].FWHM.min = 0
    m["s"].shirley.free = True
    fit = data.fit.multifit(m)
    assert (fit["status"] == 1).all()
    for name, values in {**truth, "shirley": factor}.items():
        np.testing.assert_allclose(fit.fit[f"s.{name}"], values, rtol=1e-9)
    np.testing.assert_allclose(fit.fit.evaluate(), data, rtol=1e-11)
    turned = data.isel(energy=slice(None, None, -1)).fit.multifit(m)
    np.testing.assert_allclose(turned["value"], fit["value"], rtol=1e-10)
    # From a map of fixed factors, as for any parameter.
    m["s"].shirley.set(value=0.0, free=False)
    fixed = data.fit.multifit(m, start={"s.shirley": xr.DataArray(factor, dims="y")})
    np.testing.assert_allclose(fixed.fit["s.A"], truth["A"], rtol=1e-9)


def test_errors_are_those_of_the_whole_model() -> None:
    random = np.random.default_rng(1)

    def model(x: np.ndarray, A: float, width: float, origin: float, factor: float, offset: float) -> np.ndarray:
        return with_background(core(x, A, width, origin), factor) + offset

    noisy = random.normal(model(X, 200, 1.3, 85, 0.02, 10), 3)
    best, covariance = curve_fit(model, X, noisy, [190, 1.2, 85.1, 0.015, 8], xtol=1e-13, ftol=1e-13)
    m = xfit.Model([PESCoreLineShape(name="s", A=190, FWHM=1.2, origin=85.1, shirley=0.015), Offset(name="o")])
    m["s"].shirley.free = True
    fit = spectra(noisy).fit(m)
    names = ["s.A", "s.FWHM", "s.origin", "s.shirley", "o.offset"]
    errors = np.sqrt(np.diag(covariance))
    # Both stop near the same minimum; MINPACK's derivatives are differences, good to 1e-5 or so.
    np.testing.assert_allclose((np.array([float(fit.fit[n]) for n in names]) - best) / errors, 0, atol=1e-3)
    np.testing.assert_allclose([float(fit.fit.stderr(n)) for n in names], errors, rtol=1e-3)


@pytest.mark.parametrize("convolved", [True, False])
def test_with_a_response(convolved: bool) -> None:
    """A convolved line has its background from the points beyond the data too, as it has in HyperSpy."""
    step = X[1] - X[0]
    shift = step * np.arange(-25, 26)
    kernel = np.exp(-(shift**2) / 0.1)
    kernel /= kernel.sum()
    line = PESCoreLineShape(A=100, FWHM=1, origin=85, shirley=0.02)
    line.convolved = convolved
    m = xfit.Model([line, PESCoreLineShape(name="other", A=10, origin=87)])
    m.response = xr.DataArray(kernel, dims="energy", coords={"energy": shift})
    line.set_parameters_not_free()
    m["other"].set_parameters_not_free(["FWHM", "origin"])
    wide = X[0] - shift[-1] + step * np.arange(X.size + shift.size - 1)
    if convolved:
        expected = np.convolve(with_background(core(wide, 100, 1, 85), 0.02), kernel, "valid")
    else:
        expected = with_background(core(X, 100, 1, 85), 0.02)
    found = spectra(np.ones(X.size)).fit(m).fit.evaluate([line.name])
    np.testing.assert_allclose(found, expected, atol=1e-12 * 100)


ORDERS = {
    "falls": np.arange(251)[::-1],
    "upper window first": np.r_[120:251, 0:120],
    "interleaved passes": np.r_[0:251:2, 1:251:2],
    "measured twice": np.r_[0:251, 0:251],
    "out of order": np.random.default_rng(3).permutation(251),
}


def shirley(x: np.ndarray, line: np.ndarray, factor: float) -> np.ndarray:
    """The definition: what each channel has of all channels of larger x; those of the same x have the same."""
    return line + factor * np.array([line[x > at].sum() for at in x])


@pytest.mark.parametrize("order", ORDERS)
def test_sums_go_along_the_coordinate_however_channels_lie(order: str) -> None:
    x = X[ORDERS[order]]
    data = spectra(shirley(x, core(x, 100, 1.3, 85), 0.02) + 5, x)
    m = xfit.Model([PESCoreLineShape(name="s", A=90, FWHM=1.1, origin=85.2, shirley=0.01), Offset(name="o", offset=4)])
    m["s"].shirley.free = True
    fit = data.fit(m)
    for name, value in {"s.A": 100, "s.FWHM": 1.3, "s.origin": 85, "s.shirley": 0.02, "o.offset": 5}.items():
        assert float(fit.fit[name]) == pytest.approx(value, rel=1e-9), name
    # Where the sum is rounded is the only difference: 251 additions of numbers up to 100.
    np.testing.assert_allclose(fit.fit.evaluate(), data, atol=1e-10)
    # Channels that are left out, variances and channels that are not finite stay with theirs.
    variance = spectra(1 + 0.1 * (x - 80), x)
    spoilt = data.where((data.energy < 84) | (data.energy > 84.3)).where(data.energy != x[7])
    masked = spoilt.fit(m, where=data.energy > 80.5, variance=variance)
    assert float(masked.fit["s.shirley"]) == pytest.approx(0.02, rel=1e-8)


def test_errors_of_channels_out_of_order_are_those_in_order() -> None:
    random = np.random.default_rng(5)
    noisy = random.normal(shirley(X, core(X, 200, 1.3, 85), 0.02) + 10, 3)
    m = xfit.Model(
        [PESCoreLineShape(name="s", A=190, FWHM=1.2, origin=85.1, shirley=0.015), Offset(name="o", offset=8)]
    )
    m["s"].shirley.free = True
    expected = spectra(noisy).fit(m)
    for optimizer in ("lm", "trf", "varpro"):
        order = ORDERS["out of order"]
        found = spectra(noisy[order], X[order]).fit(m, optimizer=optimizer)
        np.testing.assert_allclose(found["value"], expected["value"], rtol=1e-5)
        np.testing.assert_allclose(found["stderr"], expected["stderr"], rtol=1e-4)


def test_both_lines_of_a_doublet_out_of_order() -> None:
    values: dict[str, Any] = {"area": 50, "centre": 86, "FWHM": 0.8, "gamma": 0.3, "shirley_background": 0.02}
    line = PESVoigt(True, **values, spin_orbit_branching_ratio=0.6, spin_orbit_splitting_energy=2)
    sigma = 0.8 / np.sqrt(8 * np.log(2))
    x = X[ORDERS["measured twice"]]
    both = voigt(x, 50, 86, sigma, 0.3) + 0.6 * voigt(x, 50, 84, sigma, 0.3)
    np.testing.assert_allclose(curve(line, x), shirley(x, both, 0.02), rtol=1e-11)


def test_a_response_needs_even_steps_in_order() -> None:
    order = ORDERS["interleaved passes"]
    line = PESCoreLineShape(name="s", A=100, FWHM=1, origin=85, shirley=0.02)
    m = xfit.Model([line], response=spectra(np.ones(3) / 3, (X[1] - X[0]) * np.arange(-1, 2)))
    with pytest.raises(
        ValueError, match="the data's coordinate 'energy' has uneven steps; a convolution needs even ones"
    ):
        spectra(core(X, 100, 1, 85)[order], X[order]).fit(m)
