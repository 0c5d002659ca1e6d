"""Maps that are stored plane by plane: their spectra lie in as many chunks as they have channels."""

from __future__ import annotations

import warnings
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster

from tests.support.builders import assert_same_bits, peak_map, two_peaks
from xfit.arrays.whole_spectra import whole_signals
from xfit.fitting.running.clients import active_client

#: Whole spectra of 5 x 4 pixels, 60 channels each, are more than this.
SMALL = {"array.chunk-size": "9 kB"}


@pytest.fixture
def da() -> xr.DataArray:
    return peak_map((20, 12))


@pytest.fixture
def planes(da, tmp_path) -> xr.DataArray:
    """The map in a file, a chunk for each channel."""
    da.rename("a").to_dataset().to_zarr(
        tmp_path / "map.zarr", encoding={"a": {"chunks": (20, 12, 1)}}, consolidated=False
    )
    return xr.open_zarr(tmp_path / "map.zarr", consolidated=False).a


@pytest.fixture(scope="module")
def client():
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        yield client


def test_chunks_of_the_map_stay_when_whole_spectra_are_small(da):
    lazy = da.chunk({"y": 10, "x": 6, da.dims[-1]: 20})
    with pytest.warns(
        UserWarning,
        match=(
            r"several chunks .* 112\.50 kiB are read and rearranged before the fit \(3 pieces to a chunk of 28\.12 "
            r"kiB\)"
        ),
    ):
        whole = whole_signals(lazy, da.dims[-1:], "fit", stacklevel=1, client=active_client())
    assert whole.chunks == ((10, 10), (6, 6), (60,))
    np.testing.assert_array_equal(whole, da)


def test_chunks_of_the_map_are_cut_when_whole_spectra_are_large(planes, da):
    with (
        dask.config.set(SMALL),
        pytest.warns(UserWarning, match=r"each of the data's goes into (\d+) of them.*LocalCluster") as found,
    ):
        whole = whole_signals(planes, da.dims[-1:], "fit", stacklevel=1, client=active_client())
    assert whole.chunksizes[da.dims[-1]] == (60,)
    assert max(map(np.prod, zip(*[whole.chunksizes[d] for d in da.dims[:2]], strict=False))) * 480 <= 9000
    assert f"goes into {whole.data.npartitions} of them" in str(found[0].message)
    np.testing.assert_array_equal(whole, da)


def test_one_spectrum_larger_than_a_chunk_is_no_reason_to_fail(da):
    lazy = da.chunk({da.dims[-1]: 30})
    with dask.config.set({"array.chunk-size": "100 B"}), pytest.warns(UserWarning, match="several chunks"):
        whole = whole_signals(lazy, da.dims[-1:], "fit", stacklevel=1, client=active_client())
    assert whole.data.chunksize[-1] == 60
    assert whole.data.chunksize[:2] == (1, 1)


@pytest.mark.parametrize("how", ["lazy", "stored", "samfire"])
def test_the_same_fit_on_threads(how, planes, da, tmp_path):
    with dask.config.set(SMALL), pytest.warns(UserWarning, match="several chunks"):
        check(how, planes, da, tmp_path)


# Before there is a cluster for the tests below, which would take it over.
@pytest.mark.slow
def test_data_rearranged_by_a_cluster_that_is_gone(planes, da, tmp_path):
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
        dask.config.set({"array.rechunk.method": "p2p"}),
    ):
        chunked = planes.chunk({"y": 5, "x": 4, da.dims[-1]: -1})
    with pytest.raises(ValueError, match=r"rearranged by a cluster \(dask's p2p\), and no client is active"):
        chunked.fit.multifit(two_peaks(), store=tmp_path / "fit.zarr", progress=False)
    assert not (tmp_path / "fit.zarr").exists()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["lazy", "stored", "samfire"])
def test_the_same_fit_on_a_cluster(how, planes, da, tmp_path, client):
    with dask.config.set(SMALL), pytest.warns(UserWarning, match="through the disks of the cluster's workers"):
        check(how, planes, da, tmp_path)


def check(how: str, planes: xr.DataArray, da: xr.DataArray, folder: Path) -> None:
    """The fit of the planes is that of the map in memory."""
    if how == "lazy":
        assert_same_bits(planes.fit.multifit(two_peaks()).compute(), da.fit.multifit(two_peaks()))
    elif how == "stored":
        fit = planes.fit.multifit(two_peaks(), store=folder / "fit.zarr", progress=False)
        assert_same_bits(fit.compute(), da.fit.multifit(two_peaks()))
    else:
        seeded = {"seeds": [(3, 3)], "variance": 1.0, "goodness": lambda red_chisq: red_chisq < 1e9, "progress": False}
        fit = planes.fit.samfire(two_peaks(), **seeded)
        # SAMFire's numbers depend on the chunks: the same ones.
        whole = planes.compute().chunk({d: fit.chunksizes[d] for d in da.dims[:2]})
        assert_same_bits(fit.compute(), whole.fit.samfire(two_peaks(), **seeded).compute())


@pytest.mark.slow
def test_a_cluster_reads_every_plane_once(da, client, tmp_path):
    seen = tmp_path / "seen"
    seen.mkdir()

    def read(block, block_info=None):
        number = block_info[0]["chunk-location"][-1]
        with (seen / str(number)).open("a") as file:
            file.write("x")
        return block

    planes = da.chunk({da.dims[-1]: 1})
    planes = planes.copy(data=planes.data.map_blocks(read, dtype=float, meta=np.empty((0, 0, 0))))
    with dask.config.set(SMALL), pytest.warns(UserWarning, match="several chunks"):
        fit = planes.fit.multifit(two_peaks(), store=tmp_path / "fit.zarr", progress=False)
    # Those of which the fingerprint is made are read for that too.
    counts = sorted(path.read_text() for path in seen.iterdir())
    assert len(counts) == 60
    assert counts == ["x"] * 57 + ["xx"] * 3
    assert_same_bits(fit.compute(), da.fit.multifit(two_peaks()))


@pytest.mark.slow
def test_data_that_a_user_had_rearranged_by_a_cluster(planes, da, client, tmp_path):
    with dask.config.set({"array.rechunk.method": "p2p"}):
        chunked = planes.chunk({"y": 5, "x": 4, da.dims[-1]: -1})
    expected = da.fit.multifit(two_peaks())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit = chunked.fit.multifit(two_peaks(), store=tmp_path / "fit.zarr", progress=False)
    assert_same_bits(fit.compute(), expected)
    resumed = chunked.fit.multifit(two_peaks(), store=tmp_path / "fit.zarr", resume=True, progress=False)
    assert_same_bits(resumed.compute(), expected)
