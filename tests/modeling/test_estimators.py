"""Estimators: right on clean data, near on noisy ones, finite or left out on bad ones."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings

from tests.support.builders import (
    garbage,
    gaussian,
)
from xfit.components import (
    Exponential,
    Gaussian,
    GaussianHF,
    Lorentzian,
    Offset,
    Polynomial,
    PowerLaw,
)
from xfit.modeling import estimators

N = 300
LIBRARY = [Gaussian, GaussianHF, Lorentzian, Offset, Polynomial, PowerLaw, Exponential]


def lorentzian(x, area, centre, gamma):
    return area / np.pi * gamma / ((x - centre) ** 2 + gamma**2)


def spectra(values: np.ndarray, x: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=("p", "x")[-values.ndim :], coords={"x": x})


def estimates(component: Any, da: xr.DataArray, *args: Any, **options: Any) -> dict[str, np.ndarray]:
    """Estimates by the parameters' own names."""
    found = component.estimate(da, *args, **options)
    return {str(name).split(".")[1]: array.values for name, array in found.items()}


def column(random: np.random.Generator, low: float, high: float) -> np.ndarray:
    return random.uniform(low, high, (N, 1))


# --- clean data --------------------------------------------------------------------------------

X = np.linspace(-20, 60, 400)


@pytest.mark.parametrize("background", [0.0, 30.0, "line"])
def test_a_gaussian_is_found_wherever_it_is(background):
    random = np.random.default_rng(0)
    area, centre, sigma = column(random, 1, 1e3), column(random, 0, 40), column(random, 0.6, 3.5)
    y = gaussian(X, area, centre, sigma) + (X + 30 if background == "line" else background)
    found = estimates(Gaussian(), spectra(y, X))
    # Moments within 3.5 sigma give a sigma 0.31 % too small (1 - 7*phi(3.5)/0.9995, at its fixed point); the ends of
    # the range are at least 5.7 sigma away.
    np.testing.assert_allclose(found["sigma"], sigma[:, 0], rtol=0.02)
    np.testing.assert_allclose(found["A"], area[:, 0], rtol=0.005)
    assert (np.abs(found["centre"] - centre[:, 0]) < 0.02 * sigma[:, 0]).all()
    by_height = estimates(GaussianHF(), spectra(y, X))
    np.testing.assert_allclose(by_height["fwhm"], found["sigma"] * np.sqrt(8 * np.log(2)))
    np.testing.assert_allclose(by_height["height"], found["A"] / found["sigma"] / np.sqrt(2 * np.pi))


def test_moments_agree_with_those_of_the_whole_range():
    """HyperSpy's formulas: plain moments over the range, and the area from the largest value."""
    random = np.random.default_rng(1)
    centre, sigma = column(random, 10, 30), column(random, 1, 3)
    y = gaussian(X, 50.0, centre, sigma)
    mean = (X * y).sum(1) / y.sum(1)
    deviation = np.sqrt(np.abs(((X - mean[:, None]) ** 2 * y).sum(1) / y.sum(1)))
    found = estimates(Gaussian(), spectra(y, X))
    np.testing.assert_allclose(found["centre"], mean, atol=0.02)
    np.testing.assert_allclose(found["sigma"], deviation, rtol=0.02)
    np.testing.assert_allclose(found["A"], y.max(1) * deviation * np.sqrt(2 * np.pi), rtol=0.02)


def test_a_lorentzian_is_found():
    random = np.random.default_rng(2)
    area, centre, gamma = column(random, 1, 1e3), column(random, 10, 30), column(random, 0.4, 2)
    found = estimates(Lorentzian(), spectra(lorentzian(X, area, centre, gamma), X))
    # The tails beyond the ends, which the baseline takes for background, are 1/(1 + 15^2) of the height over up to 16
    # gamma on either side: 32/226/pi = 4.5 % of the area, and the quartiles move by twice that.
    np.testing.assert_allclose(found["gamma"], gamma[:, 0], rtol=0.12)
    np.testing.assert_allclose(found["A"], area[:, 0], rtol=0.1)
    assert (np.abs(found["centre"] - centre[:, 0]) < 0.05 * gamma[:, 0]).all()


def test_an_exponential_is_solved_exactly_on_a_uniform_axis():
    random = np.random.default_rng(3)
    factor, tau = column(random, 1, 1e3), column(random, 3, 200) * random.choice([-1, 1], (N, 1))
    found = estimates(Exponential(), spectra(factor * np.exp(-X / tau), X))
    # Uniform channels put the same factor before all areas, so the equation for tau is exact.
    np.testing.assert_allclose(found["tau"], tau[:, 0], rtol=1e-6)
    np.testing.assert_allclose(found["A"], factor[:, 0], rtol=1e-5)


