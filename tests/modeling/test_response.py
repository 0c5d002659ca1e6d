"""Convolution with a response: values, gradients and errors against numpy.convolve, and what
can't be convolved is refused.
"""

from __future__ import annotations

import warnings
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from scipy.optimize import curve_fit

import xfit
from xfit.components import (
    Decay,
    Exponential,
    Expression,
    Gaussian,
    Gaussian2D,
    Lorentzian,
    Offset,
    Polynomial,
    PowerLaw,
    Voigt,
)

STEP = 0.25
ENERGY = 100 + STEP * np.arange(301)
SHIFT = STEP * np.arange(-30, 91)


def low_loss(width: float = 1.0, plasmon: float = 0.3) -> np.ndarray:
    """A zero-loss peak and a plasmon, of sum one."""
    curve = np.exp(-(SHIFT**2) / (2 * width**2)) / width + plasmon * np.exp(-((SHIFT - 12) ** 2) / 8)
    return curve / curve.sum()


def response(values: np.ndarray | None = None, shift: np.ndarray = SHIFT, **coords: Any) -> xr.DataArray:
    values = low_loss() if values is None else values
    dims = ("y", "x", "energy")[-values.ndim :]
    return xr.DataArray(values, dims=dims, coords={"energy": shift, **coords})


def spectra(values: np.ndarray, energy: np.ndarray = ENERGY) -> xr.DataArray:
    return xr.DataArray(values, dims=("y", "x", "energy")[-values.ndim :], coords={"energy": energy})


def convolved(function: Any, kernel: np.ndarray, energy: np.ndarray = ENERGY, shift: np.ndarray = SHIFT) -> np.ndarray:
    """What HyperSpy does: evaluate on the axis extended to both sides, numpy.convolve, keep the valid part."""
    step = energy[1] - energy[0]
    wide = energy[0] - shift[-1] + step * np.arange(len(energy) + len(shift) - 1)
    return np.convolve(function(wide), kernel, mode="valid")


def gaussian(x: np.ndarray, A: float, centre: float, sigma: float) -> np.ndarray:
    return A / sigma / np.sqrt(2 * np.pi) * np.exp(-((x - centre) ** 2) / (2 * sigma**2))


def lorentzian(x: np.ndarray, A: float, centre: float, gamma: float) -> np.ndarray:
    return A / np.pi * gamma / ((x - centre) ** 2 + gamma**2)


def model(kernel: xr.DataArray | None) -> xfit.Model:
    return xfit.Model(
        [
            PowerLaw(name="bg", A=1e6, r=2.5),
            Gaussian(name="g", A=400, centre=130, sigma=2.5),
            Lorentzian(name="l", A=200, centre=150, gamma=1.5),
        ],
        response=kernel,
    )


@xfit.component
def bell(x, height=1.0, centre=131.0, width=2.0):
    return height * np.exp(-(((x - centre) / width) ** 2))


