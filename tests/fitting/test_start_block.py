"""Start values from the data of models of several components, and amplitudes of shapes that
bounds or the user have moved.
"""

from __future__ import annotations

from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr

from tests.support.builders import assert_same_bits, from_source, gaussian
from tests.support.library import CASES
from xfit import Component, Model
from xfit.components import (
    Exponential,
    Expression,
    Gaussian,
    Gaussian2D,
    Lorentzian,
    Offset,
    Plane,
    Polynomial,
    PowerLaw,
    Voigt,
)
from xfit.engine.block.fit_block import evaluate_block
from xfit.engine.block.tied_values import set_tied
from xfit.engine.codegen.program import Program
from xfit.engine.codegen.tie_compiler import compile_ties
from xfit.formulas import parser
from xfit.formulas.syntax import FUNCTIONS
from xfit.modeling.estimators.windows import Place, Template, windows_of

X = np.linspace(200.0, 1200.0, 500)


def spectra(values: np.ndarray, x: np.ndarray = X) -> xr.DataArray:
    return xr.DataArray(values, dims=("p", "x")[-values.ndim :], coords={"x": x})


def curve(component: Component, **coordinates: np.ndarray) -> np.ndarray:
    values = np.array([[p.value for p in component]])
    return evaluate_block(Program.from_model(Model([component.copy()])), values, coordinates)[0]


# --- amplitudes of shapes that are not those that were found ------------------------------------


@pytest.mark.parametrize("top", [30.0, 10.0, 5.0])
def test_a_decay_keeps_the_area_of_the_data(top: float) -> None:
    """With its length at a bound, below zero or above: the area is that of the data, to rounding."""
    x = np.linspace(100, 200, 200)
    decay = Exponential()
    decay.tau.set(value=1, max=top)
    da = spectra(50 * np.exp(-(x - 100) / 20), x)
    decay.estimate(da)
    assert decay.tau.value <= top
    area = float(curve(decay, x=x).sum() / da.sum())
    # Of the exact decay the estimate is one of two areas, to 0.1 %; else its area is fitted.
    assert area == pytest.approx(1.0, rel=1e-12 if top < 20 else 2e-3)


def test_power_laws_of_a_short_window() -> None:
    """The exponent can't be told from so little; where it ends at a bound, the area is
    that of the counts all the same.
    """
    energy = np.arange(510, 525, 0.5)
    counts = np.random.default_rng(0).poisson(3e9 * energy**-2.7, (200, energy.size))
    da = xr.DataArray(counts, dims=("p", "E"), coords={"E": energy})
    found = PowerLaw(name="b").estimate(da)
    at_bounds = (found["b.r"] < 1.01) | (found["b.r"] > 4.99)
    assert 50 < int(at_bounds.sum()) < 150
    # An integral over x takes the ends of the channels, the sum over channels does not: 1e-4 over 3 % of x.
    np.testing.assert_allclose((found["b.A"] * da.E ** -found["b.r"]).sum("E") / da.sum("E"), 1.0, rtol=1e-4)


@pytest.mark.parametrize("kind", [Gaussian, Lorentzian, Voigt])
def test_a_peak_with_a_fixed_width_or_centre_has_the_amplitude_of_least_squares(kind: Any) -> None:
    """Against the closed form, on data that end at zero, and above a line."""
    data = gaussian(X, 5e4, 700.0, 30.0)
    for line, rtol in ((0.0, 1e-6), (3.0 * X + 40, 0.02)):
        for key, value in (("centre", 720.0), ("gamma" if kind is Lorentzian else "sigma", 12.0)):
            peak = kind(name="p")
            peak[key].set(value=value, free=False)
            peak.estimate(spectra(data + line))
            (amplitude,) = (p for p in peak.parameters if p.linear)
            shape = curve(peak, x=X) / amplitude.value
            exact = (shape * data).sum() / (shape * shape).sum()
            # Tails of the shape that was found, and its centre, move the line under it by as much.
            assert amplitude.value == pytest.approx(exact, rel=max(rtol, 0.06 if kind is not Gaussian else 0.02)), key


