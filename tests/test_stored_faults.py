"""Stored runs that are killed at any write, overwritten, written by two, damaged or looked at by workers elsewhere: nothing is lost, and nothing is wrong without a word."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from zarr.storage import MemoryStore, WrapperStore

from tests.builders import assert_same_bits, peak_map, two_peaks
from xfit.stored.check import check
from xfit.stored.storage import StoreError

pytestmark = pytest.mark.filterwarnings("ignore:Object at .* is not recognized as a component of a Zarr hierarchy")


def data(shape: tuple[int, int] = (2, 4)) -> xr.DataArray:
    """Two chunks of four pixels each."""
    da = peak_map(shape).chunk(y=2, x=2).assign_coords(y=np.arange(float(shape[0])), x=np.arange(float(shape[1])))
    da.name = "counts"
    da.attrs["units"] = "counts"
    return da


def first(store: Any, **options: Any) -> xr.Dataset:
    """The run that is there."""
    return data().fit.multifit(two_peaks(), store=store, progress=options.pop("progress", False), **options)


def second(store: Any, **options: Any) -> xr.Dataset:
    """The run that replaces it: another variable, and other numbers."""
    return data().fit.multifit(
        two_peaks(), store=store, variance=0.04, covariance=True, progress=options.pop("progress", False), **options
    )


@pytest.fixture(scope="module")
def one() -> xr.Dataset:
    return data().fit.multifit(two_peaks()).compute()


@pytest.fixture(scope="module")
def other() -> xr.Dataset:
    return data().fit.multifit(two_peaks(), variance=0.04, covariance=True).compute()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Writes in the same order each time."""
    with dask.config.set(num_workers=1):
        yield


def is_result(ds: xr.Dataset, expected: xr.Dataset) -> bool:
    """Whether all variables are there with all their bits."""
    return set(ds.data_vars) == set(expected.data_vars) and all(
        np.array_equal(ds[name].values, expected[name].values, equal_nan=ds[name].dtype.kind == "f")
        for name in expected
    )


# --- kills


class Killed(BaseException):
    """What stands for the end of the process."""


class Mortal(WrapperStore):
    """A store that nothing is written to any more from a certain write or deletion on."""

    left = 1 << 60

    def _count(self) -> None:
        Mortal.left -= 1
        if Mortal.left < 0:
            raise Killed

    async def set(self, *args: Any, **kwargs: Any) -> None:  # noqa: D102
        self._count()
        await super().set(*args, **kwargs)

    async def delete(self, *args: Any, **kwargs: Any) -> None:  # noqa: D102
        self._count()
        await super().delete(*args, **kwargs)


def step(usual: int) -> int:
    """Every so many-th kill is tried; ``XFIT_TEST_EVERY_KILL=1`` tries all, which takes minutes."""
    return int(os.environ.get("XFIT_TEST_EVERY_KILL", usual))


def killed(run: Any, store: Any, after: int, **options: Any) -> bool:
    """Whether a run was killed after so many writes."""
    Mortal.left = after
    try:
        run(store, **options)
    except (Killed, StoreError):
        return True
    finally:
        left, Mortal.left = Mortal.left, 1 << 60
    assert left >= 0
    return False


def test_killed_at_any_write_of_a_first_run(one) -> None:
    """What a plain reader opens is the layout or more; resume=True ends with the bits of a run that was left alone."""
    after = 0
    while True:
        kept: dict[str, Any] = {}
        if not killed(first, Mortal(MemoryStore(kept)), after):
            break
        assert_same_bits(first(MemoryStore(kept), resume=True).compute(), one)
        assert check(MemoryStore(kept)) == []
        after += step(5)
    # Description, coordinates, metadata, two chunks of some 12 variables, marks.
    assert after > 50


