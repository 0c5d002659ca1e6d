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
from tests.support.paths import DATA
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
    """Made with exp(-x**2) in steps of 0.1 up to 3; some of the points lie beyond, where
    HyperSpy's end pieces go on.
    """
    stored = json.loads((DATA / "hyperspy_components.json").read_text())["components"]
    (oracle,) = (case for case in stored if case["name"] == "ScalableFixedPattern")
    x = np.arange(-70, 31) / 10
    made = ScalableFixedPattern(
        xr.DataArray(np.exp(-(x**2)), dims="x", coords={"x": x}), extrapolate="cubic", **oracle["at"]
    )
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
    xscale, shift, yscale = random.uniform([[0.98], [-0.5], [2.0]], [[1.02], [0.5], [9.0]], (3, 100))
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


def test_a_binned_pattern_needs_channels_that_follow_each_other() -> None:
    counts = pattern()
    counts["x"].attrs["is_binned"] = 1
    with pytest.raises(
        ValueError, match="a pattern that is binned takes the width of channels from the steps of the coordinate 'x'"
    ):
        ScalableFixedPattern(counts.isel(x=np.r_[0:50, 60:301]))
    counts["x"].attrs["is_binned"] = "False"
    with pytest.raises(ValueError, match="is_binned='False' of the coordinate 'x' must be True or False"):
        ScalableFixedPattern(counts)


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


# --- beyond the ends

WIDE = np.round(np.arange(-3.0, 3.001, 0.02), 10)
NARROW = np.round(np.arange(-1.2, 1.2001, 0.02), 10)


def measured(values: np.ndarray, x: np.ndarray = NARROW) -> xr.DataArray:
    return xr.DataArray(values, dims="x", coords={"x": x})


def bell(x: np.ndarray) -> np.ndarray:
    """At 1.2 it is 3e-4 of its height."""
    return np.exp(-(x**2) / (2 * 0.3**2))


@pytest.mark.parametrize("x", [WIDE, WIDE[::-1], WIDE + 0.004 * np.sin(WIDE)])
def test_there_is_nothing_beyond_a_pattern_that_ends_at_zero(x: np.ndarray) -> None:
    made = ScalableFixedPattern(measured(bell(NARROW)), name="el", yscale=50)
    values = curve(made, x)
    # A step beyond the end it is gone.
    assert (values[np.abs(x) > 1.2 + 0.02] == 0).all()
    inside = np.abs(x) <= 1.2
    # Between points a cubic spline is good to the fourth power of the step over the width, 2e-5, over 24.
    np.testing.assert_allclose(values[inside], 50 * bell(x[inside]), atol=5e-5)
    assert (values[~inside] <= 50 * bell(np.array(1.2))).all()
    made = made.copy()  # type: ignore[assignment]  # too narrow: what Component.copy returns
    made["yscale"].set(value=40, free=True)
    data = measured(50 * bell(x) + 1, x)
    fit = data.fit(xfit.Model([made, Offset(name="bg")]))
    # What is missing beyond is below 50 times 3e-4, in a fifth of the channels.
    np.testing.assert_allclose([fit.fit["el.yscale"], fit.fit["bg.offset"]], [50, 1], atol=5e-3)
    np.testing.assert_allclose(fit.fit.evaluate(), data, atol=0.02)


def test_a_pattern_that_ends_elsewhere_than_at_zero_is_refused_beyond() -> None:
    """At one end, with both ranges; at the other, where it is zero, there is nothing; half a channel is known."""
    ramp = measured(np.clip(NARROW + 1.2, 0, None))
    model = xfit.Model([ScalableFixedPattern(ramp, name="ramp"), Offset(name="bg")])
    with pytest.raises(
        ValueError,
        match=r"'ramp': the data go from -3 to 3, the pattern, .* from -1.2 to 1.2, .* extrapolate to 'zero'",
    ):
        measured(WIDE, WIDE).fit(model)
    low = WIDE[WIDE <= 1.2]
    fit = measured(np.clip(2 * (low + 1.2), 0, None) + 1, low).fit(model, start={"ramp.yscale": 1.5})
    assert float(fit.fit["ramp.yscale"]) == pytest.approx(2, rel=1e-9)
    # Channels that are not used, and starts that bring the pattern there.
    used = measured(WIDE, WIDE).fit(model, where=measured(np.abs(WIDE) <= 1.2, WIDE))
    assert float(used.fit["ramp.yscale"]) == pytest.approx(1, rel=1e-9)
    with pytest.raises(ValueError, match=r"from 0 to 0\.6"):
        measured(NARROW).fit(model, start={"ramp.xscale": 4.0, "ramp.shift": 1.2})
    for shift, ok in ((-0.009, True), (-0.02, False)):
        try:
            measured(NARROW).fit(model, start={"ramp.shift": shift})
        except ValueError:
            assert not ok
        else:
            assert ok