@pytest.mark.parametrize(
    "name", [n for n, case in CASES.items() if case.make.estimator is not None and n != "Vignetting with edges"]
)
def test_every_component_explains_what_it_can_with_its_shape_fixed(name: str) -> None:
    """With all but the amplitudes fixed at the truth, the estimate leaves next to nothing of the component's own data.

    Lines under peaks are taken from what the estimated shape leaves at the ends of the range, or in images in the
    middle: of a Lorentzian there 11 % is left of its curve, of all others 6 % or less.
    """
    component = CASES[name].component()
    linear = [p for p in component.parameters if p.linear]
    if not linear:
        pytest.skip("no amplitude")
    first, last = CASES[name].x
    axis = np.linspace(first, last, 61)
    if len(component.coordinates) == 2:
        y, x = (values.ravel() for values in np.meshgrid(axis, axis, indexing="ij"))
        data = curve(component, x=x, y=y).reshape(61, 61)
        da = xr.DataArray(data, dims=("y", "x"), coords={"y": axis, "x": axis})
    else:
        data = curve(component, x=axis)
        da = spectra(data, axis)
    truth = {p.name: p.value for p in linear}
    for parameter in component.parameters:
        parameter.free = parameter.linear
        if parameter.linear:
            parameter.value = 0.3 * truth[parameter.name] or 0.1
    component.estimate(da)
    found = curve(component, x=x, y=y).reshape(61, 61) if data.ndim == 2 else curve(component, x=axis)
    assert np.sqrt(((found - data) ** 2).sum() / (data**2).sum()) < (0.12 if name == "Lorentzian2D" else 0.06)


def test_an_image_with_a_fixed_width() -> None:
    """The volume by least squares, with channels missing; the estimate of a free width would be another."""
    y, x = np.meshgrid(np.arange(40.0), np.arange(50.0), indexing="ij")
    image = 100 * np.exp(-((x - 22) ** 2 + (y - 17) ** 2) / 2 / 3.0**2)
    da = xr.DataArray(image, dims=("y", "x"), coords={"y": y[:, 0], "x": x[0]})
    da[3:5, 7:30] = np.nan
    spot = Gaussian2D(name="s")
    spot.sigma_x.set(value=2.0, free=False)
    spot.sigma_y.set(value=1.0, max=1.5)
    spot.estimate(da)
    shape = curve(spot, x=x.ravel(), y=y.ravel()).reshape(y.shape) / spot.A.value
    known = np.isfinite(da.values)
    assert spot.A.value == pytest.approx((shape * image)[known].sum() / (shape**2)[known].sum(), rel=1e-6)


def test_amplitudes_follow_bounds_and_values_that_are_maps() -> None:
    """A fixed centre and a bound of the width given as maps: the start of the amplitude is
    that of the shape in the pixel.
    """
    centre = np.array([600.0, 700.0, 800.0])
    data = gaussian(X, 5e4, centre[:, None], 30.0) + 10
    da = spectra(data)
    peak = Gaussian(name="p", sigma=1.0, A=1.0)
    peak.centre.free = False
    top = xr.DataArray([5.0, 10.0, 50.0], dims="p")
    start = {"p": "estimate", "p.centre": xr.DataArray(centre, dims="p")}
    fit = da.fit.multifit(Model([peak, Offset(name="o")]), start=start, bounds={"p.sigma": (None, top)})
    np.testing.assert_allclose(fit.fit["p.sigma"], [5, 10, 30], rtol=1e-6)
    assert (fit["status"] == 1).all()


