"""Models beside a signal: whole or not there when a process is killed; what is damaged is named;
what others made is left alone.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import xarray as xr

import xfit
from tests.support.builders import assert_same_bits
from tests.support.kills import killed
from tests.support.signal_models import fit_of, signal

posix = pytest.mark.skipif(sys.platform == "win32", reason="no fork, no links without rights")


@pytest.fixture(scope="module", params=[2, 3])
def stored(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, xr.Dataset]:
    """A folder with a signal and a model "a" beside it, and the fit."""
    folder = tmp_path_factory.mktemp("stored")
    signal().to_dataset().to_zarr(folder / "map.zarr", zarr_format=request.param, consolidated=False)
    fit = fit_of(4.0)
    xfit.models(folder / "map.zarr").store(fit, "a")
    return folder, fit


@pytest.fixture
def store(stored, tmp_path: Path) -> Path:
    shutil.copytree(stored[0] / "map.zarr", tmp_path / "map.zarr")
    return tmp_path / "map.zarr"


def group(store: Path) -> Path:
    (found,) = [each for each in (store / "xfit_models").iterdir() if each.is_dir()]
    return found


@posix
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("act", ["replace", "remove"])
def test_a_kill_leaves_the_old_or_the_new(stored, tmp_path, act) -> None:
    folder, old = stored
    new = fit_of(4.5)
    seen = []

    def call(copy: Path) -> None:
        kept = xfit.models(copy / "map.zarr")
        kept.store(new, "a", overwrite=True) if act == "replace" else kept.remove("a")

    for copy in killed(folder, tmp_path / "killed", call, most=12):
        kept = xfit.models(copy / "map.zarr")
        assert kept.damaged == {}
        if "a" not in kept:
            assert act == "remove"
            seen.append("none")
            continue
        found = kept.restore("a").compute()
        seen.append("new" if found.attrs["xfit_model"] == new.attrs["xfit_model"] else "old")
        assert_same_bits(found, new if seen[-1] == "new" else old)
        kept.store(new, "a", overwrite=True)  # goes on whatever was left
        assert kept.unfinished == ()
    last = "new" if act == "replace" else "none"
    # Files of one step are written side by side, in any order: next to the step, a later kill may find the older state.
    assert (seen[0], seen[-1], set(seen)) == ("old", last, {"old", last})


@posix
def test_links_lead_nowhere(store: Path, tmp_path: Path) -> None:
    """Neither the folder of all models nor that of one is followed out of the store."""
    home = tmp_path / "home"
    (home / "photos.01234567").mkdir(parents=True)
    (home / "photos.01234567" / "one.jpg").write_text("mine")
    shutil.move(store / "xfit_models", tmp_path / "models")
    (store / "xfit_models").symlink_to(home)
    kept = xfit.models(store)
    for act in (lambda: kept.store(fit_of(4.0), "photos"), lambda: kept.remove("photos"), lambda: list(kept)):
        with pytest.raises(FileExistsError, match="xfit_models' is a link to"):
            act()
    (store / "xfit_models").unlink()
    shutil.move(tmp_path / "models", store / "xfit_models")
    (store / "xfit_models" / "photos.01234567").symlink_to(home / "photos.01234567")
    with pytest.raises(FileExistsError, match=r"photos\.01234567' is a link to"):
        kept.remove("photos")
    (group_of_a := next((store / "xfit_models").glob("a.*"))).joinpath("more").symlink_to(home)
    with pytest.raises(FileExistsError, match="'more' in it is a link"):
        kept.remove("a")
    assert group_of_a.is_dir()
    assert (home / "photos.01234567" / "one.jpg").read_text() == "mine"


def test_what_others_made_is_left_alone(store: Path) -> None:
    """Folders of other names, and files in a model's own."""
    for name in ("photos", "a", "a.b", "a.0123456", "a.0123456z"):
        (store / "xfit_models" / name).mkdir()
        (store / "xfit_models" / name / "one.jpg").write_text("mine")
    kept = xfit.models(store)
    assert kept.unfinished == ()
    with pytest.raises(KeyError, match="no model 'photos'"):
        kept.remove("photos")
    kept.store(fit_of(4.5), "a", overwrite=True)
    kept.remove("a")
    assert {each.parent.name for each in (store / "xfit_models").rglob("one.jpg")} == {
        "photos",
        "a",
        "a.b",
        "a.0123456",
        "a.0123456z",
    }
    kept.store(fit_of(4.5), "b")
    (next((store / "xfit_models").glob("b.*")) / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"'notes\.txt' in it is no part of a zarr store"):
        kept.remove("b")
    assert list(kept) == ["b"]


