"""Preview: what a sample says of a map, and how little of it is read."""

from __future__ import annotations

import sys
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dask.array
import numpy as np
import pytest
import xarray as xr
from dask.system import CPU_COUNT

import xfit
from tests.support.builders import from_source, one_peak, peak_map, two_peaks
from tests.support.samfire_maps import drifting, peak
from xfit.command.reading import in_chunks
from xfit.components import Offset
from xfit.files.chunking import automatic
from xfit.fitting.running.map_blocks import one_thread, threads_for


def test_a_map_that_fits_well() -> None:
    da = peak_map((30, 20))
    found = da.fit.preview(two_peaks(), n=50)
    assert (found.pixels, found.sampled) == (600, 50)
    assert found.statuses == {"converged": 50}
    assert found.converged == found.converged_from_mean == 1
    assert found.fits_per_second > 0
    assert found.seconds == pytest.approx(600 / found.fits_per_second / found.workers)
    assert np.isnan(found.bytes_per_second)
    assert found.chunks == {}
    # The sample's fits are those of the map.
    whole = da.fit.multifit(two_peaks())
    assert np.isin(found.fit["chisq"].values, whole["chisq"].values).all()
    # The fit of the mean is a start, and the mean of the map's values to a few of their errors.
    assert set(found.start) == {str(p) for p in whole.param.values[whole.free.values]}
    middle = float(whole.fit["left.centre"].mean())
    assert found.start["left.centre"] == pytest.approx(middle, abs=0.2)
    text = str(found)
    for words in ("50 of 600 pixels", "fits/s and thread", "ended     100.0% converged", "left.centre", "MiB a thread"):
        assert words in text
    again = da.fit.preview(two_peaks(), n=50)
    assert again.fit.identical(found.fit)


def test_few_chunks_are_read() -> None:
    """Of 100 chunks, eight; and no more pixels than asked for."""
    lazy, source = from_source(peak_map((100, 10)), {"y": 5, "x": 2})
    found = lazy.fit.preview(two_peaks(), n=40)
    assert found.sampled == 40
    assert 1 <= len(source.reads) <= 8
    assert found.bytes_per_second > 0


def test_ten_terabytes() -> None:
    """A map of 1.2e9 spectra in chunks that are too small: as quick as any, and better chunks are suggested."""
    da = xr.DataArray(dask.array.ones((40_000, 30_000, 1024), "f8", chunks=(10, 10, 1024)), dims=("y", "x", "e"))
    found = da.fit.preview(xfit.Model([Offset(name="o")]), n=20)
    assert found.pixels == 1_200_000_000
    assert found.statuses == {"converged": 20}
    side = found.chunks["y"]
    assert found.chunks == {"y": side, "x": side, "e": -1}
    assert 32 << 20 <= side**2 * 8192 <= 128 << 20
    assert f"da.chunk({found.chunks})" in str(found)
    assert found.memory > 100 * 8192


def test_a_start_that_serves_few_pixels() -> None:
    """The share of the sample that ends at the truth is that of the map."""
    da, centre = drifting((24, 24))
    variance = np.maximum(da, 1)
    found = da.fit.preview(peak(), n=200, variance=variance)
    right = abs(found.fit.fit["g.centre"] - centre.isel(found_places(found, da))) < 1
    whole = abs(da.fit.multifit(peak(), variance=variance).fit["g.centre"] - centre) < 1
    share = float(whole.mean())
    assert 0.1 < share < 0.5
    # Three standard deviations of 200 draws.
    assert float(right.mean()) == pytest.approx(share, abs=3 * np.sqrt(share * (1 - share) / 200))
    assert found.converged == pytest.approx(found.statuses["converged"] / 200)


def found_places(found, da) -> dict[str, xr.DataArray]:
    """Where the sample's pixels lie, by their coordinates."""
    return {
        d: xr.DataArray(np.searchsorted(da[d].values, found.fit[d].values), dims="sample", coords=found.fit[d].coords)
        for d in ("y", "x")
    }


def test_maps_among_the_options() -> None:
    da = peak_map((12, 9)).chunk(y=4)
    low = da.isel(energy=0, drop=True) * 0 - 10
    options = {"variance": xr.full_like(da, 0.04), "where": da > -9, "bounds": {"left.centre": (low, 1e6)}}
    found = da.fit.preview(two_peaks(), n=20, **options)
    whole = da.fit.multifit(two_peaks(), **options).compute()
    assert np.isin(found.fit["chisq"].values, whole["chisq"].values).all()
    assert int(found.mean["status"]) == 1