def truth(energy: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    def peaks(x: np.ndarray) -> np.ndarray:
        return gaussian(x, 400, 130, 2.5) + lorentzian(x, 200, 150, 1.5)

    return convolved(peaks, kernel) + 1e6 * energy**-2.5


def test_backgrounds_are_not_convolved_and_all_else_is() -> None:
    fit = spectra(truth(ENERGY, low_loss())).fit(model(response()))
    # Rounding of a transform: some 1e-15 of the largest value.
    expected = truth(ENERGY, low_loss())
    np.testing.assert_allclose(fit.fit.evaluate(), expected, atol=1e-13 * expected.max(), rtol=0)
    np.testing.assert_allclose(fit.fit.evaluate(["bg"]), 1e6 * ENERGY**-2.5, rtol=1e-12)
    peak = convolved(lambda x: gaussian(x, 400, 130, 2.5), low_loss())
    np.testing.assert_allclose(fit.fit.components()["g"], peak, atol=1e-12 * peak.max(), rtol=0)
    np.testing.assert_allclose(fit.fit["g.sigma"], 2.5, rtol=1e-10)


def test_each_component_can_be_switched() -> None:
    described = model(response())
    described["bg"].convolved, described["l"].convolved = True, False
    assert "convolved" in repr(described)
    fit = spectra(truth(ENERGY, low_loss())).fit(described, max_nfev=1)
    at = {name: float(fit.fit[name]) for name in fit["param"].values}

    def inside(x: np.ndarray) -> np.ndarray:
        return at["bg.A"] * x ** -at["bg.r"] + gaussian(x, at["g.A"], at["g.centre"], at["g.sigma"])

    expected = convolved(inside, low_loss()) + lorentzian(ENERGY, at["l.A"], at["l.centre"], at["l.gamma"])
    np.testing.assert_allclose(fit.fit.evaluate(), expected, rtol=1e-11)


def test_gradients_and_errors_are_those_of_the_convolved_model() -> None:
    random = np.random.default_rng(0)
    clean = truth(ENERGY, low_loss())
    noisy = random.normal(clean, 0.5)

    def curve(x: np.ndarray, b: float, r: float, *p: float) -> np.ndarray:
        peaks = convolved(lambda u: gaussian(u, *p[:3]) + lorentzian(u, *p[3:]), low_loss())
        return b * 1e6 * x**-r + peaks

    start = [1, 2.5, 400, 130, 2.5, 200, 150, 1.5]
    best, covariance = curve_fit(curve, ENERGY, noisy, start, xtol=1e-13, ftol=1e-13)
    fit = spectra(noisy).fit(model(response()), covariance=True)
    names = ["bg.A", "bg.r", "g.A", "g.centre", "g.sigma", "l.A", "l.centre", "l.gamma"]
    scale = np.array([1e6, *[1.0] * 7])
    errors = np.sqrt(np.diag(covariance)) * scale
    found = np.array([float(fit.fit[name]) for name in names])
    # Both stop near the same minimum: to a thousandth of an error.
    np.testing.assert_allclose((found - best * scale) / errors, 0.0, atol=1e-3)
    # MINPACK's derivatives are differences, good to 1e-5 or so.
    np.testing.assert_allclose([float(fit.fit.stderr(name)) for name in names], errors, rtol=1e-3)


def test_a_lorentzian_convolved_with_a_gaussian_is_a_voigt() -> None:
    # 12 sigma to each side, and seven points a sigma: the sum is the integral to 1e-15.
    sigma = 7 * STEP
    shift = STEP * np.arange(-84, 85)
    kernel = gaussian(shift, STEP, 0, sigma)
    line = xfit.Model([Lorentzian(name="l", A=300, centre=140, gamma=2.0)], response=response(kernel, shift))
    profile = xfit.Model([Voigt(name="v", area=300, centre=140, gamma=2.0, sigma=sigma)])
    profile["v"].set_parameters_not_free(["sigma"])
    made = spectra(convolved(lambda x: lorentzian(x, 250, 137, 1.7), kernel, shift=shift))
    by_line, by_profile = made.fit(line), made.fit(profile)
    np.testing.assert_allclose(by_profile["red_chisq"], 0.0, atol=1e-20)
    for a, b in (("l.A", "v.area"), ("l.centre", "v.centre"), ("l.gamma", "v.gamma")):
        np.testing.assert_allclose(by_line.fit[a], by_profile.fit[b], rtol=1e-9)
    np.testing.assert_allclose(by_line.fit.evaluate(), by_profile.fit.evaluate(), rtol=1e-9)


@pytest.mark.parametrize("lazy", [False, True])
def test_one_response_for_each_pixel(lazy: bool) -> None:
    widths = np.linspace(0.6, 1.6, 12).reshape(3, 4)
    kernels = np.array([[low_loss(w, 0.5 * w) for w in row] for row in widths])
    data = spectra(np.array([[truth(ENERGY, k) for k in row] for row in kernels]))
    given = response(kernels)
    if lazy:
        # Other chunks than the data's, and another order of dimensions.
        data, given = data.chunk(y=2, x=3), given.transpose("x", "energy", "y").chunk(y=1, x=4, energy=50)
    fit = data.fit.multifit(model(given))
    assert (fit.chunks != {}) == lazy
    assert (fit["status"] == 1).all()
    for name, value in {"g.sigma": 2.5, "g.centre": 130, "l.gamma": 1.5, "bg.r": 2.5, "l.A": 200}.items():
        np.testing.assert_allclose(fit.fit[name], value, rtol=1e-8)
    with pytest.raises(ValueError, match="varies over the map and is not stored"):
        fit.fit.evaluate()
    curve = fit.fit.evaluate(response=given)
    assert (curve.chunks is not None) == lazy
    np.testing.assert_allclose(curve, data, rtol=1e-9)
    np.testing.assert_allclose(fit.fit.residual(data, response=given), 0.0, atol=1e-8)
    np.testing.assert_allclose(fit.fit.statistics(data, response=given)["chisq"], 0.0, atol=1e-12)
    parts = fit.fit.components(response=given)
    np.testing.assert_allclose(parts["bg"] + parts["g"] + parts["l"], data, rtol=1e-9)
    row = fit.isel(y=1)
    np.testing.assert_allclose(row.fit.evaluate(response=given.isel(y=1)), data.isel(y=1), rtol=1e-9)


def test_a_response_may_vary_along_one_dimension_only() -> None:
    kernels = np.array([low_loss(w) for w in (0.7, 1.0, 1.4, 1.8)])
    data = spectra(np.array([[truth(ENERGY, k) for k in kernels]] * 2))
    given = xr.DataArray(kernels, dims=("x", "energy"), coords={"energy": SHIFT})
    fit = data.fit.multifit(model(given))
    np.testing.assert_allclose(fit.fit["g.sigma"], 2.5, rtol=1e-8)
    np.testing.assert_allclose(fit.fit.evaluate(response=given), data, rtol=1e-9)
    lazy = data.chunk(y=1, x=2).fit.multifit(model(given))
    xr.testing.assert_equal(lazy["value"].compute(), fit["value"])


def test_results_do_not_depend_on_chunks_or_scheduler() -> None:
    random = np.random.default_rng(1)
    widths = random.uniform(0.6, 1.6, (3, 4))
    kernels = np.array([[low_loss(w) for w in row] for row in widths])
    data = spectra(random.normal(np.array([[truth(ENERGY, k) for k in row] for row in kernels]), 0.5))
    given = response(kernels)
    at_once = data.fit.multifit(model(given))
    with dask.config.set(scheduler="synchronous"):
        by_chunk = data.chunk(y=1, x=1).fit.multifit(model(given)).compute()
    xr.testing.assert_equal(at_once["value"], by_chunk["value"])
    xr.testing.assert_equal(at_once["stderr"], by_chunk["stderr"])


def test_pixels_whose_response_is_not_finite_are_not_fitted() -> None:
    kernels = np.array([[low_loss()] * 4] * 3)
    kernels[1, 2, 7] = np.nan
    data = spectra(np.array([[truth(ENERGY, low_loss())] * 4] * 3))
    fit = data.fit.multifit(model(response(kernels)))
    words = fit["status"].attrs["flag_meanings"].split()
    assert [words[code] for code in fit["status"].values.ravel()].count("converged") == 11
    assert words[int(fit["status"][1, 2])] == "bad_response"
    assert np.isnan(fit["value"][1, 2]).all()
    assert np.isnan(fit.fit.evaluate(response=response(kernels))[1, 2]).all()


def test_masks_variances_bins_ties_and_inactive_components() -> None:
    random = np.random.default_rng(2)
    clean = truth(ENERGY, low_loss()) * STEP
    clean[40:50] = np.nan
    data = spectra(np.stack([clean] * 3)[None])
    data["energy"].attrs["is_binned"] = True
    where = xr.DataArray(random.random(ENERGY.size) > 0.1, dims="energy")
    described = model(response())
    described["l"].A.tie("0.5 * g.A")
    active = {"l": xr.DataArray([[True, True, False]], dims=("y", "x"))}
    data[0, 2] = (convolved(lambda x: gaussian(x, 300, 131, 2.0), low_loss()) + 1e6 * ENERGY**-2.5) * STEP
    fit = data.fit.multifit(described, where=where, variance=abs(data) + 0.01, active=active)
    np.testing.assert_allclose(fit.fit["l.A"][0, :2], 200, rtol=1e-8)
    np.testing.assert_allclose(fit.fit["g.A"], [[400, 400, 300]], rtol=1e-8)
    np.testing.assert_allclose(fit.fit["g.centre"], [[130, 130, 131]], rtol=1e-8)
    assert np.isnan(fit.fit["l.A"][0, 2])


def test_more_rows_than_are_convolved_at_a_time() -> None:
    """Sixteen rows go through a transform at once; eight Gaussians have 24 and a value."""
    centres = np.linspace(105, 170, 8)

    def peaks(x: np.ndarray) -> np.ndarray:
        curves = (gaussian(x, 100 + 10 * k, c, 1.5 + 0.1 * k) for k, c in enumerate(centres))
        return sum(curves, np.zeros(x.shape))

    data = spectra(convolved(peaks, low_loss()))
    described = xfit.Model([Gaussian(name=f"g{k}", A=90, centre=c + 0.3, sigma=1.7) for k, c in enumerate(centres)])
    described.response = response()
    fit = data.fit(described)
    for k, c in enumerate(centres):
        np.testing.assert_allclose(fit.fit[f"g{k}.centre"], c, rtol=1e-9)
        np.testing.assert_allclose(fit.fit[f"g{k}.sigma"], 1.5 + 0.1 * k, rtol=1e-7)


def test_formulas_and_functions_are_convolved_too() -> None:
    data = spectra(convolved(lambda x: bell.function(x, 30, 130, 3) + 2 + 0.01 * x, low_loss()))
    described = xfit.Model([bell(name="f"), Expression("a + b*x", name="e")], response=response())
    fit = data.fit(described)
    np.testing.assert_allclose([fit.fit[f"f.{n}"] for n in ("height", "centre", "width")], [30, 130, 3], rtol=1e-7)
    np.testing.assert_allclose([fit.fit["e.a"], fit.fit["e.b"]], [2, 0.01], rtol=1e-5)


@pytest.mark.parametrize("turn", [(slice(None), slice(None, None, -1)), (slice(None, None, -1), slice(None))])
def test_the_order_of_coordinates_does_not_matter(turn: tuple[slice, slice]) -> None:
    data = spectra(truth(ENERGY, low_loss())).isel(energy=turn[0])
    fit = data.fit(model(response().isel(energy=turn[1])))
    np.testing.assert_allclose(fit.fit["g.sigma"], 2.5, rtol=1e-8)
    np.testing.assert_allclose(fit.fit.evaluate(), data, rtol=1e-9)


def test_a_response_of_one_point_shifts_and_scales() -> None:
    data = spectra(3 * gaussian(ENERGY - 2.1, 100, 130, 2))
    fit = data.fit(
        xfit.Model([Gaussian(name="g", centre=129, sigma=2.2)], response=response(np.array([3.0]), np.array([2.1])))
    )
    np.testing.assert_allclose(fit.fit["g.centre"], 130, rtol=1e-10)
    np.testing.assert_allclose(fit.fit["g.A"], 100, rtol=1e-8)


def test_a_fixed_response_is_stored_with_model_and_result(tmp_path) -> None:
    described = model(response())
    described["l"].convolved = False
    again = xfit.Model.from_json(described.to_json())
    assert again == described
    assert again["l"].convolved is False
    fit = spectra(truth(ENERGY, low_loss())).fit(described)
    fit.to_zarr(tmp_path / "fit.zarr", consolidated=False)
    opened = xr.open_zarr(tmp_path / "fit.zarr", consolidated=False)
    xr.testing.assert_identical(opened.fit.model.response, described.response)
    np.testing.assert_allclose(opened.fit.evaluate(), fit.fit.evaluate(), rtol=1e-14)
    with pytest.raises(ValueError, match="stored with it"):
        fit.fit.evaluate(response=response())
    plain = spectra(truth(ENERGY, low_loss())).fit(model(None))
    with pytest.raises(ValueError, match="without a response"):
        plain.fit.evaluate(response=response())


def test_one_that_varies_is_not_stored_and_that_is_said() -> None:
    varying = response(np.array([[low_loss()] * 2]))
    again = xfit.Model.from_json(model(varying).to_json())
    with pytest.raises(ValueError, match=r"varies over the map.*set model\.response again"):
        spectra(truth(ENERGY, low_loss())).fit(again)
    assert xfit.Model.from_json(again.to_json()).response is not None


def test_models_with_a_response_copy_compare_and_add_up() -> None:
    described = model(response())
    assert described.copy() == described
    assert described.copy().response is described.response
    assert described != model(None)
    assert (described + Offset()).response is described.response
    other = xfit.Model([Gaussian()], response=response(low_loss(2.0)))
    with pytest.raises(ValueError, match="different responses"):
        described + other


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (low_loss(), TypeError, "response must be an xarray.DataArray"),
        (response() > 0, TypeError, "response has dtype bool"),
        (xr.DataArray(1.0), ValueError, r"response has shape \(\)"),
    ],
)
def test_what_can_be_no_response_is_refused_at_once(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        xfit.Model([Gaussian()], response=given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (response().rename(energy="loss"), r"dimensions \['loss'\], but not the signal dimension 'energy'"),
        (response().drop_vars("energy"), "no coordinate 'energy'"),
        (response(shift=SHIFT * 2), r"steps of 0\.5, the data of 0\.25; they must be the same"),
        (response(shift=SHIFT + 0.001 * SHIFT**2), "they must be the same"),
        (response(np.where(SHIFT > 3, np.nan, low_loss())), "the response is not finite everywhere"),
        (response(np.array([[low_loss()] * 3] * 2)), "response has size 2 along 'y', the data have 1"),
        (response().expand_dims(z=2), r"response has dimension\(s\) \['z'\]"),
    ],
)
def test_what_does_not_go_with_the_data_is_refused(given: xr.DataArray, message: str) -> None:
    data = spectra(np.ones((1, 3, ENERGY.size)))
    with pytest.raises(ValueError, match=message):
        data.fit.multifit(model(given))