def test_what_others_made_in_object_stores_is_left_alone() -> None:
    import fsspec

    signal().to_dataset().to_zarr("memory://others/map.zarr", consolidated=False)
    kept = xfit.models("memory://others/map.zarr")
    kept.store(fit_of(4.0), "a")
    files = fsspec.filesystem("memory")
    (place,) = [each for each in files.ls("/others/map.zarr/xfit_models", detail=False) if "/a." in each]
    files.pipe_file(f"{place}/notes.txt", b"mine")
    with pytest.raises(FileExistsError, match=r"'notes\.txt' in it is no part"):
        kept.remove("a")
    files.rm_file(f"{place}/notes.txt")
    kept.remove("a")
    assert list(kept) == []


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "gone"])
def test_damaged_numbers_are_no_numbers(store: Path, damage: str) -> None:
    numbers = [
        each for each in group(store).joinpath("value").rglob("*") if each.is_file() and each.name[0] not in ".z"
    ]
    spoil(numbers[0], damage)
    kept = xfit.models(store)
    if damage == "gone":
        with pytest.raises(
            ValueError, match=r"/value is damaged \(it has 0 of 1 files\); fit again, or \.remove\('a'\)"
        ):
            kept.restore("a")
    else:
        # By zstandard's checksum, where it is read.
        with pytest.raises((RuntimeError, ValueError, EOFError)):
            kept.restore("a").compute()


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "gone"])
def test_a_damaged_description_is_named(store: Path, damage: str) -> None:
    place = group(store)
    named = [each / name for name in ("zarr.json", ".zattrs", ".zarray") for each in (place, place / "value")]
    files = [each for each in named if each.exists()]
    assert len(files) >= 2
    for path in files:
        content = path.read_bytes()
        spoil(path, damage)
        kept = xfit.models(store)
        if "a" in kept:
            with pytest.raises(ValueError, match=r"xfit_models/a\..*(is damaged|is not read)"):
                kept.restore("a")
        elif damage == "gone":
            assert kept.unfinished == ("a",)
        else:
            with pytest.raises(ValueError, match=r"the model 'a' is damaged.*\.remove\('a'\) deletes it"):
                kept["a"]
            assert "damaged: a" in repr(kept)
            assert "damaged: a" in kept._repr_html_()
            with pytest.raises(FileExistsError, match="there is a model 'a', which is damaged"):
                kept.store(fit_of(4.0), "a")
            assert kept.store(fit_of(4.0)).name == "b"
            kept.remove("b")
        path.write_bytes(content)
    assert list(xfit.models(store)) == ["a"]


def spoil(path: Path, damage: str) -> None:
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
        return
    at = 3 * len(content) // 4
    flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    path.write_bytes({"flipped": flipped, "truncated": content[:-3], "empty": b""}[damage])


def test_two_that_store_under_a_name(store: Path, monkeypatch) -> None:
    """The second is told, and takes nothing from the first."""
    slow = xfit.models(store)
    write = type(slow)._write

    def late(self, ds, path) -> None:
        write(self, ds, path)
        monkeypatch.undo()
        xfit.models(store).store(fit_of(4.5), "b")

    monkeypatch.setattr(type(slow), "_write", late)
    with pytest.raises(FileExistsError, match="another process has stored a model 'b' meanwhile"):
        slow.store(fit_of(4.0), "b")
    assert_same_bits(slow.restore("b").compute(), fit_of(4.5))


def test_a_tilde_is_the_home(store: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(store.parent))
    assert list(xfit.models("~/map.zarr")) == ["a"]
