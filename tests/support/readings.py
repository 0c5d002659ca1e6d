"""What HyperSpy reads of a file compared with what xfit opens, and the way of what was opened
through a fit and through files.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import xarray as xr

import xfit
from tests.support.opened import open_array
from xfit.files.metadata import flattened


def opened(path: Path, **options) -> list[xr.DataArray]:
    found = xfit.open(path, **options)
    return [found] if isinstance(found, xr.DataArray) else list(found.values())


def read(path: Path, **options) -> list:
    import hyperspy.api as hs

    found = hs.load(path, **options)
    return found if isinstance(found, list) else [found]


def assert_as_hyperspy(da: xr.DataArray, signal) -> None:
    """Values, axes and metadata are those of HyperSpy's signal, whose navigation axes come first."""
    axes = signal.axes_manager._axes
    np.testing.assert_array_equal(da, np.asarray(signal.data))
    for dim, axis in zip(da.dims, axes, strict=True):
        np.testing.assert_allclose(da[dim], axis.axis, rtol=1e-12)
        units, name = str(axis.units), str(axis.name)
        assert da[dim].attrs.get("units", "") == ("" if units == "<undefined>" else units)
        assert da[dim].attrs.get("axis_name", dim) == ("" if name == "<undefined>" else name.replace("/", "_"))
    expected = flattened(signal.metadata.as_dictionary())
    own = ("General.FileIO", "General.title", "Signal.signal_type", "Signal.quantity", "_HyperSpy")
    # What eXSpy takes for granted where a file says nothing.
    defaults = flattened(type(signal)(np.zeros((2,) * signal.data.ndim)).metadata.as_dictionary())
    for key, value in expected.items():
        if not key.startswith(own) and (key in da.attrs or defaults.get(key) != value):
            assert da.attrs[key] == value, key
    title = expected.get("General.title", "")
    assert da.attrs.get("General.title", "") == title
    kind = expected.get("Signal.signal_type", "")
    assert da.attrs.get("signal_type", "") == kind


def assert_original_metadata(path: Path) -> None:
    """All that the instrument wrote is JSON, and goes to zarr and netCDF."""
    for da in opened(path, original_metadata=True):
        text = da.attrs.get("original_metadata", "{}")
        assert isinstance(json.loads(text), dict)
        for suffix in ("zarr", "nc") if da.dtype.kind != "c" else ("zarr",):
            xfit.save(da, path.with_name(f"original.{suffix}"), overwrite=True)
            kept = xfit.open(path.with_name(f"original.{suffix}")).attrs.get("original_metadata", "{}")
            assert kept == text


def signal_dims(da: xr.DataArray) -> list:
    return [d for d in da.dims if da[d].attrs["navigate"] == 0]


def assert_usable(da: xr.DataArray, folder: Path) -> None:
    """What was opened can be fitted along its signal dimensions, saved and opened again."""
    dims = signal_dims(da)
    assert list(da.dims[-len(dims) :]) == dims
    if da.dtype.kind != "c":
        background = xfit.components.Offset if len(dims) == 1 else xfit.components.Plane
        fit = da.astype(float).fit.multifit(xfit.Model([background(name="level")])).compute()
        # The residuals of a model with a free constant add up to nothing.
        np.testing.assert_allclose(fit.fit.evaluate().mean(dims), da.mean(dims, dtype=float), rtol=1e-6, atol=1e-9)
    for suffix in ("zarr", "nc", "hspy", "zspy"):
        if suffix == "nc" and da.dtype.kind == "c":
            continue
        path = folder / f"again.{suffix}"
        xfit.save(da, path, overwrite=True)
        again = open_array(path)
        np.testing.assert_array_equal(again, da)
        assert again.dims == da.dims
        assert signal_dims(again) == dims
        # HyperSpy knows the name as the title.
        assert set(again.attrs) - {"General.title"} == set(da.attrs) - {"General.title"}
        for dim in da.dims:
            np.testing.assert_allclose(again[dim], da[dim], rtol=1e-9, atol=1e-12)
            assert again[dim].attrs.get("units") == da[dim].attrs.get("units")
    da.to_zarr(folder / "plain.zarr", mode="w", consolidated=False)
    assert xfit.open(folder / "plain.zarr").attrs.keys() == da.attrs.keys()