def test_what_a_pattern_is_beyond_can_be_said() -> None:
    values = 2 + 0.5 * NARROW
    spline = make_interp_spline(NARROW, values, k=3)
    cubic = curve(ScalableFixedPattern(measured(values), extrapolate="cubic"), WIDE)
    np.testing.assert_allclose(cubic, spline(WIDE), rtol=1e-6)
    constant = curve(ScalableFixedPattern(measured(values), extrapolate="constant"), WIDE)
    np.testing.assert_allclose(constant, np.clip(2 + 0.5 * WIDE, 1.4, 2.6), rtol=1e-12)
    nothing = curve(ScalableFixedPattern(measured(values), extrapolate="zero"), WIDE)
    expected = np.where(np.abs(WIDE) <= 1.2, 2 + 0.5 * WIDE, 0.0)
    np.testing.assert_allclose(nothing, expected, atol=1e-12)
    made = ScalableFixedPattern(measured(values), name="p")
    made.extrapolate = "constant"  # type: ignore[misc]  # too narrow: extrapolate is settable
    np.testing.assert_allclose(curve(made, WIDE), constant, rtol=1e-14)
    for wrong in ("linear", 3):
        with pytest.raises(
            ValueError, match=f"extrapolate={wrong!r} must be one of 'zero', 'constant', 'cubic', or None"
        ):
            ScalableFixedPattern(measured(values), extrapolate=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("extrapolate", [None, "zero", "constant", "cubic"])
def test_how_a_pattern_goes_on_is_stored(tmp_path: Path, extrapolate: str | None) -> None:
    m = xfit.Model([ScalableFixedPattern(measured(bell(NARROW) + 0.2), name="p", extrapolate=extrapolate)])
    m.to_file(tmp_path / "model.toml")
    for again in (xfit.Model.from_json(m.to_json()), xfit.Model.from_file(tmp_path / "model.toml"), m.copy()):
        assert again == m
        assert again["p"].extrapolate == extrapolate
        assert again["p"].kernel == m["p"].kernel
    other = xfit.Model([ScalableFixedPattern(measured(bell(NARROW) + 0.2), name="p", extrapolate="zero")])
    assert (other == m) is (extrapolate == "zero")


@pytest.mark.parametrize("extrapolate", ["zero", "constant", "cubic"])
@pytest.mark.parametrize("x", [NARROW, NARROW + 0.004 * np.sin(5 * NARROW)])
def test_derivatives_are_those_of_the_curve_beyond_the_ends_too(extrapolate: str, x: np.ndarray) -> None:
    """Central differences of the kernel's own values, good to the square root of rounding."""
    from xfit.engine.codegen.program import compiled_kernel, curve_of
    from xfit.engine.math.layout import PITCH

    made = ScalableFixedPattern(measured(bell(x) + 0.2, x), extrapolate=extrapolate)
    at, values, h = np.linspace(-1.4, 1.4, 113) + 1e-3, np.array([1.05, 3.0, 0.013]), 1e-6
    f, jac = np.zeros(PITCH), np.zeros((3, PITCH))
    import ctypes

    pointers = [np.ascontiguousarray(a).ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for a in (at, values, f)]
    slopes = jac.ctypes.data_as(ctypes.POINTER(ctypes.c_double))
    compiled_kernel(made.kernel).call(pointers[0], 113, pointers[1], pointers[2], slopes, 113, pointers[2])
    for k in range(3):
        step = np.where(np.arange(3) == k, h, 0.0)
        central = (curve_of(made.kernel, at, values + step) - curve_of(made.kernel, at, values - step)) / (2 * h)
        np.testing.assert_allclose(jac[k, :113], central, rtol=1e-5, atol=1e-6)


def test_a_report_tells_of_a_pattern_that_a_fit_has_moved() -> None:
    x = np.round(np.arange(-1.0, 1.0001, 0.02), 10)
    ramp = ScalableFixedPattern(measured(np.exp(NARROW)), name="ramp", yscale=2)
    ramp.set_parameters_not_free(["xscale", "yscale"])
    data = measured(2 * np.exp(np.clip(x - 0.6, -1.2, 1.2)), x)
    fit = data.fit(xfit.Model([ramp]), start={"ramp.shift": 0.15})
    assert float(fit.fit["ramp.shift"]) == pytest.approx(0.6, abs=1e-4)
    assert "ramp is a pattern that does not reach over the data and does not end at zero" in " ".join(
        fit.fit.report().split()
    )
    near = measured(2 * np.exp(x - 0.1), x).fit(xfit.Model([ramp.copy()]))
    assert "does not reach" not in near.fit.report()
