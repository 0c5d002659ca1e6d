"""Models beside a signal: kept whole or not at all, told apart by name, and no signal taken for another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import MemoryStore

import xfit
from tests.support.builders import assert_same_bits, peak_map, two_peaks
from xfit.components import Gaussian, Offset
from xfit.fitting.stored.model_store import SignalChangedWarning

CHUNKS = {"y": 4, "x": 3}


def signal_in(store: Any, **how: Any) -> xr.DataArray:
    """A map in a store, as it is opened."""
    da = peak_map((6, 5)).rename("counts").chunk(CHUNKS)
    with warnings.catch_warnings():
        # zarr's, of metadata that are consolidated in version 3.
        warnings.simplefilter("ignore")
        da.to_dataset().to_zarr(store, **how)
    return xr.open_zarr(store, chunks={}, consolidated=how.get("consolidated"))["counts"]


def one_peak() -> xfit.Model:
    return xfit.Model([Gaussian(name="left", A=40, centre=6, sigma=1.2), Offset(name="bg", offset=1)])


@pytest.fixture
def da(tmp_path: Path) -> xr.DataArray:
    return signal_in(tmp_path / "map.zarr", consolidated=False)


@pytest.mark.parametrize("consolidated", [True, False])
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("place", ["path", "memory URL", "memory store"])
def test_there_and_back_and_the_signal_stays(tmp_path, place, zarr_format, consolidated) -> None:
    store = {
        "path": str(tmp_path / "map.zarr"),
        "memory store": MemoryStore(),
        "memory URL": f"memory://models-{zarr_format}-{consolidated}.zarr",
    }[place]
    da = signal_in(store, zarr_format=zarr_format, consolidated=consolidated)
    before = xr.open_zarr(store, consolidated=consolidated).load()
    kept = xfit.models(store)
    assert len(kept) == 0
    fit = da.fit.multifit(two_peaks(), covariance=True)
    kept.store(fit)
    kept.store(da.compute().fit.multifit(one_peak()), "one peak")
    assert list(xfit.models(store)) == ["a", "one peak"]
    assert "a" in kept
    assert "b" not in kept
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = kept.restore("a")
    assert again["value"].chunks is not None
    assert again.fit.model == two_peaks()
    assert_same_bits(again.compute(), fit.compute())
    assert {k: v for k, v in again.attrs.items()} == fit.attrs
    # The signal's own Dataset has nothing of it, also where its metadata are consolidated anew.
    xr.testing.assert_identical(xr.open_zarr(store, consolidated=consolidated).load(), before)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(store, zarr_format=zarr_format)
    xr.testing.assert_identical(xr.open_zarr(store, consolidated=True).load(), before)
    kept.remove("a")
    assert list(kept) == ["one peak"]
    assert kept["one peak"].restore().fit.model == one_peak()


def test_what_is_listed(da, tmp_path) -> None:
    kept = xfit.models(tmp_path / "map.zarr")
    assert repr(kept).startswith("<xfit models (0) beside ")
    fit = da.compute().fit.multifit(two_peaks())
    entry = kept.store(fit, "two peaks")
    assert entry.components == ("left", "right", "bg")
    assert entry.dims == {"y": 6, "x": 5, "energy": da.sizes["energy"]}
    # By NumPy, from the map itself.
    assert entry.red_chisq == np.nanmedian(fit["red_chisq"].values)
    assert entry.model == two_peaks()
    now = time.strftime("%Y-%m-%d", time.gmtime())
    assert entry.date.startswith(now)
    for words in (repr(kept), kept._repr_html_()):
        for part in ("two peaks", "left, right, bg", now, "y: 6, x: 5, energy", f"{entry.red_chisq:.5g}"):
            assert part in words
    assert max(map(len, repr(kept).splitlines())) <= 80
    with pytest.raises(KeyError, match=r"no model 'two peak'; did you mean 'two peaks'\?"):
        kept.restore("two peak")
    with pytest.raises(KeyError, match="no model 'x'"):
        kept.remove("x")


def test_names(da, tmp_path) -> None:
    kept = xfit.models(tmp_path / "map.zarr")
    fit = da.isel(y=slice(0, 1)).compute().fit.multifit(one_peak())
    for _ in range(3):
        kept.store(fit)
    kept.remove("b")
    assert kept.store(fit).name == "b"
    assert sorted(kept) == ["a", "b", "c"]
    for wrong in ("", "a/b", "a.b", "../a", " a", "a ", "x" * 101, 5, "a\n"):
        with pytest.raises(ValueError, match="must be text of letters"):
            kept.store(fit, wrong)
    with pytest.raises(ValueError, match="upper and lower case"):
        kept.store(fit, "A")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        kept.store(fit, "a")
    other = da.compute().fit.multifit(two_peaks())
    kept.store(other, "a", overwrite=True)
    assert_same_bits(kept.restore("a").compute(), other)
    assert len(kept) == 3


def test_a_model_replaced_by_what_is_read_from_it(da, tmp_path) -> None:
    """A lazy fit may read from what it replaces."""
    kept = xfit.models(tmp_path / "map.zarr")
    kept.store(da.fit.multifit(one_peak()), "a")
    lazy = kept.restore("a")
    expected = lazy.compute()
    kept.store(lazy.assign(nfev=lazy.nfev + 1), "a", overwrite=True)
    assert (kept.restore("a")["nfev"] == expected["nfev"] + 1).all()
    assert_same_bits(kept.restore("a").compute()[["value"]], expected[["value"]])


def test_a_signal_that_has_changed(da, tmp_path) -> None:
    place = tmp_path / "map.zarr"
    kept = xfit.models(place)
    kept.store(da.fit.multifit(one_peak()))
    array = zarr.open_array(place, path="counts", mode="r+")
    value: Any = array[5, 4, 7]
    array[5, 4, 7] = value + 1
    with pytest.warns(SignalChangedWarning, match="'counts' in .* it differs in: content. Fit it again"):
        assert kept.restore("a").fit.model == one_peak()
    array[5, 4, 7] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept.restore("a")
    energy = zarr.open_array(place, path="energy", mode="r+")
    energy[0] = -1.0
    with pytest.warns(SignalChangedWarning, match="differs in: coordinates: energy"):
        kept["a"].restore()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept.restore("a", check=False)
    root = zarr.open_group(place, mode="r+")
    del root["counts"]
    with pytest.warns(SignalChangedWarning, match="its name: there is none"):
        kept.restore("a")
    for name in ("energy", "y", "x"):
        del root[name]
    other = peak_map((7, 5)).rename("counts").astype(np.float32).chunk(CHUNKS).drop_vars(["energy", "y", "x"])
    other.to_dataset().to_zarr(place, mode="a", consolidated=False)
    with pytest.warns(
        SignalChangedWarning, match=r"y \(stored 6, given 7\).*dtype \(stored 'float64', given 'float32'\)"
    ):
        kept.restore("a")


def test_a_change_in_a_signal_that_is_sampled(da, tmp_path, monkeypatch) -> None:
    """Of large signals some chunks are read, the first and the last among them."""
    monkeypatch.setattr("xfit.fitting.stored.fingerprint.WHOLE", 10)
    kept = xfit.models(tmp_path / "map.zarr")
    kept.store(da.fit.multifit(one_peak()))
    array = zarr.open_array(tmp_path / "map.zarr", path="counts", mode="r+")
    value: Any = array[0, 0, 0]
    array[0, 0, 0] = value + 1
    with pytest.warns(SignalChangedWarning, match="content"):
        kept.restore("a")


def test_fits_that_are_not_of_the_signal(da, tmp_path) -> None:
    kept = xfit.models(tmp_path / "map.zarr")
    with pytest.raises(TypeError, match="fit must be the Dataset that a fit returns, not DataArray"):
        kept.store(da)
    with pytest.raises(ValueError, match="no result of a fit"):
        kept.store(da.to_dataset())
    loaded = da.compute()
    with pytest.raises(ValueError, match=r"along 'energy' it has .* which the signal has not"):
        kept.store(loaded.assign_coords(energy=loaded.energy + 0.1).fit.multifit(one_peak()))
    with pytest.raises(ValueError, match="of which none have the dimensions of the fit"):
        kept.store(loaded.isel(y=0).fit.multifit(one_peak()))
    # Of a part of the map and of the channels, in chunks of no regular size.
    part = loaded.isel(y=slice(1, 5), energy=slice(10, 50))
    fit = part.chunk(y=(1, 2, 1), x=(2, 3)).fit.multifit(one_peak())
    kept.store(fit, "part")
    assert_same_bits(kept.restore("part").compute(), fit.compute())


def test_several_signals_in_a_store(tmp_path) -> None:
    da = peak_map((4, 3))
    xr.Dataset({"raw": da, "clean": da * 0.5}).to_zarr(tmp_path / "map.zarr", consolidated=False)
    kept = xfit.models(tmp_path / "map.zarr")
    fit = da.fit.multifit(one_peak())
    with pytest.raises(ValueError, match=r"\['clean', 'raw'\] have the dimensions of the fit.*name one"):
        kept.store(fit)
    kept.store(fit, variable="clean")
    assert kept["a"].signal["variable"] == "clean"


def test_what_can_hold_no_models(tmp_path) -> None:
    da = peak_map((4, 3)).rename("counts")
    da.to_netcdf(tmp_path / "map.nc")
    with pytest.raises(
        ValueError, match=r"is a file, .*\.to_zarr\('.*map\.zarr'\), or keep the fit in a file of its own"
    ):
        xfit.models(tmp_path / "map.nc")
    with pytest.raises(FileNotFoundError, match="there is no zarr group"):
        xfit.models(tmp_path / "absent.zarr")
    assert not (tmp_path / "absent.zarr").exists()
    da.fit.multifit(one_peak(), store=tmp_path / "fit.zarr")
    with pytest.raises(ValueError, match="holds a result; models are kept in the store of the signal"):
        xfit.models(tmp_path / "fit.zarr")
    with pytest.raises(TypeError, match="storage_options go with a URL"):
        xfit.models(tmp_path / "fit.zarr", {"anon": True})


def test_a_fit_that_fails_while_it_is_stored(da, tmp_path) -> None:
    fit = da.fit.multifit(one_peak())

    def fail(block: np.ndarray) -> np.ndarray:
        raise OSError("the disk is gone")

    broken = fit.assign(loss=fit.loss.copy(data=fit.loss.data.map_blocks(fail, dtype=float, meta=np.empty((0, 0)))))
    kept = xfit.models(tmp_path / "map.zarr")
    with pytest.raises(OSError, match="the disk is gone"):
        kept.store(broken)
    assert not list(kept)
    assert kept.unfinished == ("a",)
    kept.remove("a")
    assert kept.unfinished == ()
    assert kept.store(fit).name == "a"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_store_that_was_killed_is_not_taken_for_whole(da, tmp_path) -> None:
    """What is killed between its numbers and its end is not listed; what it was to replace is."""
    kept = xfit.models(tmp_path / "map.zarr")
    kept.store(da.fit.multifit(two_peaks()), "b")
    code = f"""
        import os, signal, xarray as xr, xfit
        from xfit.fitting.stored import model_store
        kept = xfit.models({str(tmp_path / "map.zarr")!r})
        model_store.StoredModels._median = lambda self, path: os.kill(os.getpid(), signal.SIGKILL)
        kept.store(kept.restore("b"), "b", overwrite=True)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=os.environ, check=False)
    assert run.returncode == -signal.SIGKILL
    assert list(kept) == ["b"]
    assert kept.unfinished == ("b",)
    assert "not stored to the end: b" in repr(kept)
    assert kept.restore("b").fit.model == two_peaks()
    kept.store(da.fit.multifit(one_peak()), "b", overwrite=True)
    assert kept.unfinished == ()
    assert kept.restore("b").fit.model == one_peak()
    assert len(list((tmp_path / "map.zarr" / "xfit_models").glob("b.*"))) == 1