@pytest.mark.parametrize("way", ["resume", "overwrite", "first again"])
def test_killed_at_any_write_of_a_run_that_replaces_another(way, one, other) -> None:
    """Before one certain write a plain reader has all of the old result, from it on all of the new one."""
    old: dict[str, Any] = {}
    first(MemoryStore(old))
    kept = dict(old)
    second(MemoryStore(kept), overwrite=True)
    number, after, news = len(kept), 0, []
    while True:
        kept = dict(old)
        if not killed(second, Mortal(MemoryStore(kept)), after, overwrite=True):
            break
        seen = xr.open_zarr(MemoryStore(kept))
        news.append(is_result(seen, other))
        assert news[-1] or is_result(seen, one)
        if after == 0:
            with pytest.raises(ValueError, match="differs in"):
                second(MemoryStore(kept), resume=True)
            after += 1 if way == "resume" else 3
            continue
        if way == "resume":
            assert_same_bits(second(MemoryStore(kept), resume=True).compute(), other)
        elif way == "overwrite":
            assert_same_bits(second(MemoryStore(kept), overwrite=True).compute(), other)
        elif not news[-1]:
            # The run that was to be replaced is whole, and stays.
            assert_same_bits(first(MemoryStore(kept), resume=True).compute(), one)
            assert is_result(xr.open_zarr(MemoryStore(kept)), one)
        if way != "first again":
            assert is_result(xr.open_zarr(MemoryStore(kept)), other)
            assert is_result(xr.open_zarr(MemoryStore(kept), consolidated=False), other)
            assert len(kept) == number
            assert check(MemoryStore(kept)) == []
        after += step(6 if way == "resume" else 20)
    assert news == sorted(news)
    assert news[0] is False
    assert news[-1] is True


#: Forks a child for each kill: it is ended before the n-th change of a file or folder in the store, and the parent goes on.
KILLS = """
import os, shutil, sys, warnings
sys.path.insert(0, {root!r})
warnings.simplefilter("ignore")
import dask
import xarray as xr
from tests.builders import assert_same_bits
from tests.test_stored_faults import data, first, is_result, second
from tests.builders import two_peaks

CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")

def mortal(store, after):
    left = after
    def hook(event, arguments):
        nonlocal left
        if event in CHANGES and store in str(arguments[0]) and (event != "open" or "w" in str(arguments[1])):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), 9)
    sys.addaudithook(hook)

def ended(run, store, after, **options):
    child = os.fork()
    if not child:
        mortal(store, after)
        run(store, **options)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

if __name__ == "__main__":
    kind, folder, step = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with dask.config.set(num_workers=1):
        one = data().fit.multifit(two_peaks()).compute()
        other = data().fit.multifit(two_peaks(), variance=0.04, covariance=True).compute()
        old, store = os.path.join(folder, "old.zarr"), os.path.join(folder, "fit.zarr")
        first(old)
        after, news = 0, []
        while True:
            shutil.rmtree(store, ignore_errors=True)
            if kind == "overwrite":
                shutil.copytree(old, store)
            run, expected = (first, one) if kind == "first" else (second, other)
            code = ended(run, store, after, overwrite=kind == "overwrite")
            if code == 0:
                break
            assert code == -9, code
            if kind == "overwrite":
                news.append(is_result(xr.open_zarr(store), other))
                assert news[-1] or is_result(xr.open_zarr(store), one), after
            run(store, resume=True)
            for consolidated in (True, False):
                assert is_result(xr.open_zarr(store, consolidated=consolidated), expected), after
            parts = [name for _, _, names in os.walk(store) for name in names if name.endswith(".partial")]
            assert parts == [] or kind == "first", parts
            after += step
        assert news == sorted(news)
        print("kills", after)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="each kill is of a fork")
@pytest.mark.parametrize(("kind", "usual"), [("first", 29), ("overwrite", 37)])
def test_killed_at_any_change_of_a_folder(kind, usual, tmp_path) -> None:
    """SIGKILL before every so many-th file is opened, renamed or removed, folder made or removed; with a step of 1 before each."""
    script = tmp_path / "kills.py"
    script.write_text(textwrap.dedent(KILLS).format(root=str(Path(__file__).parent.parent)))
    done = subprocess.run([sys.executable, str(script), kind, str(tmp_path), str(step(usual))], capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    # Files are made under another name and renamed, in folders of their own.
    assert int(done.stdout.split()[-1]) > 150