def test_other_models_and_data_that_cannot_be_convolved() -> None:
    uneven = spectra(np.ones(ENERGY.size), ENERGY + 1e-4 * (ENERGY - 100) ** 2)
    with pytest.raises(ValueError, match=r"the data's coordinate 'energy' has uneven steps"):
        uneven.fit(model(response()))
    data = spectra(np.ones(ENERGY.size))
    with pytest.raises(ValueError, match="no component is convolved with it"):
        data.fit(xfit.Model([Offset()], response=response()))
    with pytest.raises(ValueError, match="two dimensions can't be convolved"):
        xr.DataArray(np.ones((9, 9)), dims=("y", "x")).fit(xfit.Model([Gaussian2D()], response=response()))
    timed = data.assign_coords(time=("energy", np.arange(ENERGY.size)))
    with pytest.raises(ValueError, match="only x is known"):
        timed.fit(xfit.Model([Expression("a*time", coordinates=("time",))], response=response()))
    with pytest.raises(TypeError, match="convolved=1 must be True or False"):
        Gaussian().convolved = 1  # type: ignore[assignment]


def test_components_of_which_only_the_amplitude_is_free_are_kept_between_evaluations() -> None:
    """What is kept must not outlive a change: of another pixel's parameters, of its response, or of what is free."""
    widths = np.linspace(0.6, 1.6, 6)
    kernels = np.array([low_loss(w) for w in widths])
    centres, amounts = np.linspace(128, 133, 6), np.linspace(100, 600, 6)
    values = [
        convolved(lambda x, c=c, a=a: gaussian(x, a, c, 2.5), k) + lorentzian(ENERGY, 50 + a, 150, 1.5)
        for c, a, k in zip(centres, amounts, kernels, strict=True)
    ]
    data = xr.DataArray(np.array(values), dims=("x", "energy"), coords={"energy": ENERGY})
    varying = xr.DataArray(kernels, dims=("x", "energy"), coords={"energy": SHIFT})
    start = {"g.centre": xr.DataArray(centres, dims="x")}
    for given in (varying, varying.isel(x=0)):
        described = xfit.Model([Gaussian(name="g", A=1, sigma=2.5), Lorentzian(name="l", A=1, centre=150, gamma=1.5)])
        described.response = given
        described["l"].convolved = False
        described["g"].set_parameters_not_free(["centre", "sigma"])
        described["l"].set_parameters_not_free(["centre"])
        fit = data.fit.multifit(described, start=start)
        if given.ndim == 2:
            np.testing.assert_allclose(fit.fit["g.A"], amounts, rtol=1e-9)
            np.testing.assert_allclose(fit.fit["l.A"], 50 + amounts, rtol=1e-9)
        one_by_one = [
            data.isel(x=[k]).fit.multifit(
                _with(described, given if given.ndim == 1 else given.isel(x=[k])), start={"g.centre": c}
            )
            for k, c in enumerate(centres)
        ]
        np.testing.assert_array_equal(fit["value"], xr.concat(one_by_one, "x")["value"])
        np.testing.assert_array_equal(fit["stderr"], xr.concat(one_by_one, "x")["stderr"])
    # A tied amplitude, and one that is fixed.
    described.response = varying
    described["l"].A.tie("50 + g.A")
    np.testing.assert_allclose(data.fit.multifit(described, start=start).fit["g.A"], amounts, rtol=1e-9)
    described["l"].A.untie()
    described["g"].A.free = False
    start["g.A"] = xr.DataArray(amounts, dims="x")
    np.testing.assert_allclose(data.fit.multifit(described, start=start).fit["l.A"], 50 + amounts, rtol=1e-9)


