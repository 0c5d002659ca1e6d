"""Results and data, saved and read by others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xfit
import xfit.hyperspy
from tests.support.builders import from_source, one_peak, peak_map, statuses
from tests.support.opened import open_array
from tests.support.optional import optional
from xfit.files import save as saving

hs = optional("hyperspy.api")


@pytest.fixture(scope="module")
def data() -> xr.DataArray:
    da = peak_map((3, 4))
    return da.assign_coords(y=("y", [1.0, 1.5, 2.0], {"units": "nm"}))


@pytest.fixture(scope="module")
def fit(data: xr.DataArray) -> xr.Dataset:
    return data.fit.multifit(one_peak()).compute()


@pytest.mark.parametrize("suffix", ["zarr", "nc"])
@pytest.mark.parametrize("lazy", [False, True])
def test_results_know_their_model(data: xr.DataArray, fit: xr.Dataset, tmp_path: Path, suffix: str, lazy: bool) -> None:
    given = data.chunk(y=2, x=3).fit.multifit(one_peak()) if lazy else fit
    xfit.save(given, tmp_path / f"fit.{suffix}")
    again = xfit.open(tmp_path / f"fit.{suffix}")
    assert isinstance(again, xr.Dataset)
    xr.testing.assert_equal(again.compute(), fit)
    assert again.fit.model == one_peak()
    with pytest.raises(ValueError, match="signal="):
        xfit.open(tmp_path / f"fit.{suffix}", signal=0)


def test_uneven_chunks(data: xr.DataArray, tmp_path: Path) -> None:
    uneven = data.chunk(x=(1, 2, 1))
    xfit.save(uneven, tmp_path / "map.zarr")
    xr.testing.assert_equal(open_array(tmp_path / "map.zarr").compute(), data)


def test_data_there_and_back(tmp_path: Path) -> None:
    """Through every format: values, axes, units, binning, variance and metadata."""
    da = xr.DataArray(
        np.random.default_rng(0).integers(0, 99, (2, 3, 5)),
        dims=("y", "x", "Energy"),
        coords={
            "y": [0.5, 1.0],
            "x": [3.0, 2.0, 1.0],
            "Energy": ("Energy", [1.0, 2, 4, 8, 16], {"units": "eV", "is_binned": True}),
        },
        attrs={
            "units": "counts",
            "long_name": "electrons",
            "signal_type": "EELS",
            "Sample.elements": ["O"],
            "Acquisition_instrument.TEM.beam_energy": 200.0,
        },
        name="map",
    )
    da = da.assign_coords(variance=da + 1.0)
    for suffix in ("zarr", "nc", "hspy", "zspy"):
        for given in (da, da.chunk(y=1, Energy=2)):
            xfit.save(given, tmp_path / f"map.{suffix}", overwrite=True)
            again = open_array(tmp_path / f"map.{suffix}")
            assert again.chunks is not None
            assert again.dims == da.dims
            np.testing.assert_array_equal(again, da)
            np.testing.assert_array_equal(again.variance, da.variance)
            for d in da.dims:
                np.testing.assert_allclose(again[d], da[d], rtol=1e-14)
            assert (again.Energy.attrs["units"], again.Energy.attrs["is_binned"]) == ("eV", 1)
            assert {key: again.attrs[key] for key in ("units", "long_name", "signal_type")} == {
                key: da.attrs[key] for key in ("units", "long_name", "signal_type")
            }
            assert np.atleast_1d(again.attrs["Sample.elements"]).tolist() == ["O"]
            assert again.attrs["Acquisition_instrument.TEM.beam_energy"] == 200.0
            assert again.name == "map"


@pytest.mark.parametrize("suffix", ["hspy", "zspy"])
@pytest.mark.parametrize("lazy", [False, True])
def test_hyperspy_reads_data(tmp_path: Path, suffix: str, lazy: bool) -> None:
    pytest.importorskip("exspy")
    da = xr.DataArray(
        np.random.default_rng(0).normal(size=(2, 3, 5)),
        dims=("y", "x", "Energy"),
        coords={
            "x": ("x", [1.0, 1.5, 2.0], {"units": "nm"}),
            "Energy": ("Energy", [1.0, 2, 4, 8, 16], {"units": "eV", "is_binned": 1}),
        },
        attrs={"signal_type": "EELS", "Sample.elements": ["O"]},
        name="map",
    )
    da = da.assign_coords(variance=("Energy", [1.0, 2, 3, 4, 5]))
    xfit.save(da.chunk(y=1) if lazy else da, tmp_path / f"map.{suffix}")
    for as_lazy in (False, True):
        s = hs.load(tmp_path / f"map.{suffix}", lazy=as_lazy)
        assert type(s).__name__ == ("LazyEELSSpectrum" if as_lazy else "EELSSpectrum")
        np.testing.assert_array_equal(np.asarray(s.data), da)
        np.testing.assert_array_equal(s.axes_manager["Energy"].axis, da.Energy)
        assert (s.axes_manager["x"].scale, s.axes_manager["x"].offset, s.axes_manager["x"].units) == (0.5, 1.0, "nm")
        assert s.axes_manager["Energy"].is_binned
        assert s.metadata.General.title == "map"
        assert s.metadata.Sample.elements == ["O"]
        np.testing.assert_array_equal(
            np.asarray(s.get_noise_variance().data), np.broadcast_to([1, 2, 3, 4, 5], (2, 3, 5))
        )
    images = xr.DataArray(
        np.zeros((2, 3, 4)),
        dims=("n", "y", "x"),
        coords={"y": ("y", [0.0, 1, 2], {"navigate": 0}), "x": ("x", [0.0, 1, 2, 3], {"navigate": 0})},
    )
    xfit.save(images, tmp_path / f"images.{suffix}")
    assert repr(hs.load(tmp_path / f"images.{suffix}")) == "<Signal2D, title: , dimensions: (2|4, 3)>"


@pytest.mark.parametrize("suffix", ["hspy", "zspy"])
def test_hyperspy_reads_results(fit: xr.Dataset, tmp_path: Path, suffix: str) -> None:
    xfit.save(fit, tmp_path / f"fit.{suffix}")
    maps = {s.metadata.General.title: s for s in hs.load(tmp_path / f"fit.{suffix}")}
    centre = maps["peak.centre"]
    assert repr(centre) == "<Signal2D, title: peak.centre, dimensions: (|4, 3)>"
    np.testing.assert_array_equal(centre.data, fit.fit["peak.centre"])
    np.testing.assert_array_equal(maps["peak.centre.stderr"].data, fit.fit.stderr("peak.centre"))
    np.testing.assert_array_equal(centre.get_noise_variance().data, fit.fit.stderr("peak.centre") ** 2)
    np.testing.assert_array_equal(maps["red_chisq"].data, fit.red_chisq)
    np.testing.assert_array_equal(maps["status"].data, fit.status)
    assert centre.axes_manager["y"].scale == 0.5
    assert {"chisq", "dof", "aic", "nfev", "bg.offset.at_bound"} <= set(maps)


def test_signals_of_zspy_come_by_name(data: xr.DataArray, tmp_path: Path) -> None:
    """Not as the disk lists its folders, for signal=0 is to be the same one everywhere."""
    xfit.save(data.fit.multifit(one_peak()), tmp_path / "fit.zspy")
    names = list(xfit.open(tmp_path / "fit.zspy"))
    assert len(names) > 10
    assert names == sorted(names)
    assert xfit.open(tmp_path / "fit.zspy", signal=0).name == names[0]
    assert xfit.hyperspy.open_models(tmp_path / "fit.zspy", signal=0).data.name == names[0]


def test_results_of_one_spectrum_and_of_lines(data: xr.DataArray, tmp_path: Path) -> None:
    for n, part in enumerate((data[0, 0], data[0])):
        fit = part.fit.multifit(one_peak())
        xfit.save(fit, tmp_path / f"{n}.hspy")
        maps = {s.metadata.General.title: s for s in hs.load(tmp_path / f"{n}.hspy")}
        np.testing.assert_array_equal(np.squeeze(maps["peak.centre"].data), fit.fit["peak.centre"])
        xfit.save(fit, tmp_path / f"{n}.csv")
        assert len(pd.read_csv(tmp_path / f"{n}.csv")) == part[..., 0].size


def test_csv_of_results(data: xr.DataArray, fit: xr.Dataset, tmp_path: Path) -> None:
    xfit.save(fit, tmp_path / "fit.csv")
    # pandas reads decimal numbers to the last bit or next to it.
    table = pd.read_csv(tmp_path / "fit.csv", float_precision="round_trip")
    np.testing.assert_array_equal(table["y"], np.repeat([1.0, 1.5, 2.0], 4))
    np.testing.assert_allclose(table["peak.centre"], fit.fit["peak.centre"].values.ravel(), rtol=1e-15)
    np.testing.assert_allclose(table["peak.centre.stderr"], fit.fit.stderr("peak.centre").values.ravel(), rtol=1e-15)
    assert list(table["status_word"]) == statuses(fit)
    lazy = data.chunk(y=2, x=3).fit.multifit(one_peak())
    xfit.save(lazy, tmp_path / "lazy.csv")
    assert (tmp_path / "lazy.csv").read_text() == (tmp_path / "fit.csv").read_text()


def test_csv_fits_every_pixel_once(tmp_path: Path) -> None:
    da, source = from_source(peak_map((4, 4)), {"y": 2, "x": 2})
    xfit.save(da.fit.multifit(one_peak()), tmp_path / "fit.csv")
    assert len(source.reads) == 4


def test_csv_of_data_and_maps(fit: xr.Dataset, tmp_path: Path) -> None:
    xfit.save(fit.fit["peak.centre"], tmp_path / "centre.csv")
    table = pd.read_csv(tmp_path / "centre.csv", float_precision="round_trip")
    assert list(table)[:2] == list(fit.fit["peak.centre"].dims)
    np.testing.assert_allclose(table["peak.centre"], fit.fit["peak.centre"].values.ravel(), rtol=1e-15)


def test_nothing_is_overwritten_unasked(data: xr.DataArray, tmp_path: Path) -> None:
    for suffix in ("zarr", "nc", "hspy", "zspy", "csv"):
        path = tmp_path / f"map.{suffix}"
        xfit.save(data, path)
        with pytest.raises(FileExistsError, match="overwrite=True"):
            xfit.save(data, path)
        xfit.save(data[:1], path, overwrite=True)
        if suffix != "csv":
            assert xfit.open(path).sizes["y"] == 1
    assert len(list(tmp_path.iterdir())) == 5


def test_a_file_may_replace_what_it_is_read_from(data: xr.DataArray, tmp_path: Path) -> None:
    for suffix in ("zarr", "nc", "hspy", "zspy"):
        path = tmp_path / f"map.{suffix}"
        xfit.save(data, path)
        xfit.save(open_array(path) * 2, path, overwrite=True)
        np.testing.assert_array_equal(xfit.open(path), data * 2)


@pytest.mark.parametrize("suffix", ["zarr", "nc", "hspy", "zspy", "csv"])
def test_failures_leave_what_was_there(data: xr.DataArray, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"map.{suffix}"
    xfit.save(data, path)
    before = sorted(p.name for p in tmp_path.rglob("*"))

    def fail(block: np.ndarray) -> np.ndarray:
        raise OSError("disk is gone")

    broken = data.chunk(y=1).copy(data=data.chunk(y=1).data.map_blocks(fail, dtype=float, meta=np.empty((0, 0, 0))))
    with pytest.raises(OSError, match="disk is gone"):
        xfit.save(broken, path, overwrite=True)
    assert sorted(p.name for p in tmp_path.rglob("*")) == before
    if suffix != "csv":
        np.testing.assert_array_equal(xfit.open(path), data)


def test_what_can_not_be_saved(data: xr.DataArray, fit: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nobody writes \.dm4.*\.zarr, \.nc.*\.csv"):
        xfit.save(data, tmp_path / "map.dm4")
    with pytest.raises(TypeError, match="must be a result"):
        xfit.save(data.values, tmp_path / "map.nc")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="no folder"):
        xfit.save(data, tmp_path / "nowhere" / "map.nc")
    with pytest.raises(ValueError, match="no result"):
        xfit.save(xr.Dataset({"a": data}), tmp_path / "map.csv")
    with pytest.raises(TypeError, match=r"complex128.*netCDF"):
        xfit.save(data.astype(complex), tmp_path / "map.nc")
    with pytest.raises(TypeError, match="overwrite='yes'"):
        xfit.save(data, tmp_path / "map.nc", overwrite="yes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rise or fall"):
        xfit.save(data.assign_coords(y=[0.0, 2, 1]), tmp_path / "map.hspy")
    with pytest.raises(ValueError, match="only zarr"):
        xfit.save(data, "memory://map.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["hspy", "zspy", "zarr"])
def test_complex_data(tmp_path: Path, suffix: str) -> None:
    da = xr.DataArray(np.array([1 + 2j, 3 - 1j]), dims="x", name="wave")
    xfit.save(da, tmp_path / f"wave.{suffix}")
    opened = xfit.open(tmp_path / f"wave.{suffix}")
    np.testing.assert_array_equal(opened, da)
    with pytest.raises(TypeError, match="complex"):
        opened.fit.multifit(xfit.Model([xfit.components.Offset()]))


def test_urls() -> None:
    da = peak_map((2, 2))
    xfit.save(da, "memory://files/map.zarr")
    with pytest.raises(FileExistsError):
        xfit.save(da, "memory://files/map.zarr")
    xfit.save(da + 1, "memory://files/map.zarr", overwrite=True)
    np.testing.assert_array_equal(xfit.open("memory://files/map.zarr"), da + 1)


def test_formats_are_those_of_the_docstring() -> None:
    assert all(suffix in (xfit.save.__doc__ or "") for suffix in saving._WRITERS if suffix != ".nc4")
