"""Files are there as they were or as they are to be, whenever a process is killed; what xfit has not made is never
removed or written through.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.builders import peak_map, two_peaks
from tests.support.kills import killed
from tests.support.opened import open_array
from xfit.arrays import atomic_write as whole

#: Forks and links are of POSIX.
posix = pytest.mark.skipif(sys.platform == "win32", reason="no fork, no links without rights")


@pytest.fixture
def data() -> xr.DataArray:
    return peak_map((2, 3)).rename("counts")


@posix
@pytest.mark.parametrize("suffix", ["nc", "csv", "hspy", "zspy", "zarr"])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_save_that_is_killed_leaves_the_old_or_the_new(data: xr.DataArray, tmp_path: Path, suffix: str) -> None:
    before = tmp_path / "before"
    before.mkdir()
    name = f"map.{suffix}"
    xfit.save(data, before / name)
    (before / "notes.txt").write_text("mine")
    old, new = content(before / name), None
    seen = []
    for copy in killed(
        before, tmp_path / "killed", lambda copy: xfit.save(data * 2, copy / name, overwrite=True), most=20
    ):
        assert (copy / "notes.txt").read_text() == "mine"
        seen.append(content(copy / name) == old)
        if suffix != "csv":
            opened = xfit.open(copy / name)
            np.testing.assert_array_equal(opened, data if seen[-1] else data * 2)
        others = {each.name for each in copy.iterdir()} - {name, "notes.txt"}
        assert all(".partial" in each and each.startswith(".") for each in others), others
    new = {each.name for each in copy.iterdir()}
    assert new == {name, "notes.txt"}
    # Once it is the new one it stays; both come.
    assert seen == sorted(seen, reverse=True)
    assert seen[0]
    assert not seen[-1]


def content(path: Path) -> dict[str, bytes]:
    """All bytes of a file or folder."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return {str(each.relative_to(path)): each.read_bytes() for each in files}


@posix
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_model_file_that_is_killed_is_the_old_or_the_new(tmp_path: Path) -> None:
    before = tmp_path / "before"
    before.mkdir()
    other = two_peaks()
    other["left.centre"].value = 1.5
    two_peaks().to_file(before / "model.toml")
    texts = []
    for copy in killed(before, tmp_path / "killed", lambda copy: other.to_file(copy / "model.toml", overwrite=True)):
        texts.append(xfit.Model.from_file(copy / "model.toml").to_json())
    assert set(texts) == {two_peaks().to_json(), other.to_json()}
    assert len(texts) > 4


@pytest.mark.parametrize("exchanges", [True, False])
def test_folders_are_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool) -> None:
    """Also where the file system can't do it in one step."""
    if not exchanges:
        monkeypatch.setattr(whole, "_exchange", lambda one, other: False)
    target = tmp_path / "a.zarr"

    def write(part: Path, text: str) -> None:
        part.mkdir()
        (part / "file").write_text(text)

    for text in ("one", "two"):
        whole.replace(target, partial(write, text=text))
        assert (target / "file").read_text() == text
        assert [each.name for each in tmp_path.iterdir()] == ["a.zarr"]


