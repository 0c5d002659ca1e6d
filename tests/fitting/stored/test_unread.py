"""Numbers of a data store that can't be unpacked: errors name the store, the array and the part."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.opened import open_array
from xfit.components import Offset
from xfit.fitting.stored.info import info
from xfit.fitting.stored.unread import UnreadError

CHUNKS = 6

#: So many that the damaged one is not among those that the fingerprint is of.
MANY = 40


@pytest.fixture(params=[2, 3])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A map whose fifth chunk of six, rows 8 and 9, is cut short."""
    e = np.arange(16.0)
    da = xr.DataArray(
        np.random.default_rng(0).random((2 * CHUNKS, 3, 16)), dims=("y", "x", "e"), coords={"e": e}, name="counts"
    )
    place = tmp_path / "map.zarr"
    da.chunk(y=2).to_dataset().to_zarr(place, zarr_format=request.param, consolidated=False)
    damaged = place / "counts" / ("4.0.0" if request.param == 2 else "c/4/0/0")
    damaged.write_bytes(damaged.read_bytes()[:20])
    return place


def model() -> xfit.Model:
    return xfit.Model([Offset(name="b")])


def test_what_is_read_here(store: Path, tmp_path: Path) -> None:
    da = open_array(store, chunks="file")
    words = re.escape(f"{store}: numbers of 'counts' can't be read, in the part [8:10, 0:3, 0:16]")
    with pytest.raises(UnreadError, match=words):
        da.load()
    da = open_array(store, chunks="file")
    with pytest.raises(UnreadError, match=words):
        da.fit.multifit(model()).compute()
    with pytest.raises(UnreadError, match=words):
        da.fit.samfire(model(), seeds=[(8, 0)], variance=1.0, progress=False)
    # What is not damaged is read.
    assert np.isfinite(da.isel(y=slice(0, 8)).values).all()


def test_stored_runs(store: Path, tmp_path: Path) -> None:
    # Of few chunks all are read before the run, for its fingerprint; of more, the run goes on and says which could not
    # be read.
    da = xfit.open(store, chunks="file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            da.fit.multifit(model(), store=tmp_path / "fit.zarr", progress=False)
        except UnreadError as error:
            said = str(error)
        else:
            said = info(tmp_path / "fit.zarr").unread[4]
    assert f"{store}: numbers of 'counts' can't be read" in said
    assert "[8:10, 0:3, 0:16]" in said


def test_a_run_of_many_chunks_goes_on(tmp_path: Path) -> None:
    da = xr.DataArray(np.ones((MANY, 16)), dims=("y", "e"), name="counts")
    da.chunk(y=1).to_dataset().to_zarr(tmp_path / "map.zarr", consolidated=False)
    bad = 3
    (tmp_path / "map.zarr" / "counts" / "c" / str(bad) / "0").write_bytes(b"damaged")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        xfit.open(tmp_path / "map.zarr", chunks="file").fit.multifit(
            model(), store=tmp_path / "fit.zarr", progress=False
        )
    found = info(tmp_path / "fit.zarr")
    assert found.done == MANY - 1
    assert (
        f"{tmp_path}/map.zarr: numbers of 'counts' can't be read, in the part [{bad}:{bad + 1}, 0:16]"
        in found.unread[bad]
    )


@pytest.mark.slow
def test_on_a_cluster(store: Path) -> None:
    from distributed import Client, LocalCluster

    da = xfit.open(store, chunks="file")
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
        pytest.raises(UnreadError, match="'counts'"),
    ):
        da.fit.multifit(model()).compute()