def _with(described: xfit.Model, kernel: xr.DataArray) -> xfit.Model:
    other = described.copy()
    other.response = kernel
    return other


# --- components without a beginning

T = np.round(np.arange(0, 25, 0.05), 10)


def over_time(values: np.ndarray, t: np.ndarray = T) -> xr.DataArray:
    return xr.DataArray(values, dims="t", coords={"t": t})


def pulse(t: np.ndarray = T) -> np.ndarray:
    """Instrument response of a counter, with a later reflection."""
    irf = np.exp(-((t - 3.0) ** 2) / (2 * 0.15**2)) + 0.05 * np.exp(-((t - 4.0) ** 2) / 0.5)
    return irf / irf.sum()


@pytest.mark.parametrize("t0", [0.0, 1.0])
def test_a_decay_through_a_measured_response(t0: float) -> None:
    """By NumPy's convolution of the sampled decay, which begins at a channel."""
    decay = np.where(t0 <= T, 1000 * np.exp(-(T - t0) / 2.5), 0.0)
    data = over_time(np.convolve(pulse(), decay)[: T.size] + 2)
    model = xfit.Model(
        [Decay(name="d", A=800, tau=2.0, t0=t0), Offset(name="bg", offset=1)], response=over_time(pulse())
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = data.fit(model)
    np.testing.assert_allclose([fit.fit["d.A"], fit.fit["d.tau"], fit.fit["bg.offset"]], [1000, 2.5, 2], rtol=1e-8)


def test_a_tracer_through_its_input() -> None:
    """K exp(-k t) of an arterial input, which is no peak and sums to no one."""
    s = np.arange(0, 300, 2.0)
    rise = np.clip(s - 20, 0, None)
    aif = (rise / 8) ** 2 * np.exp(-rise / 8) + 0.15 * (1 - np.exp(-rise / 5)) * np.exp(-rise / 400)
    data = over_time(0.01 * 2 * np.convolve(aif, np.exp(-0.02 * s))[: s.size], s)
    fit = data.fit(xfit.Model([Decay(name="d", A=0.005, tau=100.0)], response=over_time(2 * aif, s)))
    np.testing.assert_allclose([fit.fit["d.A"], 1 / fit.fit["d.tau"]], [0.01, 0.02], rtol=1e-8)


GROWING = {
    "exponential": Exponential(name="d", A=800, tau=2),
    "of no amplitude yet": Exponential(name="d", A=0, tau=2),
    "two of them": Expression("a*exp(-x/s) + b*exp(-x/t)", name="d", a=1.0, b=2.0, s=1.0, t=4.0),
    "stretched": Expression("a*exp(-((x + 30)/s)**0.7)", name="d", a=1.0, s=2.0),
    "power law": Expression("a*(x + 30)**(-3)", name="d", a=1.0),
    "to the right": Exponential(name="d", A=1, tau=-2),
    "polynomial": Polynomial(order=1, name="d", a0=1, a1=-0.03),
}
TAME = {
    "decay": Decay(name="d", tau=2),
    "peak": Gaussian(name="d", A=3, centre=8),
    "peak before the data": Gaussian(name="d", A=3, centre=-4, sigma=0.5),
    "constant": Expression("a + 0*x", name="d", a=2.0),
    "step": Expression("a*erfc(x - 5)", name="d", a=2.0),
    "slow": Exponential(name="d", A=5, tau=2000),
    "said to begin": Expression("where(x < 0, 0, a*exp(-x/s))", name="d", a=1.0, s=2.0),
}


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", GROWING)
def test_components_that_grow_beyond_the_data_are_warned_of(name: str, lazy: bool) -> None:
    both = 0.5 * (pulse() + pulse()[::-1])
    response = over_time(both if name == "to the right" else pulse(), T - 12.5 if name == "to the right" else T)
    model = xfit.Model([GROWING[name].copy()], response=response.chunk(t=-1) if lazy else response)
    with pytest.warns(
        UserWarning, match=r"component 'd' is convolved with the response and has no beginning.*Decay\(A, tau, t0\)"
    ):
        over_time(np.ones(T.size)).fit(model, max_nfev=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model["d"].convolved = False
        model.append(Gaussian(name="g", centre=5))
        over_time(np.ones(T.size)).fit(model, max_nfev=1)


@pytest.mark.parametrize("name", TAME)
def test_components_that_end_or_hardly_change_are_not(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        over_time(np.ones(T.size)).fit(xfit.Model([TAME[name].copy()], response=over_time(pulse())), max_nfev=1)


def test_a_response_that_does_not_reach_what_grows() -> None:
    """A narrow resolution on an axis as long as the data, nearly all of it zeros."""
    narrow = np.where(np.abs(T - 12.5) < 0.2, 1.0, 0.0)
    response = over_time(narrow / narrow.sum(), T - 12.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        over_time(np.ones(T.size)).fit(xfit.Model([Exponential(name="d", A=5, tau=100)], response=response), max_nfev=1)