@pytest.mark.parametrize("origin", [0.0, -30.0])
def test_a_power_law_is_solved(origin):
    random = np.random.default_rng(4)
    x = np.linspace(100, 400, 300)
    factor, r = column(random, 1e5, 1e9), column(random, 1.1, 4.9)
    y = factor * (x - origin) ** -r
    found = estimates(PowerLaw(origin=origin), spectra(y, x))
    # The area of a channel is its middle value times its width: r*(r+1)/24 * (width/x)^2 < 1.3e-4 too small.
    np.testing.assert_allclose(found["r"], r[:, 0], rtol=1e-4)
    np.testing.assert_allclose(found["A"], factor[:, 0], rtol=2e-3)


def test_a_power_law_agrees_with_the_two_area_method():
    """HyperSpy's formula for two halves of the range, which is exact for r = 2."""
    x = np.linspace(200, 300, 101)
    for r in (1.5, 2.0, 2.5, 3.5):
        y = 1e6 * x**-r
        x1, x2, x4 = x[0], x[50], x[100]
        one, two = np.trapezoid(y[:51], x[:51]), np.trapezoid(y[50:], x[50:])
        expected = 2 * np.log(one / two * (x4 - x2) / (x2 - x1)) / np.log(x4 * x2 / (x2 * x1))
        # For another r the approximation is off by about (r-2)*r/24 * ln(x4/x1)^2/ln(2), below a hundredth here.
        np.testing.assert_allclose(estimates(PowerLaw(), spectra(y, x))["r"], expected, rtol=0.01)


def test_linear_components_are_solved():
    random = np.random.default_rng(5)
    coefficients = random.normal(size=(N, 4)) * [10, 1, 0.1, 0.01]
    y = sum((coefficients[:, [k]] * X**k for k in range(4)), np.zeros((N, X.size)))
    found = estimates(Polynomial(3), spectra(y, X))
    expected = np.polyfit(X, y.T, 3)[::-1]
    for k in range(4):
        np.testing.assert_allclose(found[f"a{k}"], expected[k], atol=1e-10)
    np.testing.assert_allclose(estimates(Offset(), spectra(y, X), (0, 20))["offset"], y[:, 100:200].mean(1), rtol=0.05)
    assert set(estimates(Polynomial(10), spectra(y, X))) == {f"a{k:02d}" for k in range(11)}


# --- noise -------------------------------------------------------------------------------------


def test_poisson_noise_does_little():
    random = np.random.default_rng(6)
    area, centre, sigma = column(random, 500, 3000), column(random, 5, 35), column(random, 0.8, 2.5)
    y = random.poisson(gaussian(X, area, centre, sigma) + 10)
    found = estimates(Gaussian(), spectra(y, X))
    # The peak has 2500 counts at least (five channels a unit) on 10 a channel; within 3.5 sigma, up to 90 channels, 900
    # counts of background: the area is known to 60/2500, the centre to 0.05 sigma, sigma to about 0.1 of itself. The
    # baseline adds a few per cent.
    off = np.abs(found["centre"] - centre[:, 0]) / sigma[:, 0]
    assert np.median(off) < 0.05
    assert off.max() < 0.5
    assert np.median(np.abs(found["sigma"] / sigma[:, 0] - 1)) < 0.1
    assert np.median(np.abs(found["A"] / area[:, 0] - 1)) < 0.05
    sharp = random.poisson(lorentzian(X, 2 * area, centre, sigma) + 10)
    found = estimates(Lorentzian(), spectra(sharp, X))
    assert (np.abs(found["centre"] - centre[:, 0]) / sigma[:, 0]).max() < 1
    assert np.median(np.abs(found["gamma"] / sigma[:, 0] - 1)) < 0.25


def test_noise_of_decays():
    random = np.random.default_rng(7)
    tau = column(random, 2, 60)
    found = estimates(Exponential(), spectra(random.poisson(200 * np.exp(-(X + 20) / tau)), X))
    # 2000 counts at least, half of them on either side of the split: the ratio is known to 2/sqrt(2000), and tau to
    # about that over ln 2 for a decay inside the range: 7 %; three standard deviations and more of 300 pixels: 4.
    assert (np.abs(found["tau"] / tau[:, 0] - 1) < 0.4).all()
    x, r = np.linspace(100, 400, 300), column(random, 1.2, 4.8)
    found = estimates(PowerLaw(), spectra(random.poisson(1e3 * (x / 100) ** -r), x))
    assert np.abs(found["r"] - r[:, 0]).max() < 0.1