def test_data_that_cannot_be_fitted() -> None:
    da = peak_map((6, 5))
    da[:3] = np.nan
    found = da.fit.preview(two_peaks(), n=30)
    assert found.statuses == {"converged": 15, "bad_data": 15}
    assert "failed    50.0% fewer usable channels" in str(found)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"n": 0}, ValueError, "n=0 must be"),
        ({"n": 2.5}, ValueError, "n=2.5 must be"),
        ({"optimizer": "newtoon"}, ValueError, "unknown optimizer"),
        ({"varience": 1.0}, TypeError, "varience"),
    ],
)
def test_refusals(options, error, words) -> None:
    lazy, source = from_source(peak_map((6, 5)), {"y": 2})
    with pytest.raises(error, match=words):
        lazy.fit.preview(two_peaks(), **options)
    assert source.reads == []


def test_a_single_spectrum_is_no_map() -> None:
    with pytest.raises(ValueError, match="preview is for maps"):
        peak_map((2, 2))[0, 0].fit.preview(two_peaks())


@pytest.mark.parametrize(
    "options", [{"loss": "poisson"}, {"variance": "poisson"}, {"variance": 50.0}, {"variance": "map"}], ids=str
)
def test_chi_squared_of_the_mean(options) -> None:
    """The mean of 60 pixels has a sixtieth of their variance, however that is given: its
    reduced chi-squared is about one.
    """
    counts = np.random.default_rng(3).poisson(50.0, (6, 10, 400)).astype(float)
    da = xr.DataArray(counts, dims=("y", "x", "e"))
    given = {"variance": xr.full_like(da, 50.0)} if options.get("variance") == "map" else options
    found = da.fit.preview(xfit.Model([Offset(name="o", offset=40.0)]), n=60, **given)
    # Of 399 degrees of freedom, four standard deviations of a chi-squared distribution are 4 sqrt(2 / 399) = 0.28.
    assert float(found.mean["red_chisq"]) == pytest.approx(1.0, abs=0.28)


def test_the_configuration_of_dask_is_that_of_others(tmp_path, monkeypatch) -> None:
    """It is one for all threads: what one sets for a while, another finds set, and leaves so for good."""
    setters: list[str] = []
    original = dask.config.set

    def recorded(*args: Any, **kwargs: Any) -> Any:
        setters.append(str(sys._getframe(1).f_globals["__name__"]))
        return original(*args, **kwargs)

    monkeypatch.setattr(dask.config, "set", recorded)
    da = peak_map((4, 5)).rename("counts")
    plain = da.to_dataset().drop_encoding()
    plain.to_netcdf(tmp_path / "map.nc", engine="h5netcdf")
    opened = xfit.open(tmp_path / "map.nc")
    assert opened.chunks is not None
    data = in_chunks(da, da.dims[-1:], {"y": 2}, 1)
    assert data.chunksizes["y"] == (2, 2)
    data.fit.preview(one_peak(), n=4)
    data.fit.multifit(one_peak(), store=tmp_path / "fit.zarr", progress=False)
    data.fit.samfire(one_peak(), seeds=[(0, 0)], variance=1e6, progress=False)
    assert [name for name in setters if name.startswith("xfit")] == []


def test_a_preview_is_of_one_thread_and_others_are_not_held_up() -> None:
    with one_thread():
        assert threads_for(8) == 1
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(threads_for, 8).result() == min(CPU_COUNT, 8)
    assert threads_for(8) == min(CPU_COUNT, 8)


@pytest.mark.parametrize("limit", [1 << 10, 1 << 16])
def test_chunks_are_those_of_dask(limit: int) -> None:
    """``da.chunk`` with dask's own limit set to it."""
    da = xr.DataArray(np.zeros((30, 40, 16)), dims=("y", "x", "e"))
    wanted: dict[Hashable, Any] = {"y": "auto", "x": 5, "e": -1}
    with dask.config.set({"array.chunk-size": limit}):
        expected = da.chunk(wanted).chunks
    assert automatic(da, wanted, limit).chunks == expected