@posix
@pytest.mark.parametrize("suffix", ["zarr", "nc", "csv"])
@pytest.mark.parametrize("leads", ["somewhere", "nowhere"])
def test_links_are_not_replaced(data: xr.DataArray, tmp_path: Path, suffix: str, leads: str) -> None:
    target, real = tmp_path / f"map.{suffix}", tmp_path / f"real.{suffix}"
    if leads == "somewhere":
        xfit.save(data, real)
    target.symlink_to(real)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(FileExistsError, match=rf"map\.{suffix}' is a link to '.*real\.{suffix}'; give that path"):
        xfit.save(data, target, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == before
    with pytest.raises(FileExistsError, match="is a link to"):
        two_peaks().to_file(tmp_link(tmp_path), overwrite=True)


def tmp_link(folder: Path) -> Path:
    link = folder / "model.toml"
    link.symlink_to(folder / "elsewhere.toml")
    return link


@pytest.mark.parametrize("suffix", ["zarr", "zspy"])
@pytest.mark.parametrize("name", ["notes.txt", "counts/photo.jpg", "counts/c/one", "2024/1/2"])
def test_foreign_files_are_not_removed(data: xr.DataArray, tmp_path: Path, suffix: str, name: str) -> None:
    target = tmp_path / f"map.{suffix}"
    xfit.save(data, target)
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    (target / name).write_text("mine")
    with pytest.raises(FileExistsError, match=f"{name!r} in it is no part of a zarr store"):
        xfit.save(data, target, overwrite=True)
    assert (target / name).read_text() == "mine"


def test_folders_and_files_do_not_take_each_others_place(data: xr.DataArray, tmp_path: Path) -> None:
    (tmp_path / "map.nc").mkdir()
    (tmp_path / "map.nc" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"map\.nc' is a folder, and a file"):
        xfit.save(data, tmp_path / "map.nc", overwrite=True)
    (tmp_path / "map.zarr").write_text("mine")
    with pytest.raises(FileExistsError, match=r"map\.zarr' is a file, and a folder"):
        xfit.save(data, tmp_path / "map.zarr", overwrite=True)


@posix
def test_links_in_a_store_are_not_removed(data: xr.DataArray, tmp_path: Path) -> None:
    target = tmp_path / "map.zarr"
    xfit.save(data, target)
    (tmp_path / "home").mkdir()
    (target / "more").symlink_to(tmp_path / "home")
    with pytest.raises(FileExistsError, match="'more' in it is a link"):
        xfit.save(data, target, overwrite=True)


@pytest.mark.parametrize("place", ["path", "URL"])
def test_a_signal_with_models_is_not_replaced(data: xr.DataArray, tmp_path: Path, place: str) -> None:
    target = str(tmp_path / "map.zarr") if place == "path" else "memory://with-models/map.zarr"
    xfit.save(data, target)
    xfit.models(target).store(data.fit.multifit(two_peaks()), "a")
    with pytest.raises(FileExistsError, match=r"has models beside its signal.*xfit\.models"):
        xfit.save(data, target, overwrite=True)
    xfit.models(target).remove("a")
    xfit.save(data * 2, target, overwrite=True)
    np.testing.assert_array_equal(xfit.open(target), data * 2)


def test_foreign_objects_at_urls(data: xr.DataArray) -> None:
    import fsspec

    xfit.save(data, "memory://foreign/map.zarr")
    files = fsspec.filesystem("memory")
    files.pipe_file("/foreign/map.zarr/notes.txt", b"mine")
    with pytest.raises(FileExistsError, match=r"'notes\.txt' in it is no part"):
        xfit.save(data, "memory://foreign/map.zarr", overwrite=True)
    assert files.cat_file("/foreign/map.zarr/notes.txt") == b"mine"
    files.rm_file("/foreign/map.zarr/notes.txt")
    xfit.save(data * 2, "memory://foreign/map.zarr", overwrite=True)
    assert files.ls("/foreign", detail=False) == ["/foreign/map.zarr"]


def test_at_urls_the_description_comes_last(data: xr.DataArray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at each copy or removal: the old, nothing at all, or the new; never a part."""
    import fsspec

    files = type(fsspec.filesystem("memory"))
    steps = 0
    ended = False
    while not ended:
        place = f"memory://ordered/{steps}.zarr"
        xfit.save(data, place)
        left = steps

        def limited(name: str):
            whole = getattr(files, name)

            def act(self, *args, **kwargs):
                nonlocal left
                left -= 1
                if left < 0:
                    raise KeyboardInterrupt  # as a kill, after which nothing is put in order
                return whole(self, *args, **kwargs)

            return act

        with monkeypatch.context() as patch:
            for name in ("cp_file", "rm_file"):
                patch.setattr(files, name, limited(name))
            try:
                xfit.save(data * 2, place, overwrite=True)
                ended = True
            except KeyboardInterrupt:
                pass
        try:
            found: np.ndarray | None = open_array(place).values
        except (FileNotFoundError, ValueError):
            found = None
        parts = [each for each in fsspec.filesystem("memory").ls("/ordered", detail=False) if ".partial" in each]
        if found is None:
            # Nothing is found there; the new one lies whole beside.
            np.testing.assert_array_equal(xfit.open(f"memory:/{parts[-1]}"), data * 2)
        elif not np.array_equal(found, data):
            np.testing.assert_array_equal(found, data * 2)
        for part in parts:
            fsspec.filesystem("memory").rm(part, recursive=True)
        steps += 1
    assert steps > 5