def test_ties_within_a_component_are_followed_and_others_kept() -> None:
    line = Voigt(name="v", gamma=1.0, sigma=1.0)
    line.sigma.tie("0.5*v.gamma")
    line.estimate(spectra(gaussian(X, 5e4, 700.0, 30.0)))
    shape = curve(line, x=X)
    assert line.sigma.value == 0.5 * line.gamma.value
    assert shape.max() == pytest.approx(gaussian(X, 5e4, 700.0, 30.0).max(), rel=0.3)
    model = Model([Gaussian(name="a", sigma=8.0), Gaussian(name="b")])
    model["b"].sigma.tie("a.sigma")
    model["b"].estimate(spectra(gaussian(X, 5e4, 700.0, 30.0)))
    assert model["b"].sigma.value == 8.0
    shape = gaussian(X, 1.0, model["b"].centre.value, 8.0)
    exact = (shape * gaussian(X, 5e4, 700.0, 30.0)).sum() / (shape**2).sum()
    assert model["b"].A.value == pytest.approx(exact, rel=1e-6)


# --- several components ------------------------------------------------------------------------


SHAPES: dict[str, Any] = {
    "Gaussian": lambda u, w: np.exp(-(u**2) / (2 * w**2)),
    "Lorentzian": lambda u, w: w**2 / (u**2 + w**2),
}


class Scene:
    """Poisson counts of peaks that drift together by more than their widths, on a sloping background."""

    def __init__(
        self,
        kind: str,
        at: list[float],
        height: list[float],
        width: list[float],
        drift: float,
        n: int = 200,
        sign: int = 1,
    ) -> None:
        random = np.random.default_rng(len(at) + int(drift))
        self.kind, self.at, self.height, self.width, self.sign = kind, np.array(at), height, width, sign
        self.places = self.at + random.normal(0, drift, (n, 1))
        level = (50 if sign > 0 else 2 * max(height)) + 0.02 * X
        peaks = sum(
            h * SHAPES[kind](X - self.places[:, [k]], w) for k, (h, w) in enumerate(zip(height, width, strict=True))
        )
        self.da = spectra(random.poisson(level + sign * peaks).astype(float))

    def model(self, reach: float | None = 40.0, wrong: float = 1.0) -> Model:
        """Peaks at their mean places, three times as high as they are, and perhaps too wide or too narrow."""
        kind, key = (Gaussian, "sigma") if self.kind == "Gaussian" else (Lorentzian, "gamma")
        peaks = []
        for k, at in enumerate(self.at):
            peak = kind(name=f"p{k}", centre=at, **{key: self.width[k] * wrong})
            area = 3 * self.sign * 3 * self.height[k] * self.width[k]
            peak.A.set(value=area, min=0 if self.sign > 0 else None, max=None if self.sign > 0 else 0)
            peak[key].set(min=0)
            if reach is not None:
                peak.centre.set(min=at - reach, max=at + reach)
            peaks.append(peak)
        return Model([*peaks, Polynomial(order=1, name="bg", a0=40 if self.sign > 0 else 2 * max(self.height))])

    def lost(self, fit: xr.Dataset, best: xr.Dataset) -> int:
        """Pixels that did not converge, or to a minimum less likely by exp(-5) than
        where the fit from the truth ends.
        """
        return int(((fit["status"] != 1) | (fit["chisq"] > best["chisq"] + 10 * best["red_chisq"])).sum())

    def best(self) -> xr.Dataset:
        """Fits that begin at the true places."""
        start = {f"p{k}.centre": xr.DataArray(self.places[:, k], dims="p") for k in range(self.at.size)}
        return self.da.fit.multifit(self.model(), dim="x", start=start)


RAMAN = Scene("Lorentzian", [300, 420, 520, 780, 1050], [40, 15, 200, 25, 60], [6, 8, 4, 9, 12], 6.0)


def test_five_peaks_that_drift_begin_each_near_its_own_start() -> None:
    """Bounds alone lose one; estimates lose three at most, in shallower minima of the weak second peak."""
    best = RAMAN.best()
    alone = RAMAN.lost(RAMAN.da.fit.multifit(RAMAN.model(), dim="x"), best)
    estimated = RAMAN.lost(RAMAN.da.fit.multifit(RAMAN.model(), dim="x", start="estimate"), best)
    assert alone <= 3
    assert estimated <= 3


