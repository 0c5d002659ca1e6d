"""Files of HyperSpy with very many groups: what is not wanted is not read, and of the rest so much as is read soon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

import xfit
from tests.support.opened import open_array
from xfit.files.hyperspy_reader import MOST_METADATA
from xfit.fitting.stored.codecs import RefusedFileError
from xfit.hyperspy.model_files import open_models

h5py = pytest.importorskip("h5py")


def opened(path: Path) -> Any:
    """A signal in a file of HyperSpy, open for more."""
    da = xr.DataArray(np.ones((2, 3)), dims=("x", "e"), name="d", attrs={"Sample.elements": ["Fe"]})
    xfit.save(da, path)
    # What reads it is imported.
    xfit.open(path)
    return h5py.File(path, "r+") if path.suffix == ".hspy" else zarr.open_group(path, mode="r+")


def fill(group: Any, number: int) -> None:
    for k in range(number):
        group.create_group(f"g{k}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("Experiments/d/metadata/more", f"has more than {MOST_METADATA} groups and arrays of metadata; it is not read"),
        ("Analysis/models", f"has more than {MOST_METADATA} groups and arrays of metadata; it is not read"),
        ("Experiments", "has 20001 signals; the most that are opened together are 1000"),
        ("Experiments/d/original_metadata/more", None),
    ],
)
def test_twenty_thousand(tmp_path: Path, place: str, words: str | None) -> None:
    path = tmp_path / "a.hspy"
    with opened(path) as file:
        fill(file.require_group(place), 20_000)
    if words is None:
        assert (open_array(path) == 1).all()
    else:
        with pytest.raises(RefusedFileError, match=rf"a\.hspy {words}"):
            xfit.open(path)


@pytest.mark.parametrize("ending", ["hspy", "zspy"])
def test_what_is_counted(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"a.{ending}"
    file = opened(path)
    fill(file["Experiments/d/original_metadata"], 60)
    if ending == "hspy":
        file.close()
    monkeypatch.setattr("xfit.files.hyperspy_reader.MOST_METADATA", 50)
    found = xfit.open(path)
    assert found.attrs["Sample.elements"] == ["Fe"]
    with pytest.raises(
        RefusedFileError,
        match=(
            rf"a\.{ending} has more than 50 groups and arrays of metadata, the original ones among them; it is not "
            r"read\. Open it without original_metadata=True"
        ),
    ):
        xfit.open(path, original_metadata=True)
    assert open_models(path).data.shape == (2, 3)
    monkeypatch.setattr("xfit.files.hyperspy_reader.MOST_METADATA", 5)
    for look in (xfit.open, open_models):
        with pytest.raises(RefusedFileError, match=rf"a\.{ending} has more than 5 groups and arrays of metadata; it"):
            look(path)


def test_original_metadata_are_read_where_they_are_wanted(tmp_path: Path) -> None:
    path = tmp_path / "a.hspy"
    with opened(path) as file:
        file["Experiments/d/original_metadata"].create_group("stage").attrs["tilt"] = 3.5
    assert "original_metadata" not in xfit.open(path).attrs
    assert xfit.open(path, original_metadata=True).attrs["original_metadata"] == '{"stage": {"tilt": 3.5}}'


def test_many_paths_and_loops_are_told_soon(tmp_path: Path) -> None:
    path = tmp_path / "a.hspy"
    with opened(path) as file:
        group = file.create_group("more")
        for _ in range(60):
            inner = group.create_group("a")
            group["b"] = inner
            group["c"] = h5py.SoftLink(inner.name)
            group = inner
    # 3 + 9 + ... + 3**60 in one another.
    with pytest.raises(
        RefusedFileError, match=r"a\.hspy has more than 100000 groups and arrays on the paths through it: 6.36e\+28"
    ):
        xfit.open(path)
    with h5py.File(path, "r+") as file:
        file["more/a/a/back"] = h5py.SoftLink("/more/a")
    with pytest.raises(RefusedFileError, match=r"a\.hspy: '/more/a/a/back' is a group within itself"):
        xfit.open(path)
