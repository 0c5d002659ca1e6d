"""Files that earlier versions wrote are read, with the numbers that were noted when they
were written, or refused by name.
"""

from __future__ import annotations

import json
import runpy
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.paths import DATA
from xfit.fitting.stored.info import info
from xfit.plot.open_stored import open_fit

GOLDEN = DATA / "golden"
MAKE = runpy.run_path(str(GOLDEN / "make.py"))

#: Revisions whose runs are read but not gone on with: their words for options, or for functions, were others.
REFUSED = frozenset({"45248b9", "9fa9e85", "1cc3b1a", "samfire-2"})

#: Versions that a run must have been made with to go on.
NOW = {"xfit": xfit.__version__, "dask": dask.__version__}

#: Of minima that were found by another version, another compiler or another processor.
SAME = {"rtol": 1e-7, "atol": 1e-9}


def folders(file: str) -> list[Any]:
    """A parameter for each revision that wrote a file of this name."""
    found = sorted(each.parent for each in GOLDEN.glob(f"*/{file}"))
    assert found, file
    return [pytest.param(each, id=each.name) for each in found]


def noted(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "noted.json").read_text()))


def unpacked(file: Path, to: Path) -> Path:
    with zipfile.ZipFile(file) as archive:
        archive.extractall(to)
    return to


def agree(fit: xr.Dataset, numbers: dict[str, Any], **tolerance: float) -> None:
    """Numbers as they were noted; to the bit unless a tolerance is given."""
    assert [str(name) for name in fit["param"].values] == numbers["param"]
    limits: dict[str, Any] = {"rtol": 0, **tolerance}
    for name in ("value", "stderr", "chisq", "status"):
        wanted = np.array(numbers[name], float)
        wanted[wanted == -1e300] = np.nan  # JSON has no NaN
        np.testing.assert_allclose(fit[name].values, wanted, err_msg=name, **limits)


@pytest.mark.parametrize("folder", folders("model.json"))
def test_models(folder: Path) -> None:
    made = xfit.Model.from_file(folder / "model.json")
    wanted = noted(folder)["model"]
    found = json.loads(made.to_json())
    # What later versions added is there with its default; all else is as it was.
    assert found["response"] is None
    for given, read in zip(wanted["components"], found["components"], strict=True):
        assert {**read, **given} == read, given["name"]
    if (folder / "model.toml").exists():
        assert xfit.Model.from_file(folder / "model.toml").to_json() == made.to_json()


@pytest.mark.parametrize("folder", folders("result.nc"))
def test_results_in_netcdf(folder: Path) -> None:
    with xr.open_dataset(folder / "result.nc") as fit:
        check_result(fit, noted(folder)["result"])


@pytest.mark.parametrize("folder", folders("result.zarr.zip"))
def test_results_in_zarr(folder: Path, tmp_path: Path) -> None:
    fit = xr.open_zarr(unpacked(folder / "result.zarr.zip", tmp_path), consolidated=False)
    check_result(fit, noted(folder)["result"])


def check_result(fit: xr.Dataset, numbers: dict[str, Any]) -> None:
    """A result whose model, maps and curves are there."""
    agree(fit, numbers)
    assert [component.name for component in fit.fit.model] == ["line", "level", "ghost"]
    # Closed form: the width of a Gaussian at half its height.
    np.testing.assert_allclose(fit.fit["line.fwhm"], np.sqrt(8 * np.log(2)) * fit.fit["line.sigma"], rtol=1e-12)
    # The data are the curve, a ripple of 0.125 and rounding.
    assert float(abs(fit.fit.residual(MAKE["data"]())).max()) < 0.2
    assert "converged" in fit.fit.report()


@pytest.mark.parametrize("folder", folders("run.zarr.zip"))
def test_runs_in_stores(folder: Path, tmp_path: Path) -> None:
    store = unpacked(folder / "run.zarr.zip", tmp_path)
    agree(open_fit(str(store))[0], noted(folder)["run"])
    found = info(store)
    assert (found.total, found.done, found.pixels, found.converged) == (4, 4, 8, 8)


@pytest.mark.parametrize("folder", folders("run_part.zarr.zip"))
def test_runs_that_go_on(folder: Path, tmp_path: Path) -> None:
    store = unpacked(folder / "run_part.zarr.zip", tmp_path)
    assert info(store).done == 3
    da = MAKE["data"]().chunk(y=1, x=2)
    numbers = noted(folder)
    first = json.loads(json.loads((store / "zarr.json").read_text())["attributes"]["xfit_run"])["format"] == 1
    if first or numbers["dask"] != dask.__version__:
        # By name, and what was there stays: the first format has no checksums to go on by, and words for options are
        # dask's tokens.
        with pytest.raises(ValueError, match=rf"{store}.*differs in|{store}.*format 1"):
            da.fit.multifit(MAKE["model"](), store=store, resume=True, progress=False)
        agree(open_fit(str(store))[0], numbers["run"])
    else:
        agree(da.fit.multifit(MAKE["model"](), store=store, resume=True, progress=False), numbers["run"], **SAME)


@pytest.mark.parametrize("folder", folders("models.zarr.zip"))
def test_models_beside_a_signal(folder: Path, tmp_path: Path) -> None:
    store = unpacked(folder / "models.zarr.zip", tmp_path)
    kept = xfit.models(store)
    assert list(kept) == ["whole", "a part"]
    # The signal is told to be the same: no warning, which tests turn into an error.
    agree(kept.restore("whole"), noted(folder)["models"])
    assert kept["whole"].dims == {"y": 2, "x": 4, "e": 24}
    assert kept["a part"].components == ("line", "level", "ghost")
    kept.store(kept.restore("a part").compute(), "again")
    kept.remove("whole")
    assert list(xfit.models(store)) == ["a part", "again"]


@pytest.mark.parametrize("folder", folders("samfire.zip"))
def test_samfire_runs(folder: Path, tmp_path: Path) -> None:
    store = unpacked(folder / "samfire.zip", tmp_path / "run")
    noted_then = noted(folder)
    numbers = noted_then["samfire"]
    if (store / "layout.json").exists():
        agree(open_fit(str(store))[0], numbers)
    else:
        with pytest.raises(ValueError, match="has not said yet what its result will be like; begin it again"):
            open_fit(str(store))
    before = {each.name: each.read_bytes() for each in (store / "visits").iterdir()}
    again = partial(
        MAKE["data"]().chunk(y=2, x=2).fit.samfire, MAKE["model"](), seeds=[(0, 0)], store=str(store), progress=False
    )
    if folder.name in REFUSED or any(noted_then[name] != now for name, now in NOW.items()):
        # A run goes on in the version that it was begun with alone, and its words for options are dask's tokens.
        with pytest.raises(ValueError, match=rf"{store}.*differs in: .*(model and options|xfit)"):
            again()
    else:
        agree(again().compute(), numbers, **SAME)
    # All was done: nothing is fitted again.
    assert {each.name: each.read_bytes() for each in (store / "visits").iterdir()} == before
