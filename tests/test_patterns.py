"""ScalableFixedPattern: HyperSpy's numbers, fits of all three parameters, patterns of every kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.interpolate import make_interp_spline

import xfit
from xfit.components import Offset, ScalableFixedPattern

X = np.linspace(0, 50, 301)


def pattern(x: np.ndarray = X) -> xr.DataArray:
    values = np.exp(-((x - 20) ** 2) / 8) + 0.5 * np.exp(-((x - 30) ** 2) / 2) + 0.1 * np.sin(x)
    return xr.DataArray(values, dims="x", coords={"x": x})


def curve(component: Any, x: np.ndarray) -> np.ndarray:
    component.set_parameters_not_free()
    data = xr.DataArray(np.zeros(x.size), dims="x", coords={"x": x})
    return data.fit(xfit.Model([component, Offset(name="zero")])).fit.evaluate([component.name]).values


def test_values_are_those_of_hyperspy() -> None:
    """Made with exp(-x**2) in steps of 0.1 up to 3; some of the points lie beyond, where end pieces go on."""
    stored = json.loads((Path(__file__).parent / "data" / "hyperspy_components.json").read_text())["components"]
    (oracle,) = (case for case in stored if case["name"] == "ScalableFixedPattern")
    x = np.arange(-70, 31) / 10
    made = ScalableFixedPattern(xr.DataArray(np.exp(-(x**2)), dims="x", coords={"x": x}), **oracle["at"])
    # Two ways to solve for the coefficients, of which the extrapolation to 1.5 beyond the end takes the cube over 0.1.
    np.testing.assert_allclose(curve(made, np.array(oracle["x"])), oracle["f"], atol=1e-11)
    assert [(p["name"], p["default"], p["free"], p["linear"]) for p in oracle["params"]] == [
        (p.name, p.value, p.free, p.linear) for p in ScalableFixedPattern(pattern())
    ]


@pytest.mark.parametrize("x", [X, X + 0.01 * np.sin(X), X[::-1]])
def test_fits_find_scales_and_shift(x: np.ndarray) -> None:
    random = np.random.default_rng(0)
    known = pattern(x)
    spline = make_interp_spline(np.sort(x), known.sortby("x").values, k=3)
    at = np.linspace(3, 47, 256)
    xscale, shift, yscale = random.uniform([[0.98], [-0.5], [2]], [[1.02], [0.5], [9]], (3, 100))
    data = xr.DataArray(
        yscale[:, None] * spline(xscale[:, None] * at - shift[:, None]), dims=("p", "x"), coords={"x": at}
    )
    fit = data.fit.multifit(xfit.Model([ScalableFixedPattern(known, name="f", yscale=4)]))
    assert (fit["status"] == 1).all()
    np.testing.assert_allclose(fit.fit["f.xscale"], xscale, rtol=1e-9)
    np.testing.assert_allclose(fit.fit["f.shift"], shift, atol=1e-8)
    np.testing.assert_allclose(fit.fit["f.yscale"], yscale, rtol=1e-9)


def test_without_interpolation_only_the_factor_is_free() -> None:
    made = ScalableFixedPattern(pattern(), interpolate=False)
    assert [p.name for p in made.free_parameters] == ["yscale"]
    fit = (3 * pattern()).fit(xfit.Model([made]))
    np.testing.assert_allclose(fit.fit["ScalableFixedPattern.yscale"], 3, rtol=1e-13)


def test_a_binned_pattern_is_a_density() -> None:
    binned = pattern(X + 0.05 * np.sin(X / 5))
    widths = np.gradient(binned["x"].values)
    counts = binned * widths
    counts["x"].attrs["is_binned"] = True
    np.testing.assert_allclose(curve(ScalableFixedPattern(counts), binned["x"].values), binned, rtol=1e-12)
    data = (2 * counts).assign_coords(x=counts["x"])
    fit = data.fit(xfit.Model([ScalableFixedPattern(counts, name="f", interpolate=False)]))
    np.testing.assert_allclose(fit.fit["f.yscale"], 2, rtol=1e-12)


def test_patterns_are_stored_with_models_and_results(tmp_path: Path) -> None:
    m = xfit.Model([ScalableFixedPattern(pattern(), name="f"), Offset(name="o")])
    again = xfit.Model.from_json(m.to_json())
    assert again == m
    assert again.copy() == m
    assert xfit.Model([ScalableFixedPattern(2 * pattern(), name="f"), Offset(name="o")]) != m
    fit = (pattern() + 1).fit(m)
    fit.to_zarr(tmp_path / "fit.zarr", consolidated=False)
    opened = xr.open_zarr(tmp_path / "fit.zarr", consolidated=False)
    np.testing.assert_allclose(opened.fit.evaluate(), pattern() + 1, rtol=1e-10)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([1.0, 2.0], TypeError, "must be an xarray.DataArray, not list"),
        (pattern().drop_vars("x"), ValueError, "no coordinate 'x'"),
        (pattern().expand_dims(y=2), ValueError, r"has dimensions \['y', 'x'\]"),
        (pattern().where(pattern() > 0), ValueError, "not finite"),
        (pattern() > 0, TypeError, "dtype bool"),
        (pattern().isel(x=[3]), ValueError, "at least two"),
        (pattern().isel(x=[3, 5, 4]), ValueError, "neither rises nor falls"),
        ({"values": [1.0, 2.0]}, ValueError, "must have 'coordinate' and 'values'"),
        ({"values": [1.0, "x"], "coordinate": [0.0, 1.0]}, TypeError, "values must be a list of numbers"),
    ],
)
def test_what_is_no_pattern_is_refused(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ScalableFixedPattern(given)


def test_a_stored_pattern_that_is_wrong_names_its_place() -> None:
    stored = xfit.Model([ScalableFixedPattern(pattern(), name="f")]).to_dict()
    stored["components"][0]["options"]["pattern"]["values"][0] = "import os"
    with pytest.raises(ValueError, match=r"components\[0\].*must be a list of numbers"):
        xfit.Model.from_dict(stored)
