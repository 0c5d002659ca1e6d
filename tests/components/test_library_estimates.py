"""Every estimator of the library: fits that start from it end where those do that start from the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.library import PATTERN
from xfit import components
from xfit.components import TYPES
from xfit.modeling import estimators

N = 200


@dataclass(frozen=True)
class Draw:
    """What spectra are drawn from.

    Attributes
    ----------
    ranges : mapping
        Of the parameters, drawn evenly.
    x : tuple
        First and last coordinate, and number of channels.
    options : mapping
        Arguments of the component.
    noise : float
        Standard deviation of the noise over the range of the curve.
    least : float
        Part of the noisy spectra whose fits end as well as those from the truth.
    """

    ranges: Mapping[str, tuple[float, float]]
    x: tuple[float, float, int] = (-20.0, 20.0, 300)
    options: Mapping[str, Any] | None = None
    noise: float = 0.02
    least: float = 0.99


_PLACE = {"centre": (-8, 8)}
DRAWS: dict[str, Draw] = {
    "Gaussian": Draw({"A": (1, 100), "sigma": (0.4, 3), **_PLACE}),
    "GaussianHF": Draw({"height": (1, 100), "fwhm": (1, 7), **_PLACE}),
    "Lorentzian": Draw({"A": (1, 100), "gamma": (0.4, 3), **_PLACE}),
    "Voigt": Draw({"area": (1, 100), "gamma": (0.2, 1.5), "sigma": (0.2, 1.5), **_PLACE}),
    "PseudoVoigt": Draw({"A": (1, 100), "fwhm": (1, 4), "fraction": (0.1, 0.9), **_PLACE}),
    "Moffat": Draw({"height": (1, 100), "sigma": (0.6, 3), "beta": (0.8, 4), **_PLACE}),
    "PearsonVII": Draw({"A": (1, 100), "fwhm": (1, 4), "expon": (0.8, 5), **_PLACE}),
    "SkewNormal": Draw({"A": (1, 100), "scale": (1, 4), "shape": (-6, 6), "x0": (-8, 8)}),
    "SplitVoigt": Draw({"A": (1, 100), "sigma1": (0.4, 2), "sigma2": (0.4, 2), "fraction": (0.1, 0.9), **_PLACE}),
    "ExponentiallyModifiedGaussian": Draw({"A": (1, 100), "sigma": (0.5, 1.5), "tau": (0.5, 2.5), "centre": (-8, 4)}),
    "LogNormal": Draw({"A": (1, 100), "centre": (3, 15), "sigma": (0.1, 0.6)}, x=(0.1, 40.0, 400)),
    "BreitWignerFano": Draw({"amplitude": (1, 100), "gamma": (0.5, 2), "q": (0.3, 6), **_PLACE}),
    "DampedOscillator": Draw({"amplitude": (1, 100), "centre": (4, 14), "sigma": (0.02, 0.3)}, x=(0.1, 20.0, 400)),
    "Doniach": Draw({"A": (1, 100), "alpha": (0.05, 0.3), "sigma": (0.4, 1.5), **_PLACE}),
    "PESCoreLineShape": Draw({"A": (1, 100), "FWHM": (1, 5), "origin": (-8, 8)}),
    "PESVoigt": Draw({"area": (1, 100), "FWHM": (0.5, 3), "gamma": (0.2, 1.5), **_PLACE}),
    "SEE": Draw({"A": (100, 10000), "B": (2, 8), "Phi": (1, 5)}, x=(0.0, 60.0, 600), noise=0.01),
    "VolumePlasmonDrude": Draw(
        {"intensity": (1, 50), "plasmon_energy": (10, 25), "fwhm": (1.5, 6)}, x=(2.0, 40.0, 400)
    ),
    "Offset": Draw({"offset": (-5, 5)}),
    "Polynomial": Draw({"a0": (-5, 5), "a1": (-1, 1), "a2": (-0.1, 0.1)}),
    "PowerLaw": Draw({"A": (1e5, 1e7), "r": (1.5, 4.5)}, x=(100.0, 400.0, 300)),
    "Exponential": Draw({"A": (1, 100), "tau": (1, 8)}, x=(0.0, 20.0, 200)),
    "DoublePowerLaw": Draw({"A": (1e3, 1e5), "r": (1.5, 4.5)}, x=(100.0, 400.0, 300)),
    "Bleasdale": Draw({"a": (0.5, 2), "b": (0.2, 2)}, x=(0.0, 20.0, 200)),
    "Vignetting": Draw({"height": (1, 100), "optical_center": (-4, 4), "period": (4, 12)}),
    "Arctan": Draw({"A": (1, 100), "k": (0.5, 3), "x0": (-8, 8)}),
    "EELSArctan": Draw({"A": (1, 100), "k": (0.5, 3), "x0": (-8, 8)}),
    "Erf": Draw({"A": (1, 100), "sigma": (0.4, 3), "origin": (-8, 8)}),
    "Arctan, falling": Draw({"A": (1, 100), "k": (-3, -0.5), "x0": (-8, 8)}),
    "EELSArctan, falling": Draw({"A": (1, 100), "k": (-3, -0.5), "x0": (-8, 8)}),
    "Erf, falling": Draw({"A": (1, 100), "sigma": (-3, -0.4), "origin": (-8, 8)}),
    "Logistic, falling": Draw({"a": (1, 100), "c": (-3, -0.4), "origin": (-8, 8)}),
    # Of a nearly symmetric line noise hides the level that q is measured by.
    "BreitWignerFano, large q": Draw({"amplitude": (1, 100), "gamma": (0.5, 2), "q": (6, 30), **_PLACE}, least=0.9),
    "BreitWignerFano, negative q": Draw({"amplitude": (1, 100), "gamma": (0.5, 2), "q": (-6, -0.3), **_PLACE}),
    "HeavisideStep": Draw({"A": (1, 100), "n": (-8, 8)}),
    "Logistic": Draw({"a": (1, 100), "c": (0.4, 3), "origin": (-8, 8)}),
    "RC": Draw({"Vmax": (1, 100), "V0": (-5, 5), "tau": (1, 8)}, x=(0.0, 20.0, 200)),
    "Decay": Draw({"A": (1, 100), "tau": (1, 8)}, x=(-4.0, 30.0, 300)),
    "DoubleExponentialDecay": Draw(
        {"A1": (20, 100), "tau1": (0.5, 1.5), "A2": (20, 100), "tau2": (4, 8), "centre": (3, 6), "sigma": (0.2, 0.6)},
        x=(0.0, 40.0, 500),
    ),
    "ScalableFixedPattern": Draw({"yscale": (1, 100)}, x=(-10.0, 10.0, 200), options={"pattern": PATTERN}),
}


def made(name: str, values: Mapping[str, Any]) -> Any:
    """The component, free in what is drawn."""
    draw = DRAWS[name]
    component = TYPES[name.partition(",")[0]](**(draw.options or {}), **values)
    component.set_parameters_not_free()
    component.set_parameters_free([key for key in draw.ranges if (name, key) != ("HeavisideStep", "n")])
    return component


def spectra(
    name: str, noise: float, seed: int = 0, x: np.ndarray | None = None
) -> tuple[xr.DataArray, dict[str, np.ndarray]]:
    """Curves of the component at random parameters, and these."""
    draw, random = DRAWS[name], np.random.default_rng(seed)
    truth = {key: random.uniform(*limits, N) for key, limits in draw.ranges.items()}
    x = np.linspace(*draw.x[:2], draw.x[2]) if x is None else x
    component = made(name, {key: float(values[0]) for key, values in truth.items()})
    zero = xr.DataArray(np.zeros((N, x.size)), dims=("pixel", "x"), coords={"x": x})
    start = {f"{component.name}.{key}": xr.DataArray(values, dims="pixel") for key, values in truth.items()}
    with_offset = xfit.Model([component.copy(), components.Offset(name="zero")])
    with_offset[0].set_parameters_not_free()
    curve = zero.fit.multifit(with_offset, start=start, bounded=False).fit.evaluate([component.name])
    spread = np.ptp(curve.values, axis=1, keepdims=True)
    spread = np.where(spread > 0, spread, 1.0)
    return curve + noise * spread * random.normal(size=curve.shape), truth


def fits(name: str, da: xr.DataArray, truth: Mapping[str, np.ndarray]) -> tuple[xr.Dataset, xr.Dataset]:
    """Fits from estimates and from the truth, both from a model whose own values are those of no spectrum."""
    middle = {key: sum(limits) / 2 for key, limits in DRAWS[name].ranges.items()}
    component = made(name, middle)
    full = {f"{component.name}.{key}": xr.DataArray(values, dims="pixel") for key, values in truth.items()}
    if name == "HeavisideStep":
        full = {key: value for key, value in full.items() if not key.endswith(".n")}
    model = xfit.Model([component])
    return da.fit.multifit(model, start="estimate"), da.fit.multifit(model, start=full, bounded=False)


def test_every_estimator_is_tried() -> None:
    one = {name: kind for name, kind in TYPES.items() if kind.coordinates == ("x",)}
    assert {name for name, kind in one.items() if kind.estimator is not None} <= set(DRAWS)
    without = {name for name, kind in one.items() if kind.estimator is None}
    # A pattern has one when it is made; an edge has but a factor, for which any start is good.
    assert without == {"Expression", "Function", "ScalableFixedPattern", "EELSCLEdge"}
    assert {name.partition(",")[0] for name in DRAWS} <= set(TYPES)


@pytest.mark.parametrize("name", [name for name in DRAWS if name != "HeavisideStep"])
def test_fits_from_estimates_find_clean_curves_again(name: str) -> None:
    da, truth = spectra(name, 0.0)
    fit, _ = fits(name, da, truth)
    assert (fit["status"] == 1).mean() >= 0.99
    exact = np.ptp(da.values, axis=1) ** 2 * da.sizes["x"] + 1
    # Residuals of a millionth of the curve, and not of a local minimum.
    assert (fit["chisq"].values < 1e-12 * exact).mean() >= 0.99, np.flatnonzero(fit["chisq"].values > 1e-12 * exact)


@pytest.mark.parametrize("name", [name for name in DRAWS if name != "HeavisideStep"])
def test_fits_from_estimates_of_noisy_curves_end_where_those_from_the_truth_do(name: str) -> None:
    da, truth = spectra(name, DRAWS[name].noise)
    fit, best = fits(name, da, truth)
    good = fit["chisq"].values <= best["chisq"].values * (1 + 1e-6)
    assert good.mean() >= DRAWS[name].least, np.flatnonzero(~good)


def test_a_step_is_found_to_a_channel() -> None:
    da, truth = spectra("HeavisideStep", 0.02)
    step = components.HeavisideStep(name="s")
    step.n.free = True
    found = step.estimate(da)
    np.testing.assert_allclose(found["s.A"], truth["A"], rtol=0.05)
    assert (np.abs(found["s.n"] - truth["n"]) < 40 / 299).mean() > 0.95


@pytest.mark.parametrize("name", DRAWS)
def test_zeros_negative_data_and_gaps_do_no_harm(name: str) -> None:
    """No warning, no exception; what is found is finite and within the bounds, or NaN altogether."""
    da = spectra(name, 0.3, seed=1)[0]
    da = da.copy()
    da[:50] -= da[:50].mean("x")
    da[50:60] = 0.0
    da[60:70] = -1.0
    da[70:80, ::3] = np.nan
    da[80:90] = np.nan
    component = made(name, {key: sum(limits) / 2 for key, limits in DRAWS[name].ranges.items()})
    found = component.estimate(da)
    values = np.array([found[p.full_name].values for p in component.free_parameters])
    finite = np.isfinite(values)
    assert (finite.all(axis=0) | ~finite.any(axis=0)).all()
    for p, column in zip(component.free_parameters, values, strict=True):
        known = column[np.isfinite(column)]
        assert (known >= p.min).all()
        assert (known <= p.max).all()


@pytest.mark.parametrize("name", DRAWS)
def test_axes_of_every_kind(name: str) -> None:
    """Descending, uneven, binned: the same estimate but for what the sampling does."""
    da = spectra(name, 0.0)[0]
    component = made(name, {key: sum(limits) / 2 for key, limits in DRAWS[name].ranges.items()})
    plain = component.estimate(da)
    turned = component.estimate(da.isel(x=slice(None, None, -1)))
    counts = da * (da["x"][1] - da["x"][0])
    counts["x"].attrs["is_binned"] = True
    binned = component.estimate(counts)
    for key in plain:
        # The other way round, sums are rounded otherwise.
        np.testing.assert_allclose(turned[key], plain[key], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(binned[key], plain[key], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in DRAWS if name != "HeavisideStep"])
def test_uneven_axes(name: str) -> None:
    """Channels three times as wide at one end as at the other: fits from estimates end as well as on even ones."""
    even = np.linspace(0, 1, DRAWS[name].x[2])
    low, high = DRAWS[name].x[:2]
    da, truth = spectra(name, 0.0, x=low + (high - low) * (even + even**2) / 2)
    fit, best = fits(name, da, truth)
    good = fit["chisq"].values <= best["chisq"].values + 1e-12 * da.sizes["x"] * np.ptp(da.values, axis=1) ** 2 + 1e-12
    assert good.mean() >= 0.98, np.flatnonzero(~good)


def test_the_estimator_of_any_peak() -> None:
    """Of a hyperbolic secant, whose half width at half maximum is arcosh(2): as good as the
    moments of a Gaussian are.
    """
    fwhm = 2 * np.arccosh(2.0)
    x = np.linspace(0.0, 40.0, 400)
    truth = [(30.0, 12.0, 1.5), (5.0, 25.0, 3.0)]
    y = np.array([h / np.cosh((x - c) / w) for h, c, w in truth])
    found = estimators.peak(height="h", centre="c", width="w", fwhm=fwhm)(x, y, np.full(x.size, 0.1))
    for k, (h, c, w) in enumerate(truth):
        np.testing.assert_allclose(found["c"][k], c, atol=0.05 * w)
        # Its tails are longer than a Gaussian's: a start, from which the fit goes on.
        np.testing.assert_allclose([found["h"][k], found["w"][k]], [h, w], rtol=0.35)