@pytest.mark.parametrize(
    ("scene", "options"),
    [
        (Scene("Gaussian", [400, 800], [30, 900], [9, 5], 12.0), {}),
        (Scene("Gaussian", [350, 500, 700, 1000], [100, 40, 900, 60], [6, 12, 8, 10], 8.0), {"wrong": 0.3}),
        (Scene("Lorentzian", [350, 500, 700, 1000], [100, 90, 900, 60], [6, 8, 5, 9], 8.0), {"wrong": 3.0}),
        (Scene("Gaussian", [300, 400, 550, 700, 850, 1050], [60, 900, 40, 200, 30, 90], [7] * 6, 10.0), {}),
        (Scene("Gaussian", [300, 600, 1000], [200, 50, 400], [8, 10, 6], 40.0), {"reach": None}),
        (Scene("Lorentzian", [400, 435, 800], [300, 120, 60], [8, 10, 9], 5.0), {}),
        (Scene("Gaussian", [300, 500, 900], [300, 900, 200], [8, 6, 10], 12.0, sign=-1), {}),
    ],
    ids=["two", "narrow starts", "wide starts", "six", "no bounds", "overlap", "downwards"],
)
def test_other_numbers_of_peaks(scene: Scene, options: dict[str, Any]) -> None:
    """Heights differ by up to 30, widths of starts by up to three; at most 1 % are lost, and
    no more than without estimates.
    """
    best = scene.best()
    estimated = scene.lost(scene.da.fit.multifit(scene.model(**options), dim="x", start="estimate"), best)
    alone = scene.lost(scene.da.fit.multifit(scene.model(**options), dim="x"), best)
    assert estimated <= min(0.01 * scene.da.sizes["p"], alone)


def test_spots_of_an_image() -> None:
    """Four spots that drift by their width, on a plane."""
    random = np.random.default_rng(2)
    y, x = np.meshgrid(np.arange(40.0), np.arange(42.0), indexing="ij")
    at = np.array([[8.0, 9.0], [31.0, 10.0], [9.0, 30.0], [30.0, 29.0]])
    drift = random.normal(0, 2.0, (40, 1, 2))
    place = at + drift
    images = (
        5
        + 0.1 * x
        + sum(
            h * np.exp(-((x - place[:, k, 0, None, None]) ** 2 + (y - place[:, k, 1, None, None]) ** 2) / 8)
            for k, h in enumerate((300, 40, 90, 600))
        )
    )
    da = xr.DataArray(random.poisson(images).astype(float), dims=("p", "y", "x"), coords={"y": y[:, 0], "x": x[0]})
    spots = [
        Gaussian2D(name=f"s{k}", A=1e4, centre_x=cx, centre_y=cy, sigma_x=2.5, sigma_y=2.5)
        for k, (cx, cy) in enumerate(at)
    ]
    fit = da.fit.multifit(Model([*spots, Plane(name="bg", intercept=5)]), start="estimate")
    assert (fit["status"] == 1).all()
    for k in range(4):
        found = np.stack([fit.fit[f"s{k}.centre_{axis}"].values for axis in "xy"], axis=1)
        # The weakest has some 1,000 counts: its place is known to 2/sqrt(1000), with the background 0.15.
        assert np.abs(found - place[:, k]).max() < 0.8


