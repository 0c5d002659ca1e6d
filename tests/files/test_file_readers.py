"""Readers of other packages, by entry points."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.opened import open_array
from xfit.files import readers

PACKAGE = """
import numpy as np, xarray as xr
from xfit.files.readers import Reader

def read(path, original_metadata):
    values = np.loadtxt(path, ndmin=1)
    return [xr.DataArray(values, dims=("energy",), attrs={"original_metadata": "{}"} if original_metadata else {})]

reader = Reader("Counter", (".counter",), read)
wrong = 3
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package as pip installs it, with one reader."""
    (tmp_path / "counter_files.py").write_text(textwrap.dedent(PACKAGE))
    info = tmp_path / "counter_files-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: counter-files\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[xfit.readers]\ncounter = counter_files:reader\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    readers.readers.cache_clear()
    yield info
    readers.readers.cache_clear()


def test_files_of_another_package(installed: Path, tmp_path: Path) -> None:
    np.savetxt(tmp_path / "one.Counter", [1.0, 2.0, 3.0])
    da = xfit.open(tmp_path / "one.Counter", original_metadata=True)
    xr.testing.assert_identical(da, xr.DataArray([1.0, 2.0, 3.0], dims=("energy",), attrs={"original_metadata": "{}"}))
    np.savetxt(tmp_path / "one.txt", [4.0])
    assert open_array(tmp_path / "one.txt", reader="counter").values.tolist() == [4.0]
    (tmp_path / "damaged.counter").write_text("no numbers")
    with pytest.raises(ValueError, match=r"damaged\.counter.*(can't be read as Counter|could not convert)"):
        xfit.open(tmp_path / "damaged.counter")
    with pytest.raises(ValueError, match=r"Counter \(counter\)"):
        xfit.open(tmp_path / "counter_files.py")


def test_what_is_no_reader_is_told(installed: Path, tmp_path: Path) -> None:
    (installed / "entry_points.txt").write_text("[xfit.readers]\ncounter = counter_files:wrong\n")
    (tmp_path / "one.counter").touch()
    with pytest.raises(
        TypeError, match=r"entry point 'counter' of counter-files .* must be an xfit\.files\.readers\.Reader, not int"
    ):
        xfit.open(tmp_path / "one.counter")
