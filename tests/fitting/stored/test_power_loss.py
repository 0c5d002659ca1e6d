"""Power that is lost at any moment, and files of which only what was synchronised is sure to be on the disk: the old is
there, or the new goes on.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import xfit
from tests.support.builders import assert_same_bits, two_peaks
from tests.support.checkpoint_runs import run, visits
from tests.support.opened import open_array, open_result
from tests.support.power import needs_linux, without_power
from tests.support.signal_models import fit_of, signal
from tests.support.two_runs import data, first, is_result, second
from xfit.command import main
from xfit.fitting.stored.archive import Archive
from xfit.fitting.stored.begin import DamagedStoreWarning
from xfit.fitting.stored.check import check
from xfit.plot.open_stored import open_fit

pytestmark = [
    needs_linux,
    pytest.mark.filterwarnings("ignore:Object at .* is not recognized as a component of a Zarr hierarchy"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def gone_on(run: Any, store: Path, **options: Any) -> xr.Dataset:
    """A run that fits again what was lost of chunks, whether their marks were or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamagedStoreWarning)
        return run(store, **options).compute()


def whole_chunks(store: Path) -> set[int]:
    """Chunks that are what their marks say."""
    archive = Archive(store)
    return set(archive.verify(archive.objects.sizes())[0])


def assert_whole_is_right(store: Path, expected: xr.Dataset) -> None:
    """Pixels of chunks that are what their marks say are those of the run."""
    if not (store / "zarr.json").is_file():
        return
    ds = xr.open_zarr(store)
    for chunk in whole_chunks(store):
        part = slice(2 * chunk, 2 * chunk + 2)
        assert is_result(ds.isel(x=part), expected.isel(x=part))


#: Whether the system can synchronise a whole file system at once.
together = pytest.mark.parametrize("together", [True, False], ids=["file system", "each file"])


@pytest.mark.slow
@together
def test_a_first_run(folder, tmp_path, one, together) -> None:
    for place, ended in without_power(folder, tmp_path / "lost", lambda: first(folder / "fit.zarr"), 131, together):
        store = place / "fit.zarr"
        assert_whole_is_right(store, one)
        if ended:
            assert check(store) == []
            assert is_result(xr.open_zarr(store), one)
        assert_same_bits(gone_on(first, store, resume=True), one)
        assert check(store) == []


@pytest.mark.slow
@together
def test_a_run_that_replaces_another(folder, tmp_path, one, other, together) -> None:
    first(folder / "fit.zarr")
    news = []
    lost = without_power(folder, tmp_path / "lost", lambda: second(folder / "fit.zarr", overwrite=True), 193, together)
    for place, ended in lost:
        store = place / "fit.zarr"
        seen = xr.open_zarr(store)
        news.append(is_result(seen, other))
        assert news[-1] or is_result(seen, one)
        assert not ended or news[-1]
        if (store / "marks/run-b/zarr.json").exists():
            assert_same_bits(gone_on(second, store, resume=True), other)
            for consolidated in (True, False):
                assert is_result(xr.open_zarr(store, consolidated=consolidated), other)
        else:
            # Nothing there says yet that it was to be replaced.
            assert_same_bits(gone_on(first, store, resume=True), one)
        assert check(store) == []
    assert set(news) == {False, True}


@pytest.mark.slow
def test_a_run_that_goes_on(folder, tmp_path, one) -> None:
    """One of two chunks was fitted before."""
    store = folder / "fit.zarr"
    first(store)
    (store / "marks/done/c/1/0").unlink()
    for place, ended in without_power(folder, tmp_path / "lost", lambda: first(store, resume=True), 31):
        kept = place / "fit.zarr"
        assert ({0, 1} if ended else {0}) <= whole_chunks(kept)
        assert_whole_is_right(kept, one)
        assert_same_bits(gone_on(first, kept, resume=True), one)
        assert check(kept) == []


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("suffix", ["nc", "csv", "hspy", "zspy", "zarr"])
def test_a_save(folder, tmp_path, suffix, overwrite) -> None:
    da = data().compute()
    path = folder / f"map.{suffix}"
    if overwrite:
        xfit.save(da, path)
    (folder / "notes.txt").write_text("mine")
    news = []
    usual = {"zarr": 7, "zspy": 101}.get(suffix, 1)
    lost = without_power(folder, tmp_path / "lost", lambda: xfit.save(2 * da, path, overwrite=overwrite), usual)
    for place, ended in lost:
        assert (place / "notes.txt").read_text() == "mine"
        found = place / path.name
        assert found.exists() or not (overwrite or ended)
        news.append(found.exists() and content(found) == content(path))
        if found.exists() and not news[-1]:
            assert overwrite
            np.testing.assert_array_equal(values(found), da.values.ravel())
        assert not ended or news[-1]
        xfit.save(2 * da, found, overwrite=True)
        np.testing.assert_array_equal(values(found), 2 * da.values.ravel())
    assert set(news) == {False, True}