def test_starts_do_not_depend_on_what_shares_the_block() -> None:
    """Same bits, lazy or not, by pixels, with masks, variances and components that are absent in places."""
    da = RAMAN.da[:24].copy()
    da[3, 100:130] = np.nan
    variance = xr.DataArray(np.random.default_rng(0).uniform(50, 200, da.shape), dims=da.dims, coords=da.coords)
    options = {
        "dim": "x",
        "start": "estimate",
        "variance": variance,
        "where": (X < 600) | (X > 640),
        "active": {"p3": xr.DataArray(np.arange(24) % 3 > 0, dims="p")},
    }
    options["where"] = xr.DataArray(options["where"], dims="x", coords={"x": X})
    expected = da.fit.multifit(RAMAN.model(), **options)
    for size in (1, 7):
        lazy, source = from_source(da, {"p": size})
        fit = lazy.fit.multifit(RAMAN.model(), **options)
        with dask.config.set(scheduler="synchronous"):
            assert_same_bits(fit.compute(), expected)
        assert len(source.reads) == -(-24 // size)
    assert (expected["status"] == 1).mean() > 0.9


def test_tied_fixed_and_other_components_count() -> None:
    """The second line of a doublet follows the first; a fixed peak is taken off; one that
    can't be estimated stays out.
    """
    random = np.random.default_rng(5)
    places = random.uniform(460, 500, (50, 1))
    data = 400 * np.exp(-((X - places) ** 2) / 128) + 200 * np.exp(-((X - places - 60) ** 2) / 128)
    data = random.poisson(data + 900 * np.exp(-((X - 700) ** 2) / 200) + 50 + 0.02 * X)
    first = Gaussian(name="a", A=1.0, centre=480, sigma=5.0)
    model = Model(
        [first, Gaussian(name="b"), Gaussian(name="c", A=900 * 10 * np.sqrt(2 * np.pi), centre=700, sigma=10)]
    )
    model["b"].centre.tie("a.centre + 60")
    model["b"].sigma.tie("a.sigma")
    model["b"].A.tie("0.5*a.A")
    for parameter in model["c"].parameters:
        parameter.free = False
    model = model + Expression("u + v*x", name="line", u=50.0, v=0.0)
    fit = spectra(data.astype(float)).fit.multifit(model, dim="x", start="estimate")
    assert (fit["status"] == 1).all()
    np.testing.assert_allclose(fit.fit["a.centre"], places[:, 0], atol=3.0)


def test_a_start_that_is_better_than_the_estimate_is_kept() -> None:
    """Two lines that the data do not show apart: fits begin where the model says, which is the truth."""
    random = np.random.default_rng(6)
    clean = 3e3 * np.exp(-((X - 600) ** 2) / 200) + 1e3 * np.exp(-((X - 612) ** 2) / 1800) + 10
    da = spectra(random.poisson(clean, (30, X.size)).astype(float))
    root = np.sqrt(2 * np.pi)
    narrow = Gaussian(name="n", A=3e4 * root, centre=600, sigma=10)
    wide = Gaussian(name="w", A=3e4 * root, centre=612, sigma=30)
    model = Model([narrow, wide, Offset(name="o", offset=10)])
    plain, estimated = (da.fit.multifit(model.copy(), dim="x", start=s) for s in (None, "estimate"))
    np.testing.assert_allclose(estimated["chisq"], plain["chisq"], rtol=1e-8)


@pytest.mark.parametrize("background", [Offset(name="o"), Expression("u + v*x", name="o", u=0.0, v=0.0)])
def test_a_background_that_is_not_estimated_does_not_hide_a_peak(background: Component) -> None:
    """A peak that wanders, on a background whose start is far off: only the peak is estimated."""
    random = np.random.default_rng(8)
    places = random.uniform(300, 1100, (40, 1))
    da = spectra(random.poisson(500 * np.exp(-((X - places) ** 2) / 128) + 2000).astype(float))
    model = Model([Gaussian(name="g", A=100.0, centre=700, sigma=5.0), background.copy()])
    fit = da.fit.multifit(model, dim="x", start={"g": "estimate"})
    np.testing.assert_allclose(fit.fit["g.centre"], places[:, 0], atol=3)


def test_starts_at_one_place_outside_of_the_data() -> None:
    """Defaults say nothing of where peaks are: each takes what the others leave of all the data."""
    random = np.random.default_rng(7)
    clean = 500 * np.exp(-((X - 400) ** 2) / 128) + 200 * np.exp(-((X - 900) ** 2) / 200) + 20
    da = spectra(random.poisson(clean, (20, X.size)).astype(float))
    model = Model([Gaussian(name="a", sigma=5.0), Gaussian(name="b", sigma=5.0), Offset(name="o")])
    fit = da.fit.multifit(model, dim="x", start="estimate")
    found = np.sort(np.stack([fit.fit["a.centre"].values, fit.fit["b.centre"].values]), axis=0)
    np.testing.assert_allclose(found, [[400] * 20, [900] * 20], atol=3)


# --- parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *(f"{name}(a)" for name, count in FUNCTIONS.items() if count == 1 and name != "trigamma"),
        *(f"{name}(a, b)" for name, count in FUNCTIONS.items() if count == 2),
        "where(a < b, a - b, 3*b)",
        "where(a >= b, a - b, where(b > 2, b**a, -b))",
        "where(a == b, 1, where(a != b, 2, 3)) + where(a <= b, a, b)",
    ],
)
def test_ties_of_many_pixels_at_once(text: str) -> None:
    """Against the formula itself in 20 digits; second derivatives of w(z) lose digits. Ties to trigamma are refused."""
    ties = compile_ties({"t": text}, ("a", "b", "t"))
    values = np.array([[0.3, 0.7, np.nan], [0.8, 0.2, np.nan], [0.5, 0.5, np.nan]])
    set_tied(ties, values)
    for a, b, found in values:
        exact = parser.parse(text).subs({parser.symbol("a"): a, parser.symbol("b"): b}).evalf(20)
        assert found == pytest.approx(float(exact), rel=1e-12)


