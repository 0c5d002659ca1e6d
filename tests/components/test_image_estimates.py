"""Estimators of images: fits that start from them end where those do that start from the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xfit
from xfit.components import TYPES, Gaussian2D, Plane
from xfit.engine.block.fit_block import evaluate_block
from xfit.engine.codegen.program import Program

N = 100
X, Y = np.linspace(-10, 14, 33), np.linspace(-8, 12, 29)
_PLACE = {"centre_x": (-3.0, 7.0), "centre_y": (-2.0, 6.0)}
_ANGLE = {"rotation_angle": (-1.2, 1.2)}
#: Options, and what is drawn from where.
DRAWS: dict[str, tuple[str, dict[str, Any], Mapping[str, tuple[float, float]]]] = {
    "Gaussian2D": ("Gaussian2D", {}, {"A": (10, 500), "sigma_x": (1, 2.5), "sigma_y": (1, 2.5), **_PLACE}),
    "Gaussian2D, rotated": (
        "Gaussian2D",
        {"add_rotation": True},
        {"A": (10, 500), "sigma_x": (1.8, 2.5), "sigma_y": (0.9, 1.3), **_PLACE, **_ANGLE},
    ),
    "Lorentzian2D": ("Lorentzian2D", {}, {"height": (1, 50), "gamma_x": (1, 2.5), "gamma_y": (1, 2.5), **_PLACE}),
    "Lorentzian2D, rotated": (
        "Lorentzian2D",
        {"add_rotation": True},
        {"height": (1, 50), "gamma_x": (1.8, 2.5), "gamma_y": (0.9, 1.3), **_PLACE, **_ANGLE},
    ),
    "Moffat2D": (
        "Moffat2D",
        {},
        {"height": (1, 50), "sigma_x": (1, 2.5), "sigma_y": (1, 2.5), "beta": (1.2, 4), **_PLACE},
    ),
    "AiryDisk": ("AiryDisk", {}, {"amplitude": (1, 50), "radius": (2.5, 6), **_PLACE}),
    "Plane": ("Plane", {}, {"slope_x": (-1, 1), "slope_y": (-1, 1), "intercept": (-9, 9)}),
    "Polynomial2D": (
        "Polynomial2D",
        {"order": 3},
        {f"a{i}_{j}": (-(0.3 ** (i + j)), 0.3 ** (i + j)) for i in range(4) for j in range(4 - i)},
    ),
}


def images(name: str, noise: float) -> tuple[xr.DataArray, dict[str, np.ndarray], Any]:
    """Images at random parameters, these, and a component whose own values are those of no image."""
    kind, options, ranges = DRAWS[name]
    random = np.random.default_rng(3)
    truth = {key: random.uniform(*limits, N) for key, limits in ranges.items()}
    component = TYPES[kind](name="c", **options, **{key: sum(limits) / 2 for key, limits in ranges.items()})
    yy, xx = np.meshgrid(Y, X, indexing="ij")
    values = np.stack([truth[p.name] for p in component], axis=1)
    program = Program.from_model(xfit.Model([component.copy()]))
    curves = evaluate_block(program, values, {"x": xx.ravel(), "y": yy.ravel()}).reshape(N, Y.size, X.size)
    noisy = curves + noise * np.ptp(curves, axis=(1, 2), keepdims=True) * random.normal(size=curves.shape)
    return xr.DataArray(noisy, dims=("p", "y", "x"), coords={"y": Y, "x": X}), truth, component


def test_every_component_of_two_dimensions_is_here() -> None:
    two = {name for name, kind in TYPES.items() if getattr(kind, "coordinates", ()) == ("x", "y")}
    assert two == {kind for kind, _, _ in DRAWS.values()}


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_fits_from_estimates_end_where_those_from_the_truth_do(name: str, noise: float) -> None:
    da, truth, component = images(name, noise)
    model = xfit.Model([component])
    start = {f"c.{key}": xr.DataArray(values, dims="p") for key, values in truth.items()}
    best = da.fit.multifit(model, start=start, bounded=False)["chisq"].values
    found = da.fit.multifit(model, start="estimate")["chisq"].values
    good = found <= best * (1 + 1e-6) + 1e-12 * da.size * np.ptp(da.values, axis=(1, 2)) ** 2
    assert good.mean() >= 0.99, np.flatnonzero(~good)


def test_linear_ones_are_found_at_once() -> None:
    for name in ("Plane", "Polynomial2D"):
        da, truth, component = images(name, 0.0)
        found = component.estimate(da)
        for key, values in truth.items():
            np.testing.assert_allclose(found[f"c.{key}"], values, rtol=1e-8, atol=1e-11)


def test_chunks_orders_bins_and_gaps() -> None:
    da, truth, component = images("Gaussian2D", 0.02)
    plain = component.estimate(da)
    np.testing.assert_allclose(plain["c.centre_x"], truth["centre_x"], atol=0.3)
    np.testing.assert_allclose(plain["c.A"], truth["A"], rtol=0.2)
    lazy = component.estimate(da.chunk(p=7))
    assert lazy["c.A"].chunks is not None
    xr.testing.assert_equal(lazy.compute(), plain)
    turned = component.estimate(da.isel(x=slice(None, None, -1), y=slice(None, None, -1)))
    binned = da * (X[1] - X[0]) * (Y[1] - Y[0])
    for d in ("x", "y"):
        binned[d].attrs["is_binned"] = True
    counted = component.estimate(binned)
    for key in plain:
        np.testing.assert_allclose(turned[key], plain[key], rtol=1e-9)
        np.testing.assert_allclose(counted[key], plain[key], rtol=1e-9)
    gaps = component.estimate(da.where(np.random.default_rng(0).random(da.shape) > 0.02))
    assert np.isfinite(gaps["c.sigma_x"]).all()
    nothing = component.estimate(da * np.nan)
    assert np.isnan(nothing["c.A"]).all()


def test_a_part_of_the_image() -> None:
    da, truth, component = images("Gaussian2D", 0.0)
    one = da.isel(p=0)
    two = one + 3 * np.roll(one.values, 12, axis=1)
    x, y = truth["centre_x"][0], truth["centre_y"][0]
    part = ((x - 4, x + 4), (y - 6, y + 6))
    component.estimate(two, part)
    assert component.centre_x.value == pytest.approx(x, abs=0.5)
    assert component.centre_y.value == pytest.approx(y, abs=0.5)
    fit = two.expand_dims("p").fit.multifit(xfit.Model([component, Plane()]), start={"c": part})
    assert fit.sizes["p"] == 1
    with pytest.raises(TypeError, match=r"range=\(0, 1\) must be two ranges|range\[0\]=0 must be two numbers"):
        Gaussian2D().estimate(one, (0, 1))
    with pytest.raises(ValueError, match="at least 9 channel"):
        Gaussian2D().estimate(one, ((0, 1), (0, 1)))  # type: ignore[arg-type]  # too narrow: range of Component.estimate
