"""Checkpoints that are damaged, half written, or not of the run: named, made anew, never taken for whole; nothing
outside is read or written.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.support.builders import assert_same_bits
from tests.support.checkpoint_runs import run, visits
from tests.support.kills import killed
from xfit.plot.open_stored import open_fit
from xfit.samfire.checkpoint import CheckpointError, Checkpoints

posix = pytest.mark.skipif(sys.platform == "win32", reason="no fork, no links without rights")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, xr.Dataset]:
    """A finished run, and its result."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    fit = run(folder)
    assert (fit.status == 1).all()
    return folder, fit


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "gone"])
def test_a_damaged_visit_is_made_anew(whole, tmp_path, damage, caplog) -> None:
    folder, fit = whole
    for name in visits(folder):
        store = tmp_path / name
        shutil.copytree(folder, store)
        path = store / "visits" / name
        content = path.read_bytes()
        if damage == "gone":
            path.unlink()
        else:
            changed = {"flipped": flipped(content, 3 * len(content) // 4), "truncated": content[:-1], "empty": b""}
            path.write_bytes(changed[damage])
        caplog.clear()
        with caplog.at_level(logging.WARNING, "xfit.samfire"):
            again = run(store)
        assert_same_bits(again, fit)
        assert path.read_bytes() == content
        assert damage == "gone" or any(f"visits/{name} is damaged" in each.getMessage() for each in caplog.records)


def test_no_flipped_bit_of_a_visit_goes_unseen(whole, tmp_path) -> None:
    folder, _ = whole
    name = visits(folder)[-1]
    content = (folder / "visits" / name).read_bytes()
    shutil.copytree(folder, tmp_path / "run")
    store, path = Checkpoints(str(tmp_path / "run")), tmp_path / "run" / "visits" / name
    visit = tuple(int(part) for part in name.removesuffix(".npz").split("_"))
    unseen = []

    def is_seen() -> bool:
        try:
            store.read(visit)  # type: ignore[arg-type]
        except CheckpointError as error:
            return f"visits/{name} is damaged" in str(error)
        return False

    for at in [*range(0, len(content), 53), *range(len(content) - 120, len(content))]:
        path.write_bytes(flipped(content, at))
        if not is_seen():
            unseen.append(len(content) - at)
    # The two bytes that hold the length of the checksum: all else has been found to be right.
    assert set(unseen) <= {65, 66}


def test_who_looks_is_told_of_a_damaged_visit(whole, tmp_path) -> None:
    folder, _ = whole
    shutil.copytree(folder, tmp_path / "run")
    for name in visits(folder):
        (tmp_path / "run" / "visits" / name).write_bytes(b"")
    fit, _ = open_fit(str(tmp_path / "run"))
    with pytest.raises(
        CheckpointError, match=r"visits/.*npz is damaged.*the same call goes on with the run, and makes it anew"
    ):
        fit.compute()


@pytest.mark.parametrize("name", ["layout.json", "layout/x/c/0", "layout/zarr.json", "layout/g", "samfire.json"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "gone"])
def test_a_damaged_description_is_named_and_made_anew(whole, tmp_path, name, damage) -> None:
    folder, fit = whole
    store = tmp_path / "run"
    shutil.copytree(folder, store)
    path = store / name if (store / name).exists() else next(each for each in (store / "layout").rglob("0"))
    name = path.relative_to(store).as_posix()
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(
            {"flipped": flipped(content, len(content) // 2), "truncated": content[:-2], "empty": b""}[damage]
        )
    if name == "samfire.json":
        words = (
            "is not empty and holds no run" if damage == "gone" else r"samfire\.json is damaged.*begin in another store"
        )
        with pytest.raises(ValueError, match=words):
            run(store)
        assert visits(store) == visits(folder)
        return
    gone = "has not said yet" if name == "layout.json" and damage == "gone" else f"{name} is damaged"
    with pytest.raises(ValueError, match=gone):
        open_fit(str(store))
    assert_same_bits(run(store), fit)
    opened, _ = open_fit(str(store))
    np.testing.assert_array_equal(opened.value, fit.value)


@posix
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_run_that_is_killed_at_any_change_goes_on(whole, tmp_path) -> None:
    _, fit = whole
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / "notes.txt").write_text("mine")
    count = 0
    for copy in killed(tmp_path / "before", tmp_path / "killed", lambda copy: run(copy / "run"), most=25):
        count += 1
        if (copy / "run").exists() and (copy / "run" / "layout.json").exists():
            opened, _ = open_fit(str(copy / "run"))
            opened = opened.compute()
            # What is there is of the run; what is not says so.
            there = opened.status == 1
            np.testing.assert_array_equal(opened.value.where(there), fit.value.where(there))
            assert set(np.unique(opened.status)) <= {0, 1, *np.unique(opened.status.where(~there, 1))}
        assert_same_bits(run(copy / "run"), fit)
        assert (copy / "notes.txt").read_text() == "mine"
    assert count > 20


@posix
@pytest.mark.parametrize("name", ["visits", "layout", "samfire.json", "layout.json", "ended.json", "visits/0_1_1.npz"])
def test_nothing_is_written_or_read_through_links(whole, tmp_path, name) -> None:
    folder, _ = whole
    store, home = tmp_path / "run", tmp_path / "home"
    shutil.copytree(folder, store)
    name = name if (store / name).exists() else f"visits/{visits(store)[-1]}"
    shutil.move(store / name, home)
    (store / name).symlink_to(home)
    before = {each: each.read_bytes() for each in [home, *home.rglob("*")] if each.is_file()}
    if name != "samfire.json":  # which is not read for that
        with pytest.raises(ValueError, match=r"is a link to|is damaged"):
            open_fit(str(store))[0].compute()
    with pytest.raises((ValueError, FileExistsError), match="is a link to"):
        run(store)
    assert {each: each.read_bytes() for each in [home, *home.rglob("*")] if each.is_file()} == before


def resealed(path: Path, **changed: Any) -> None:
    """Change a description as somebody would who means harm: its checksum is right."""
    words = json.loads(path.read_text())
    words.pop("sha256")
    Checkpoints(str(path.parent)).put_words(path.name, {**words, **changed})


@pytest.mark.parametrize("name", ["../../secret.txt", "/etc/passwd", "a//b", "..\\..\\secret", "C:secret", "./x", ""])
def test_no_file_outside_of_the_run_is_read(whole, tmp_path, monkeypatch, name) -> None:
    folder, _ = whole
    store = tmp_path / "run"
    shutil.copytree(folder, store)
    resealed(store / "layout.json", files={name: "0" * 64})
    monkeypatch.setattr(Checkpoints, "get", only_words(Checkpoints.get))
    with pytest.raises(ValueError, match=r"layout\.json is damaged .*leads out of the run's folder"):
        open_fit(str(store))


def only_words(plain: Any) -> Any:
    """Reading that fails for all but the descriptions of the run."""

    def get(self: Checkpoints, name: str, limit: int | None = None) -> bytes | None:
        assert name in ("samfire.json", "layout.json", "ended.json"), name
        content: bytes | None = plain(self, name, limit)
        return content

    return get


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"chunks": [[1] * 2000, [1] * 2000]}, "4,000,000"),
        ({"chunks": [[-1]]}, "whole numbers above zero"),
        ({"chunks": [[10**15]]}, "is damaged"),
        ({"chunks": "many"}, "whole numbers above zero"),
        ({"chunks": 5}, "is damaged"),
        ({"columns": {"n": 10**9, "covariance": True, "pairs": 0, "bias": False}}, "1000000000 parameters"),
        ({"columns": {}}, "is damaged"),
        ({"columns": {"n": 7, "pairs": 0, "more": 1}}, "is damaged"),
        ({"navigation": ["x", "y"]}, "is damaged"),
        ({"navigation": 3}, "is damaged"),
        ({"variables": ["nothing"]}, "is damaged"),
        ({"components": 7}, "is damaged"),
        ({"files": 3}, "is damaged"),
        ({"files": {}}, "is damaged"),
        ({"reach": None}, "is damaged"),
        ({"format": 3}, "format 3, this xfit reads up to 2"),
    ],
)
def test_what_a_layout_claims_is_checked(whole, tmp_path, changed, words) -> None:
    folder, _ = whole
    store = tmp_path / "run"
    shutil.copytree(folder, store)
    resealed(store / "layout.json", **changed)
    with pytest.raises(ValueError, match=words) as caught:
        open_fit(str(store))
    assert str(store) in str(caught.value)