def test_the_whole_peak_counts_where_channels_hold_a_count_or_none():
    """A peak of 60 counts over 60 channels has no channel that stands out, but a run of channels that does."""
    random = np.random.default_rng(8)
    centre = column(random, 0, 40)
    y = random.poisson(gaussian(X, 20.0, centre, 3.0))
    found = estimates(Gaussian(), spectra(y, X))
    # 100 counts: the centre is known to sigma/10, five of those for the worst pixel.
    assert np.abs(found["centre"] - centre[:, 0]).max() < 0.5 * 3
    np.testing.assert_allclose(found["sigma"].mean(), 3.0, rtol=0.1)


# --- laws --------------------------------------------------------------------------------------

SHIFTED = {"centre"}
FACTORS = {"A", "height", "offset", "a0", "a1", "a2"}


@pytest.mark.parametrize("cls", LIBRARY)
def test_scaling_the_data_scales_amplitudes_only(cls):
    random = np.random.default_rng(9)
    x = np.linspace(10, 50, 120)
    y = random.poisson(gaussian(x, 500.0, column(random, 20, 40), 2.0) + 1e4 / x).astype(float)
    one, other = (estimates(cls(), spectra(values, x)) for values in (y, 1024 * y))
    for name, values in one.items():
        # A power of two changes no mantissa, so only exponents of amplitudes may differ.
        np.testing.assert_array_equal(other[name], values * (1024 if name in FACTORS else 1))


@pytest.mark.parametrize("cls", [Gaussian, GaussianHF, Lorentzian])
def test_shifting_and_stretching_the_axis_moves_and_stretches_a_peak(cls):
    random = np.random.default_rng(10)
    y = random.poisson(gaussian(X, 500.0, column(random, 5, 35), 2.0) + 10)
    one, other = estimates(cls(), spectra(y, X)), estimates(cls(), spectra(y, 3 * X + 1000))
    for name, values in one.items():
        expected = {"centre": 3 * values + 1000, "A": 3 * values, "height": values}.get(name, 3 * values)
        np.testing.assert_allclose(other[name], expected, rtol=1e-7)


@pytest.mark.parametrize("cls", LIBRARY)
def test_descending_and_unsorted_coordinates_do_not_matter(cls):
    random = np.random.default_rng(11)
    x = np.linspace(10, 50, 120)
    y = random.poisson(gaussian(x, 500.0, column(random, 20, 40), 2.0) + 1e4 / x)
    expected = estimates(cls(), spectra(y, x))
    for order in (slice(None, None, -1), random.permutation(x.size)):
        found = estimates(cls(), spectra(y[:, order], x[order]))
        for name, values in expected.items():
            # An amplitude that is fitted again, for an exponent at its bound, is a sum in the order of the channels.
            np.testing.assert_allclose(found[name], values, rtol=1e-14 if cls is PowerLaw else 0)


@pytest.mark.parametrize("cls", LIBRARY)
def test_binned_data_give_what_their_densities_give(cls):
    random = np.random.default_rng(12)
    for x in (np.linspace(10, 50, 150), 10 * 1.01 ** np.arange(150)):
        y = gaussian(x, 500.0, column(random, 20, 35), 2.0) + 1e4 / x
        counts = y * np.gradient(x)
        expected, found = estimates(cls(), spectra(y, x)), estimates(cls(), spectra(counts, x), binned=True)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-8)
        flagged = spectra(counts, x)
        flagged["x"].attrs["is_binned"] = True
        for name, values in found.items():
            np.testing.assert_array_equal(estimates(cls(), flagged)[name], values)


def test_a_non_uniform_axis():
    random = np.random.default_rng(13)
    x = np.cumsum(np.linspace(0.05, 0.4, 300))
    area, centre, sigma = column(random, 10, 100), column(random, 20, 50), column(random, 1, 2)
    found = estimates(Gaussian(), spectra(gaussian(x, area, centre, sigma) + 5, x))
    # Plain sums over channels, without their widths, would be drawn to the left, where channels are denser.
    np.testing.assert_allclose(found["A"], area[:, 0], rtol=0.02)
    np.testing.assert_allclose(found["sigma"], sigma[:, 0], rtol=0.05)
    assert np.abs(found["centre"] - centre[:, 0]).max() < 0.05
    tau = column(random, 5, 50)
    np.testing.assert_allclose(estimates(Exponential(), spectra(np.exp(-x / tau), x))["tau"], tau[:, 0], rtol=0.01)
    line = estimates(Polynomial(1), spectra(area + centre * x, x))
    np.testing.assert_allclose(line["a1"], centre[:, 0], rtol=1e-9)
    np.testing.assert_allclose(estimates(Offset(), spectra(area + 0 * x, x))["offset"], area[:, 0])


