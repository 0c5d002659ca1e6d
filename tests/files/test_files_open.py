"""Files that other programs wrote, opened."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.opened import open_array, open_result
from tests.support.optional import optional
from tests.support.paths import DATA
from xfit.files.postprocess import Processed, settled
from xfit.files.signals import signal_to_array

hs = optional("hyperspy.api")


def spectra(shape=(3, 4, 20), dtype="int16"):
    s = hs.signals.Signal1D(np.random.default_rng(1).poisson(20, shape).astype(dtype))
    for axis, (name, units) in zip(
        reversed(s.axes_manager._axes), (("Energy", "eV"), ("x", "nm"), ("y", "nm")), strict=False
    ):
        axis.name, axis.units = name, units
    s.axes_manager[-1].offset, s.axes_manager[-1].scale, s.axes_manager[-1].is_binned = 100.0, 0.25, True
    s.metadata.General.title = "a map"
    return s


@pytest.mark.parametrize("lazy", [False, True])
def test_hspy(tmp_path: Path, lazy: bool) -> None:
    s = spectra()
    s.set_noise_variance(s + 1)
    data = s.data.copy()
    s.metadata.Signal.quantity = "Electrons (Counts)"
    s.original_metadata.set_item("A.b", [1, 2])
    (s.as_lazy() if lazy else s).save(tmp_path / "map.hspy")
    da = xfit.open(tmp_path / "map.hspy")
    assert da.dims == ("y", "x", "Energy")
    assert da.chunks is not None
    assert len(da.chunks[-1]) == 1
    np.testing.assert_array_equal(da, data)
    np.testing.assert_array_equal(da.variance, data + 1)
    np.testing.assert_array_equal(da.Energy, 100 + 0.25 * np.arange(20))
    assert da.Energy.attrs["is_binned"] == 1
    assert (da.name, da.attrs["units"], da.dtype) == ("a map", "Counts", np.int16)
    assert "original_metadata" not in da.attrs
    kept = open_array(tmp_path / "map.hspy", original_metadata=True).attrs["original_metadata"]
    assert json.loads(kept) == {"A": {"b": [1, 2]}}


def test_zspy_as_hyperspy_writes_it_with_zarr_2(tmp_path: Path) -> None:
    """A zip store by HyperSpy 2.5.0 and zarr 2.18: Poisson(20) counts by default_rng(0), with variance counts + 1."""
    counts = np.random.default_rng(0).poisson(20, (3, 4, 20))
    with zipfile.ZipFile(DATA / "hyperspy_eds.zspy") as file:
        file.extractall(tmp_path / "folder.zspy")
    for path in (DATA / "hyperspy_eds.zspy", tmp_path / "folder.zspy"):
        da = xfit.open(path)
        np.testing.assert_array_equal(da, counts)
        np.testing.assert_array_equal(da.variance, counts + 1)
        assert da.dims == ("y", "x", "Energy")
        assert da.attrs["Sample.elements"] == ["Cu", "Zn"]
        assert (da.attrs["signal_type"], da.Energy.attrs["units"], da.Energy.attrs["is_binned"]) == (
            "EDS_TEM",
            "keV",
            1,
        )
        np.testing.assert_allclose(da.Energy, -0.2 + 0.01 * np.arange(20), rtol=1e-15)


@pytest.mark.parametrize("zipped", [False, True])
def test_pickles_are_refused(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "bad.zspy"
    with zipfile.ZipFile(DATA / "hyperspy_eds.zspy") as file:
        file.extractall(path)
    # In all files that describe the array: which of them is read is up to zarr.
    for target in (path / "Experiments/map/metadata/Sample/_list_elements/.zarray", path / ".zmetadata"):
        if target.exists():
            target.write_text(target.read_text().replace("vlen-utf8", "pickle"))
    if zipped:
        shutil.make_archive(str(tmp_path / "bad"), "zip", path)
        path = Path(shutil.move(tmp_path / "bad.zip", tmp_path / "zipped.zspy"))
    with pytest.raises(ValueError, match="codec 'pickle'"):
        xfit.open(path)


def test_signal_type_and_units_tell_spectra_from_images() -> None:
    """As readers give maps of DigitalMicrograph: planes of energies, whose axes they mark as the signal."""
    axes = [
        {"name": "", "units": "eV", "scale": 2.0, "navigate": True},
        {"name": "y", "units": "nm", "navigate": False},
        {"name": "x", "units": "nm", "navigate": False},
    ]
    data = np.arange(24).reshape(4, 2, 3)
    signal = {"data": data, "axes": axes, "metadata": {"Signal": {"signal_type": "EELS"}}}
    da = signal_to_array(settled(signal, "DigitalMicrograph"))
    assert da.dims == ("y", "x", "energy")
    np.testing.assert_array_equal(da, data.transpose(1, 2, 0))
    assert da.energy.attrs["is_binned"] == 1  # as eXSpy has it for EELS and EDS
    # In HyperSpy's own files somebody chose the signal axes.
    assert signal_to_array(settled(signal, "HSPY")).dims == ("energy", "y", "x")
    # What a reader leaves to HyperSpy is done.
    signal |= {
        "metadata": {},
        "data": data[None],
        "axes": [{}, *axes],
        "post_process": [lambda s: s.squeeze(), lambda s: s.to_signal1D()],
    }
    assert signal_to_array(settled(signal, "DigitalMicrograph")).dims == ("y", "x", "energy")


def test_mapping_of_original_metadata() -> None:
    signal = {
        "data": np.zeros(2),
        "axes": [{}],
        "metadata": {},
        "original_metadata": {"Tags": {"kV": 200000.0}},
        "mapping": {
            "Tags.kV": ("Acquisition_instrument.TEM.beam_energy", lambda v: v / 1000),
            "Tags.no": ("a.b", None),
        },
    }
    assert signal_to_array(settled(signal, "X")).attrs == {"Acquisition_instrument.TEM.beam_energy": 200.0}
    colours = Processed({"data": np.zeros((2, 3, 3), "u1"), "axes": [{}, {}, {}]})
    colours.change_dtype("rgb8")
    assert (colours.data.shape, colours.data.dtype.names, len(colours.axes)) == ((2, 3), ("R", "G", "B"), 2)


def test_msa_and_blockfile(tmp_path: Path) -> None:
    s = spectra((20,), "float64")
    s.save(tmp_path / "one.msa")
    da = open_array(tmp_path / "one.msa")
    np.testing.assert_allclose(da.values, s.data, rtol=1e-6)  # written as text of seven digits
    np.testing.assert_allclose(da[da.dims[0]], 100 + 0.25 * np.arange(20))
    stack = hs.signals.Signal2D(np.random.default_rng(0).integers(0, 255, (3, 4, 5, 5)).astype("uint8"))
    stack.save(tmp_path / "scan.blo")
    da = open_array(tmp_path / "scan.blo")
    np.testing.assert_array_equal(da, stack.data)
    assert [da[d].attrs["navigate"] for d in da.dims] == [1, 1, 0, 0]


def test_several_signals(tmp_path: Path) -> None:
    one, two = (xr.DataArray(np.full(n, n), dims="e", name=f"s{n}") for n in (2, 3))
    xr.Dataset({"first": one.rename(e="a"), "second": two.rename(e="b")}).to_netcdf(tmp_path / "two.nc")
    found = xfit.open(tmp_path / "two.nc")
    assert list(found) == ["first", "second"]
    assert "(b: 3)" in repr(found)
    assert "Signals: 2" in repr(found)
    assert (found["second"] == 3).all()
    assert found[0].sizes == {"a": 2}
    assert xfit.open(tmp_path / "two.nc", signal="first").sizes == {"a": 2}
    assert xfit.open(tmp_path / "two.nc", signal=-1).sizes == {"b": 3}
    with pytest.raises(KeyError, match=r"'third'.*'first', 'second'"):
        xfit.open(tmp_path / "two.nc", signal="third")
    with pytest.raises(KeyError):
        xfit.open(tmp_path / "two.nc", signal=2)
    with pytest.raises(AttributeError, match="2 signals, which together have no 'fit'"):
        found.fit


def test_chunks(tmp_path: Path) -> None:
    data = dask.array.zeros((40, 40, 64), chunks=(10, 40, 16))
    xr.DataArray(data, dims=("y", "x", "e"), name="d").to_zarr(tmp_path / "map.zarr", consolidated=False)
    whole = xfit.open(tmp_path / "map.zarr")
    assert whole.chunks == ((40,), (40,), (64,))
    assert xfit.open(tmp_path / "map.zarr", chunks={}).chunks == data.chunks
    assert open_array(tmp_path / "map.zarr", chunks={"y": 20}).chunksizes["y"] == (20, 20)


def test_chunks_of_files_are_put_together_never_cut() -> None:
    from xfit.files.chunking import rechunked

    da = xr.DataArray(dask.array.zeros((300, 300, 1024), chunks=(7, 7, 1024)), dims=("y", "x", "e"))
    found = rechunked(da, None)
    assert found.chunks is not None
    assert found.chunks[2] == (1024,)
    assert all(n % 7 == 0 for side in found.chunks[:2] for n in side[:-1])
    assert 4 << 20 < np.prod([side[0] for side in found.chunks]) * 8 < 64 << 20
    planes = xr.DataArray(dask.array.zeros((1000, 1000, 1024), chunks=(1000, 1000, 1)), dims=("y", "x", "e"))
    assert rechunked(planes, None).chunks == planes.chunks


def test_zarr_array_by_itself(tmp_path: Path) -> None:
    import zarr

    zarr.create_array(tmp_path / "plain.zarr", data=np.arange(6.0).reshape(2, 3))
    da = xfit.open(tmp_path / "plain.zarr")
    assert da.dims == ("y", "x")
    np.testing.assert_array_equal(da, [[0, 1, 2], [3, 4, 5]])


def test_what_can_not_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file"):
        xfit.open(tmp_path / "map.hspy")
    for name in ("map.xyz", "map", "map.dm4", "map.h5", "map.hspy"):
        (tmp_path / name).write_text("no data")
    with pytest.raises(ValueError, match=r"nobody reads \.xyz.*DigitalMicrograph \(dm3 dm4\).*hspy.*fits"):
        xfit.open(tmp_path / "map.xyz")
    with pytest.raises(ValueError, match="without extension"):
        xfit.open(tmp_path / "map")
    with pytest.raises(ValueError, match="can't be read as DigitalMicrograph"):
        xfit.open(tmp_path / "map.dm4")
    with pytest.raises(ValueError, match="nor as netCDF"):
        xfit.open(tmp_path / "map.h5")
    with pytest.raises(ValueError, match=r"reader='Gattan'.*DigitalMicrograph"):
        xfit.open(tmp_path / "map.dm4", reader="Gattan")
    with pytest.raises(ValueError, match="only zarr"):
        xfit.open("s3://bucket/map.hspy")
    with pytest.raises(TypeError, match="storage_options"):
        xfit.open(tmp_path / "map.hspy", storage_options={"anon": True})


def test_reader_by_name(tmp_path: Path) -> None:
    spectra().save(tmp_path / "map.hspy")
    (tmp_path / "map.hspy").rename(tmp_path / "map.data")
    assert xfit.open(tmp_path / "map.data", reader="hspy").shape == (3, 4, 20)


def test_a_lazy_map_of_a_file_is_fitted_with_its_variance(tmp_path: Path) -> None:
    s = spectra()
    s.set_noise_variance(s + 1)
    s.save(tmp_path / "map.hspy")
    da = xfit.open(tmp_path / "map.hspy")
    fit = da.fit.multifit(
        xfit.Model([xfit.components.Offset(name="level")]), variance=da.variance, binned=False, scale_covariance=False
    ).compute()
    weights = 1 / (np.asarray(s.data, float) + 1)
    # The weighted mean and its error.
    np.testing.assert_allclose(fit.fit["level.offset"], (weights * s.data).sum(-1) / weights.sum(-1), rtol=1e-10)
    np.testing.assert_allclose(fit.fit.stderr("level.offset"), weights.sum(-1) ** -0.5, rtol=1e-10)


def test_files_do_not_stay_open_and_travel(tmp_path: Path) -> None:
    s = spectra()
    s.set_noise_variance(s + 1)
    s.save(tmp_path / "map.hspy")
    da = open_array(tmp_path / "map.hspy")
    import cloudpickle

    there = cloudpickle.loads(cloudpickle.dumps(da))
    np.testing.assert_array_equal(there, s.data)
    np.testing.assert_array_equal(there.variance, s.data + 1)
    # As nothing holds the file open, HDF5 lets others write to it.
    import h5py

    with h5py.File(tmp_path / "map.hspy", "a") as file:
        file["Experiments/a map/data"][0, 0, 0] = 77
    assert int(da[0, 0, 0]) == 77


def test_stored_fits_are_opened(tmp_path: Path) -> None:
    from tests.support.builders import assert_same_bits, one_peak, peak_map

    da = peak_map((2, 3)).chunk(y=1)
    fit = da.fit.multifit(one_peak(), store=tmp_path / "fit.zarr", progress=False)
    assert_same_bits(open_result(tmp_path / "fit.zarr").compute(), fit.compute())


def test_view_of_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from xfit.command import main
    from xfit.plot.dashboard import Dashboard

    shown = []
    monkeypatch.setattr(Dashboard, "show", lambda self, **options: shown.append(self))
    spectra().save(tmp_path / "map.hspy")
    da = xfit.open(tmp_path / "map.hspy")
    xfit.save(da.fit.multifit(xfit.Model([xfit.components.Offset(name="level")])), tmp_path / "fit.zarr")
    ran = CliRunner().invoke(main, ["view", str(tmp_path / "fit.zarr"), str(tmp_path / "map.hspy")])
    assert ran.exit_code == 0, ran.output
    assert len(shown) == 1
    ran = CliRunner().invoke(main, ["view", str(tmp_path / "fit.zarr"), str(tmp_path / "map.hspy"), "--variable", "no"])
    assert ran.exit_code == 1
    assert "'no' is not among them" in ran.output


def test_pickles_in_zarr_are_refused(tmp_path: Path) -> None:
    """Zarr refuses arrays of pickles, but not pickles behind another filter of format 2."""
    words = xr.Dataset({"d": ("x", np.array(["a", "b"], object))})
    words.to_zarr(tmp_path / "map.zarr", zarr_format=2, consolidated=False)
    target = tmp_path / "map.zarr" / "d" / ".zarray"
    described = json.loads(target.read_text())
    target.write_text(json.dumps(described | {"filters": [*described["filters"], {"id": "pickle", "protocol": 5}]}))
    with pytest.raises(ValueError, match="codec 'pickle'"):
        xfit.open(tmp_path / "map.zarr")
    with pytest.raises(ValueError, match="codec 'pickle'"):
        xfit.open(tmp_path / "map.zarr" / "d")