def test_a_coordinate_that_claims_more_than_its_files_hold(whole, tmp_path) -> None:
    import hashlib

    folder, _ = whole
    store = tmp_path / "run"
    shutil.copytree(folder, store)
    path = store / "layout" / "x" / "zarr.json"
    described = json.loads(path.read_text())
    described["shape"] = [10**15]
    path.write_text(json.dumps(described))
    files = json.loads((store / "layout.json").read_text())["files"]
    resealed(store / "layout.json", files={**files, "x/zarr.json": hashlib.sha256(path.read_bytes()).hexdigest()})
    with pytest.raises(CheckpointError, match=r"is damaged .*claims (8,000,000,000,000,000 bytes|1.67e.14 chunks)"):
        open_fit(str(store))


def test_an_array_that_claims_more_than_its_file_holds(whole, tmp_path) -> None:
    import io
    import zipfile

    folder, _ = whole
    store = tmp_path / "run"
    shutil.copytree(folder, store)
    path = store / "visits" / visits(store)[-1]
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 1000)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("state.rows.npy", header.getvalue())
    with pytest.raises(CheckpointError, match=r"claims the shape \(1000000000000, 1000\) of float64, and has 0 bytes"):
        open_fit(str(store))[0].compute()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("state.rows.npy", bytes(50_000_000))
    with pytest.raises(CheckpointError, match=r"claims 50,000,000 bytes"):
        open_fit(str(store))[0].compute()


def test_two_runs_that_begin_together(tmp_path) -> None:
    """The second to write its name finds the first one's, also when it looked before there was one."""
    one, other = Checkpoints(str(tmp_path / "run")), Checkpoints(str(tmp_path / "run"))
    one.begin({"data": "a"})

    class Late(Checkpoints):
        exists = False

        def _keys(self) -> list[str]:
            return []

    with pytest.raises(ValueError, match="differs in: data"):
        Late(str(tmp_path / "run")).begin({"data": "b"})
    other.begin({"data": "a"})


def test_what_a_kill_leaves_is_no_foreign_file(tmp_path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / f".samfire.{'0' * 32}.partial.json").write_text("{")
    (folder / "visits").mkdir()
    run(folder)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is a file; give a folder"):
        run(tmp_path / "file")