# --- bad data ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", LIBRARY)
@pytest.mark.parametrize("kind", ["zero", "constant", "negative", "nan", "infinite", "huge", "one channel"])
def test_what_there_is_no_estimate_of_is_left_out(cls, kind):
    x = np.linspace(10, 50, 60)
    bad = {"zero": 0.0, "constant": 7.0, "negative": -3.0, "nan": np.nan, "infinite": np.inf, "huge": 1.7e308}
    y = np.full((2, x.size), bad.get(kind, np.nan))
    if kind == "one channel":
        y[:, 30] = 5.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = estimates(cls(), spectra(y, x))
    for values in found.values():
        assert not np.isinf(values).any()
    assert len({tuple(np.isnan(values)) for values in found.values()}) == 1
    if kind in ("nan", "infinite"):
        assert all(np.isnan(values).all() for values in found.values())


@pytest.mark.parametrize("cls", LIBRARY)
@given(rows=garbage())
@settings(max_examples=30, deadline=None)
def test_whatever_the_data_are_an_estimate_is_finite_in_bounds_or_nan(cls, rows):
    component = cls()
    found = estimates(component, spectra(rows, np.linspace(1, 30, rows.shape[1])))
    for name, values in found.items():
        parameter = component[name]
        assert not np.isinf(values).any()
        known = values[~np.isnan(values)]
        assert ((known > parameter.min) & (known < parameter.max)).all()


@pytest.mark.parametrize("cls", LIBRARY)
def test_missing_channels_are_ignored(cls):
    random = np.random.default_rng(14)
    x = np.linspace(10, 50, 400)
    truth = {
        Gaussian: gaussian(x, 100.0, column(random, 25, 35), 2.0),
        GaussianHF: gaussian(x, 100.0, column(random, 25, 35), 2.0),
        Lorentzian: lorentzian(x, 100.0, column(random, 25, 35), 1.0),
        Offset: column(random, 1, 9) + 0 * x,
        Polynomial: 3 + column(random, 1, 9) * x - 0.1 * x**2,
        PowerLaw: 1e5 * x ** -column(random, 1.5, 4),
        Exponential: 1e3 * np.exp(-x / column(random, 5, 50)),
    }[cls]
    expected = estimates(cls(), spectra(truth, x))
    gaps = np.where(random.random(truth.shape) < 0.3, np.nan, truth)
    for name, values in estimates(cls(), spectra(gaps, x)).items():
        # Interpolation over gaps of some 0.1 in curves of a width of 1 or more is off by (gap/width)^2/8. The factor of
        # a power law is its value at x = 1, ten times below the range: an error of r counts ln(20) times there.
        np.testing.assert_allclose(values, expected[name], rtol=0.1 if cls is PowerLaw else 0.03, atol=0.03)
    mask = spectra(truth, x).notnull() & xr.DataArray((x < 12) | (x > 14), dims="x", coords={"x": x})
    spoilt = spectra(np.where(mask, truth, 1e6), x)
    for name, values in estimates(cls(), spoilt, where=mask).items():
        np.testing.assert_allclose(values, expected[name], rtol=0.1 if cls is PowerLaw else 0.03, atol=0.03)


def test_a_polynomial_ignores_gaps_exactly():
    random = np.random.default_rng(15)
    y = column(random, 1, 9) + column(random, -2, 2) * X + 0.3 * X**2
    y[:, 100:250] = np.nan
    y[0, 2:] = np.nan
    found = estimates(Polynomial(2), spectra(y, X))
    np.testing.assert_allclose(found["a2"][1:], 0.3, rtol=1e-9)
    assert np.isnan(found["a2"][0])


def test_a_peak_of_one_channel_keeps_a_width():
    y = np.zeros((1, 50))
    y[0, 20] = 8.0
    x = np.linspace(0, 98, 50)
    found = estimates(Gaussian(), spectra(y, x))
    # The area of the channel, its place, and the standard deviation of a uniform distribution over its width of 2.
    assert found["A"][0] == pytest.approx(16)
    assert found["centre"][0] == pytest.approx(40)
    assert found["sigma"][0] == pytest.approx(2 / np.sqrt(12))
    assert 0 < estimates(Lorentzian(), spectra(y, x))["gamma"][0] < 2


def test_a_peak_at_the_end_of_the_range_is_found():
    y = gaussian(X, 100.0, np.array([[-19.0], [59.0]]), 1.5) + 4
    found = estimates(Gaussian(), spectra(y, X))
    # What is seen of it lies within two sigma of the end.
    assert (np.abs(found["centre"] - [-19, 59]) < 1.5).all()


def test_filled_interpolates_and_leaves_empty_rows():
    nan = np.nan
    x = np.array([0.0, 1, 3, 4, 5])
    y = np.array([[nan, 1, nan, 4, nan], [1, 2, 3, 4, 5], [nan] * 5])
    expected = [[1.0, 1, 3, 4, 4], [1.0, 2, 3, 4, 5], [nan] * 5]
    np.testing.assert_allclose(estimators.filled(x, y), expected)