def place(start: list[float], lower: list[float] | None = None, upper: list[float] | None = None) -> Place:
    n = len(start)
    return Place(np.array(start), np.array(lower or [-np.inf] * n), np.array(upper or [np.inf] * n))


def extent(window: np.ndarray, axis: np.ndarray) -> tuple[float, float]:
    return float(axis[window].min()), float(axis[window].max())


def test_windows_end_half_way_or_where_bounds_tell() -> None:
    x = np.arange(101.0)
    shape = np.exp(-((x - 40) ** 2) / 8)

    def found(own: Place, *others: Place) -> list[tuple[float, float]]:
        return [extent(window, x) for window in windows_of([x], own, list(others), shape, 3)]

    assert found(place([40])) == [(0, 100)] * 2
    assert found(place([40]), place([20]), place([70])) == [(30, 55)] * 2
    # Half way is moved to where both may be, and lies between bounds that exclude each other.
    assert found(place([40]), place([44], [60], [90]))[0] == (0, 60)
    assert found(place([40], [20], [50]), place([44], [60], [90]))[0] == (0, 55)
    # Bounds leave one and a half widths, here of 5 channels and one, on either side.
    assert found(place([40], [38], [45]))[1] == (38 - 7, 45 + 7)
    # Neighbours outside of the data, or at the same place, leave everything.
    assert found(place([400]), place([200])) == [(0, 100)] * 2
    assert found(place([40]), place([40])) == [(0, 100)] * 2


def test_windows_of_images_end_along_the_axis_that_tells_spots_apart() -> None:
    y, x = (values.ravel() for values in np.meshgrid(np.arange(50.0), np.arange(100.0), indexing="ij"))
    window, _ = windows_of([x, y], place([20, 10]), [place([80, 12]), place([25, 40])], np.zeros(x.size), 9)
    assert (extent(window, x), extent(window, y)) == ((0, 50), (0, 25))


def test_a_template_finds_a_weak_shape_over_a_constant() -> None:
    """Its multiple and place, with channels missing; nothing is found in what points down."""
    x = np.arange(100.0)
    places = np.arange(10.0, 90.0, 2.0)[:, None]
    template = Template.of(places, np.exp(-((x - places) ** 2) / 18))
    assert template is not None
    y = np.stack([7 + 3 * np.exp(-((x - 34) ** 2) / 18), 7 - np.exp(-((x - 34) ** 2) / 18) * (np.abs(x - 34) < 40)])
    y[0, 80:90] = np.nan
    gain, factor, at = template.best(y)
    assert template.places[at[0], 0] == 34
    # The mean over fewer channels is another.
    assert factor[0] == pytest.approx(3, rel=0.02)
    assert gain[0] > 0
    # Beside a dip the data are above their mean, by a fifteenth of it.
    assert factor[1] < 0.15
