"""Stored runs that are damaged, or lie beside what others made: what is wrong is named, and
nothing of others is touched.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner
from zarr.storage import MemoryStore

from tests.support.builders import assert_same_bits, two_peaks
from tests.support.kills import step
from tests.support.opened import open_result
from tests.support.stored_faults import (
    Mortal,
    killed,
    one_thread,  # noqa: F401
)
from tests.support.two_runs import data, first, is_result, second
from xfit.arrays import atomic_write
from xfit.command import main
from xfit.fitting.stored.archive import Archive
from xfit.fitting.stored.begin import DamagedStoreWarning
from xfit.fitting.stored.check import check
from xfit.fitting.stored.info import info
from xfit.fitting.stored.storage import DurableStore, Objects, StoreError

pytestmark = pytest.mark.filterwarnings("ignore:Object at .* is not recognized as a component of a Zarr hierarchy")


def changed(content: bytes, kind: str) -> bytes | None:
    """What may become of a file."""
    at = len(content) // 2
    flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    return {"missing": None, "empty": b"", "truncated": content[:at], "flipped": flipped}[kind]


@pytest.mark.parametrize("kind", ["missing", "empty", "truncated", "flipped"])
def test_any_file_that_is_damaged_is_named_and_written_again(kind, tmp_path, one) -> None:
    """Every file of a store, one after the other: by --check, and by resume=True, which ends with the same bits."""
    store = tmp_path / "fit.zarr"
    first(store)
    files = {path: path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}
    assert len(files) > 60
    for path in list(files)[:: step(9)]:
        name = path.relative_to(store).as_posix()
        if name == "marks/writer/zarr.json":
            continue  # says nothing of what is there
        content = changed(files[path], kind)
        path.unlink() if content is None else path.write_bytes(content)
        mark = name.startswith("marks/done/c/") and kind == "missing"
        if mark:
            # Without its mark a chunk is one that was not fitted.
            fit = first(store, resume=True)
        else:
            wrong = check(store)
            assert wrong, name
            assert any(name in each for each in wrong), wrong
            with pytest.warns(DamagedStoreWarning) as said:
                fit = first(store, resume=True)
            assert any(name in str(each.message) for each in said), name
        assert_same_bits(fit.compute(), one)
        assert check(store) == []


def test_a_description_that_is_damaged_is_no_result(tmp_path) -> None:
    """Readers are told the file, and what to do."""
    store = tmp_path / "fit.zarr"
    first(store)
    (store / "zarr.json").write_text("{")
    for read in (lambda: Archive(store).open(), lambda: info(store)):
        with pytest.raises(OSError, match=r"fit.zarr: zarr.json is damaged: .*resume=True"):
            read()
    with pytest.raises(FileExistsError, match="resume=True"):
        first(store)
    run = CliRunner().invoke(main, ["info", str(store), "--check"])
    assert run.exit_code == 1
    assert "zarr.json is damaged" in run.output
    (store / "marks" / "run-a" / "zarr.json").unlink()
    for options in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(StoreError, match=r"zarr.json is damaged.*nothing else there says what it was"):
            first(store, **options)


def test_the_command_line_checks(tmp_path) -> None:
    store = tmp_path / "fit.zarr"
    first(store)
    run = CliRunner().invoke(main, ["info", str(store), "--check"])
    assert run.exit_code == 0, run.output
    assert "all of it is as it was written" in run.output
    (store / "value" / "c" / "0" / "1" / "0").write_bytes(b"")
    (store / "notes.txt").write_text("mine")
    run = CliRunner().invoke(main, ["info", str(store), "--check"])
    assert run.exit_code == 1
    assert "chunk 1: value/c/0/1/0 has 0 bytes of" in run.output
    assert "notes.txt was not made by xfit" in run.output


def test_later_formats_are_refused(tmp_path) -> None:
    store = tmp_path / "fit.zarr"
    first(store)
    root = json.loads((store / "zarr.json").read_text())
    words = json.loads(root["attributes"]["xfit_run"]) | {"format": 3}
    root["attributes"]["xfit_run"] = json.dumps(words)
    (store / "zarr.json").write_text(json.dumps(root))
    for options in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(StoreError, match="format 3, and this xfit reads formats up to 2; update xfit"):
            first(store, **options)


def test_files_of_others_stay(tmp_path, one) -> None:
    """Wherever they lie in a store: overwrite=True names them, resume=True leaves them."""
    store = tmp_path / "fit.zarr"
    first(store)
    for name in ("notes.txt", "value/notes.txt", "value/c/0/0/notes.txt", "marks/notes.txt"):
        (store / name).write_text("mine")
        with pytest.raises(FileExistsError, match=f"has not made: {name}"):
            second(store, overwrite=True)
        assert_same_bits(first(store, resume=True).compute(), one)
        assert (store / name).read_text() == "mine"
        (store / name).unlink()
    xr.Dataset({"mask": ("k", [1, 2])}).to_zarr(store, mode="a", consolidated=False)
    with pytest.raises(FileExistsError, match=r"has not made: k/|has not made: mask/"):
        second(store, overwrite=True)


def test_an_empty_group_of_others_stays(tmp_path) -> None:
    xr.Dataset(attrs={"mine": 1}).to_zarr(tmp_path / "mine.zarr", consolidated=False)
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(FileExistsError, match="no result of xfit"):
            first(tmp_path / "mine.zarr", **options)


@pytest.mark.parametrize("name", ["value", "value/c", "marks", "marks/done", "zarr.json", "x/c/0"])
def test_links_that_lead_out_are_refused(name, tmp_path) -> None:
    """Before anything is written or deleted, by name."""
    store, home = tmp_path / "fit.zarr", tmp_path / "home"
    first(store)
    (store / name).rename(home)
    (store / name).symlink_to(home)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for run, options in ((first, {"resume": True}), (second, {"overwrite": True})):
        with pytest.raises(StoreError, match=rf"{name} is a link that leads out of the store, to {home}"):
            run(store, **options)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert any(f"{name} is a link" in each for each in check(store))


def test_nothing_is_written_through_a_link_that_is_made_later(tmp_path) -> None:
    store = DurableStore(tmp_path / "fit.zarr")
    first(store)
    (tmp_path / "home").mkdir()
    (tmp_path / "fit.zarr" / "more").symlink_to(tmp_path / "home")
    for act in (
        lambda: Archive(store).objects.put("more/c/0", b"x"),
        lambda: Archive(store).objects.delete(["more/c/0"]),
    ):
        with pytest.raises(StoreError, match="more is a link"):
            act()
    assert list((tmp_path / "home").iterdir()) == []


def test_what_a_run_reads_is_not_where_it_writes(tmp_path) -> None:
    """Starts, masks, variances and data from the store itself are refused, lazy or in wrappers;
    read into memory they are taken.
    """
    store = tmp_path / "fit.zarr"
    fit = first(store)
    da = data()
    for options in (
        {"start": fit},
        {"where": fit.status == 1},
        {"variance": fit.chisq + 1},
        {"start": {"left.A": fit.fit["left.A"]}},
        {"variance": xr.open_zarr(f"file://{store}").chisq.rename("other").chunk(y=1)},
    ):
        for way in ("overwrite", "resume"):
            with pytest.raises(
                ValueError,
                match=r"is what (start|where|variance)= .*is read from. Give another store, or read it into memory",
            ):
                da.fit.multifit(two_peaks(), store=store, progress=False, **{way: True}, **options)
    again = da.fit.multifit(two_peaks(), store=store, overwrite=True, progress=False, start=fit.compute())
    assert (again.status == 1).all()


def test_resume_is_of_the_same_labels(tmp_path) -> None:
    """Labels, further coordinates, units, name and attributes: refused with the difference."""
    store, da = tmp_path / "fit.zarr", data()
    first(store)
    e = da.dims[-1]
    for changed_data, words in (
        (da.assign_coords(x=da.x + 1), "coordinate x: values"),
        (da.drop_vars("y"), "coordinate y"),
        (da.assign_coords(time=("x", [1.0, 2.0, 3.0, 4.0])), "coordinate time"),
        (da.assign_coords(x=da.x.assign_attrs(units="nm")), "coordinate x: attributes"),
        (da.assign_coords({e: da[e].assign_attrs(units="keV")}), f"coordinate {e}: attributes"),
        (da.assign_attrs(units="counts/s"), r"attribute units \(stored 'counts', given 'counts/s'\)"),
        (da.assign_attrs(sample="B2"), r"attribute sample \(stored None, given 'B2'\)"),
        (da.rename("signal"), r"name \(stored 'counts', given 'signal'\)"),
    ):
        with pytest.raises(ValueError, match=words):
            changed_data.fit.multifit(two_peaks(), store=store, resume=True, progress=False)
    first(store, resume=True)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux tells which file is synchronised")
@pytest.mark.parametrize("made", [False, True])
def test_what_lies_on_the_disk_when_a_run_returns(tmp_path, monkeypatch, made) -> None:
    """Where the system synchronises single files alone: each file, and the folders with their
    names, whoever made them.
    """
    synced: set[str] = set()
    plain = os.fsync

    def fsync(number: int) -> None:
        plain(number)
        synced.add(os.path.realpath(f"/proc/self/fd/{number}"))

    store = tmp_path.resolve() / "fit.zarr"
    if made:
        for name in ("value/c/0/0", "status/c/0", "marks/done/c/0"):
            (store / name).mkdir(parents=True)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(atomic_write, "sync_file_system", lambda folder: False)
    first(store)
    there = [path for path in store.rglob("*") if path.name != "zarr.json"]
    # Of each of some 12 variables two chunks, and two marks.
    assert sum(path.is_file() for path in there) > 20
    assert {str(path) for path in there if "/c/" in str(path)} <= synced


def test_a_file_system_that_can_not_be_synchronised_is_an_error(tmp_path, monkeypatch) -> None:
    class Failing:
        def __init__(self, code: int) -> None:
            self.code = code

        def syncfs(self, number: int) -> int:
            ctypes.set_errno(self.code)
            return -1

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **options: Failing(errno.EIO))
    with pytest.raises(OSError, match=re.escape(str(tmp_path))):
        atomic_write.sync_file_system(tmp_path)
    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **options: Failing(errno.ENOSYS))
    assert atomic_write.sync_file_system(tmp_path) is False


def format_1(store: Path, da: xr.DataArray) -> xr.Dataset:
    """A store as version 0.1.0 wrote it: no checksums, no identity, marks of six numbers."""
    fit = da.fit.multifit(two_peaks()).compute()
    first(store)
    words = json.loads((store / "zarr.json").read_text())
    manifest = json.loads(words["attributes"]["xfit_run"])
    kept = (
        "format",
        "schema",
        "shape",
        "dtype",
        "chunks",
        "coordinates",
        "content",
        "model",
        "start",
        "lower",
        "upper",
        "free",
        "active",
        "variance",
        "options",
        "estimates",
        "path",
        "layout",
        "variables",
    )
    words["attributes"]["xfit_run"] = json.dumps({name: manifest[name] for name in kept} | {"format": 1})
    del words["consolidated_metadata"]
    (store / "zarr.json").write_text(json.dumps(words))
    shutil.rmtree(store / "marks")
    marks = zarr.open_group(store, mode="r+").create_group("marks")
    marks.create_array("unread", shape=(2, 2000), chunks=(1, 2000), dtype=np.uint8, fill_value=0, compressors=None)
    done = marks.create_array("done", shape=(2, 6), chunks=(1, 6), dtype=np.int64, fill_value=-1, compressors=None)
    done[:] = np.array([[4, 4, 0, 40, 1000, 0]] * 2)
    return fit


def test_stores_of_format_1(tmp_path, one, other) -> None:
    """They are opened, accepted where they are whole, refused by name where not, and stay
    whole until what replaces them is.
    """
    store = tmp_path / "fit.zarr"
    format_1(store, data())
    assert_same_bits(open_result(str(store)).compute(), one)
    assert info(store).done == 2
    assert check(store) == []
    assert_same_bits(first(store, resume=True).compute(), one)
    with pytest.raises(ValueError, match="holds a run that differs in: variance"):
        second(store, resume=True)
    files = {path.relative_to(store).as_posix(): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    after = 0
    while True:
        kept = MemoryStore()
        Archive(kept).objects.put("x", b"")
        Archive(kept).objects.delete(["x"])
        for name, content in files.items():
            Archive(kept).objects.put(name, content)
        if not killed(second, Mortal(kept), after, overwrite=True):
            break
        seen = xr.open_zarr(kept)
        assert is_result(seen, one) or is_result(seen, other), after
        if after:
            assert is_result(second(kept, resume=True).compute(), other)
            assert check(kept) == []
        after += step(23)
    assert_same_bits(second(store, overwrite=True).compute(), other)
    assert check(store) == []
    format_1(tmp_path / "cut.zarr", data())
    (tmp_path / "cut.zarr" / "value" / "c" / "0" / "1" / "0").unlink()
    assert check(tmp_path / "cut.zarr") == ["value/c/0/1/0 is missing or empty"]
    with pytest.raises(ValueError, match=r"format 1\), which is not whole \(value/c/0/1/0 missing\).*overwrite=True"):
        first(tmp_path / "cut.zarr", resume=True)


@pytest.mark.slow
def test_workers_in_another_folder(tmp_path, monkeypatch, one) -> None:
    """A relative path is the client's; workers that see another folder under its name end the
    run, and write nothing there.
    """
    from distributed import Client, LocalCluster

    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(there)
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        assert set(client.run(os.getcwd).values()) == {str(there)}
        monkeypatch.chdir(here)
        assert_same_bits(first("fit.zarr").compute(), one)
        assert list(there.iterdir()) == []
        # As on a host whose disk is its own: what the client has made is not there.
        client.run(_blind)
        with pytest.raises(
            StoreError, match=r"host \S+ \(process \d+\) sees no marks/writer/zarr.json in .*here/other.zarr"
        ):
            first("other.zarr")


def _blind() -> None:
    """Have this process see another folder under every name."""
    plain = DurableStore.__init__

    def elsewhere(self: DurableStore, root: Any, **options: Any) -> None:
        plain(self, Path("/nowhere") / str(root).lstrip("/"), **options)

    DurableStore.__init__ = elsewhere  # type: ignore[method-assign]


@pytest.mark.parametrize("place", [1, 2, 4])
def test_of_two_that_begin_at_once_the_first_ends_before_it_writes_on(monkeypatch, place) -> None:
    """Another run says that it writes just before the first looks for the so-manieth time, which it
    does before each of its files.
    """
    store, plain, count = MemoryStore(), Archive.check_writer, [0]
    before: dict[str, int] = {}

    def check_writer(self: Archive) -> None:
        count[0] += 1
        if count[0] == place:
            assert self.description is not None
            Archive(store).claim(self.description, "begun")
            before.update(Archive(store).objects.sizes())
        plain(self)

    monkeypatch.setattr(Archive, "check_writer", check_writer)
    with pytest.raises(StoreError, match="is written by another run now, which was begun by process"):
        first(store)
    assert before
    assert Archive(store).objects.sizes() == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_another_run_writes_last_over_a_description_is_written_again(monkeypatch, overwrite) -> None:
    """A process that was stopped between its look at who writes and its write: a coordinate and the metadata of an
    array are not this run's.
    """
    da, store = data(), MemoryStore()
    expected = da.fit.multifit(two_peaks(), max_nfev=77).compute()
    if overwrite:
        first(store)
    plain = Archive.mark
    spoilt: list[Any] = []

    def mark(self: Archive, *arguments: Any) -> None:
        plain(self, *arguments)
        if not spoilt:
            objects, made = Archive(store).objects, self.description
            assert made is not None
            spoilt.extend([next(key for key in sorted(made.files) if key.startswith("parameter")), "value/zarr.json"])
            objects.put(spoilt[0], b"other")
            objects.put(spoilt[1], b"{}")
            objects.delete([made.key])

    monkeypatch.setattr(Archive, "mark", mark)
    with pytest.warns(DamagedStoreWarning, match="parameter/.* is missing or damaged; it is written again"):
        found = da.fit.multifit(two_peaks(), max_nfev=77, store=store, overwrite=overwrite, progress=False)
    assert spoilt
    assert is_result(found.compute(), expected)
    assert check(store) == []


def test_a_folder_that_becomes_a_link_while_a_run_writes(tmp_path) -> None:
    """Also where the same store has written into it before."""
    objects = Objects(DurableStore(tmp_path / "fit.zarr"))
    objects.put("value/c/0", b"1")
    (tmp_path / "fit.zarr" / "value" / "c").rename(tmp_path / "moved")
    (tmp_path / "fit.zarr" / "value" / "c").symlink_to(tmp_path / "moved")
    with pytest.raises(StoreError, match="value/c is a link that leads out of the store"):
        objects.put("value/c/0", b"2")
    assert (tmp_path / "moved" / "0").read_bytes() == b"1"