def content(path: Path) -> dict[str, bytes]:
    """All bytes of a file or folder."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return {str(each.relative_to(path)): each.read_bytes() for each in files}


def values(path: Path) -> np.ndarray:
    """Numbers of a saved map."""
    if path.suffix == ".csv":
        return np.loadtxt(path, delimiter=",", skiprows=1, usecols=-1)
    return open_array(path).values.ravel()


@pytest.mark.parametrize("suffix", ["toml", "json"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_model_file(folder, tmp_path, suffix, overwrite) -> None:
    path, other_model = folder / f"model.{suffix}", two_peaks(**{"left.A": 31.0})
    if overwrite:
        two_peaks().to_file(path)
    texts = []
    for place, ended in without_power(
        folder, tmp_path / "lost", lambda: other_model.to_file(path, overwrite=overwrite), 1
    ):
        found = place / path.name
        texts.append(xfit.Model.from_file(found).to_json() if found.exists() else None)
        assert not ended or texts[-1] == other_model.to_json()
    assert set(texts) == {two_peaks().to_json() if overwrite else None, other_model.to_json()}


@pytest.mark.slow
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("act", ["store", "replace", "remove"])
def test_models_beside_a_signal(folder, tmp_path, act, zarr_format) -> None:
    old, new = fit_of(4.0), fit_of(4.5)
    signal().to_dataset().to_zarr(folder / "map.zarr", zarr_format=zarr_format, consolidated=False)
    kept = xfit.models(folder / "map.zarr")
    if act != "store":
        kept.store(old, "a")
    seen = []

    def call() -> None:
        kept.remove("a") if act == "remove" else kept.store(new, "a", overwrite=act == "replace")

    for place, ended in without_power(folder, tmp_path / "lost", call, 29 if act == "remove" else 211):
        there = xfit.models(place / "map.zarr")
        assert there.damaged == {}
        if "a" in there:
            found = there.restore("a").compute()
            seen.append("new" if found.attrs["xfit_model"] == new.attrs["xfit_model"] else "old")
            assert_same_bits(found, new if seen[-1] == "new" else old)
        else:
            seen.append("none")
        assert not ended or (seen[-1] == ("none" if act == "remove" else "new") and there.unfinished == ())
        there.store(new, "a", overwrite=True)
        assert there.unfinished == ()
        assert_same_bits(there.restore("a").compute(), new)
    assert set(seen) == {"store": {"none", "new"}, "replace": {"old", "new"}, "remove": {"old", "none"}}[act]


@pytest.mark.slow
def test_checkpoints(folder, tmp_path) -> None:
    fit = run(folder / "first")
    for place, ended in without_power(folder, tmp_path / "lost", lambda: run(folder / "run"), 23):
        store = place / "run"
        before = set(visits(store)) if (store / "visits").exists() else set()
        assert not ended or before == set(visits(folder / "first"))
        if (store / "layout.json").exists():
            opened = open_fit(str(store))[0].compute()
            there = opened.status == 1
            np.testing.assert_array_equal(opened.value.where(there), fit.value.where(there))
            assert not ended or there.all()
        assert_same_bits(run(store), fit)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["first", "overwrite"])
@pytest.mark.parametrize("suffix", ["nc", "zarr"])
def test_the_command_line(folder, tmp_path, suffix, way) -> None:
    """The result, or what goes on with --resume, is always there."""
    out, source, model = folder / f"fit.{suffix}", tmp_path / "map.zarr", tmp_path / "model.toml"
    xfit.save(data(), source)
    two_peaks().to_file(model)

    def fit(place: Path, *more: str) -> None:
        words = ["fit", str(source), "--model", str(model), "--out", str(place), "--chunks", "x=2", *more]
        done = CliRunner().invoke(main, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output

    expected = None
    if way == "overwrite":
        fit(out, "--variance", "0.04")
        expected = open_result(str(out)).load()
    again = ["--overwrite"] if way == "overwrite" else []
    lost = without_power(folder, tmp_path / "lost", lambda: fit(out, *again), 157 if suffix == "nc" else 107)
    whole = open_result(str(out)).load()
    for place, ended in lost:
        found = place / out.name
        assert found.exists() or (way == "first" and not ended)
        if ended:
            assert is_result(open_result(str(found)), whole)
        elif way == "overwrite":
            assert expected is not None
            seen = open_result(str(found))
            assert is_result(seen, whole) or is_result(seen, expected)
            seen.close()
        if way == "first" and suffix == "nc" and found.exists() and not (place / "fit.nc.part").exists():
            continue  # done
        fit(found, *(again or ["--resume"]))
        assert is_result(open_result(str(found)), whole)
        assert {each.name for each in place.iterdir() if ".partial" not in each.name} == {found.name}
