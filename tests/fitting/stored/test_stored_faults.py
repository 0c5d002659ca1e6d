"""Stored runs that are killed at any write, overwritten, or written by two: the old result is
whole, or the new one goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import Any

import dask
import pytest
import xarray as xr
from zarr.storage import MemoryStore

from tests.support.builders import assert_same_bits, two_peaks
from tests.support.kills import step
from tests.support.paths import ROOT
from tests.support.stored_faults import (
    Killed,
    Mortal,
    killed,
    one_thread,  # noqa: F401
)
from tests.support.two_runs import data, first, is_result, second
from xfit.fitting.stored.archive import Archive
from xfit.fitting.stored.check import check
from xfit.fitting.stored.storage import StoreError

pytestmark = pytest.mark.filterwarnings("ignore:Object at .* is not recognized as a component of a Zarr hierarchy")


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


#: Forks a child for each kill: it is ended before the n-th change of a file or folder in the store, and the parent goes
#: on.
KILLS = """
import os, shutil, sys, warnings
sys.path.insert(0, {root!r})
warnings.simplefilter("ignore")
import dask
import xarray as xr
from tests.support.builders import assert_same_bits
from tests.support.two_runs import data, first, is_result, second
from tests.support.builders import two_peaks

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
    # A child has none of dask's threads.
    with dask.config.set(num_workers=1, scheduler="synchronous"):
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
                if not os.path.exists(os.path.join(store, "marks/run-b/zarr.json")):
                    # Nothing there says yet that it was to be replaced.
                    after += step
                    continue
            run(store, resume=True)
            for consolidated in (True, False):
                assert is_result(xr.open_zarr(store, consolidated=consolidated), expected), after
            parts = [name for _, _, names in os.walk(store) for name in names if name.endswith(".partial")]
            assert parts == [], parts
            after += step
        assert news == sorted(news)
        print("kills", after)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="each kill is of a fork")
@pytest.mark.parametrize(("kind", "usual"), [("first", 29), ("overwrite", 37)])
def test_killed_at_any_change_of_a_folder(kind, usual, tmp_path) -> None:
    """SIGKILL before every so many-th file is opened, renamed or removed, folder made or removed;
    with a step of 1 before each.
    """
    script = tmp_path / "kills.py"
    script.write_text(textwrap.dedent(KILLS).format(root=str(ROOT)))
    done = subprocess.run(
        [sys.executable, str(script), kind, str(tmp_path), str(step(usual))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Files are made under another name and renamed, in folders of their own.
    assert int(done.stdout.split()[-1]) > 150


def replaced(store: Any, by: Any) -> None:
    """A run during which another one begins and ends."""
    begun: list[int] = []

    def meanwhile(_: Any) -> None:
        if not begun:
            begun.append(1)
            by()

    # Four chunks: some are not begun when the other one begins.
    with dask.config.set(num_workers=1):
        data((4, 4)).fit.multifit(two_peaks(), store=store, progress=meanwhile)


@pytest.mark.parametrize("place", ["folder", "memory"])
@pytest.mark.parametrize("way", ["overwrite", "resume"])
def test_a_run_that_is_replaced_ends_and_says_by_whom(place, way, tmp_path) -> None:
    """The store is the second one's, to the bit."""
    store = tmp_path / "fit.zarr" if place == "folder" else MemoryStore()
    model = two_peaks() if way == "resume" else two_peaks(**{"left.A": 31.0})
    da = data((4, 4))
    with pytest.raises(
        StoreError, match=rf"is written by another run now, .*{way}=True, by process {os.getpid()} on .* at 20"
    ):
        replaced(store, lambda: da.fit.multifit(model, store=store, progress=False, **{way: True}))
    assert is_result(xr.open_zarr(store), da.fit.multifit(model).compute())
    assert check(store) == []


def test_what_a_replaced_run_writes_last_is_written_again(monkeypatch) -> None:
    """A process that was stopped between its look at who writes and its write: the chunk it
    has spoilt loses its mark.
    """
    store, plain = MemoryStore(), Archive.write
    da = data((4, 4))
    expected = da.fit.multifit(two_peaks(), max_nfev=77).compute()
    da.fit.multifit(two_peaks(), store=store, progress=False)
    seen: list[int] = []

    def late(self: Archive, chunk: int, arrays: Any, message: str = "") -> Any:
        if not seen:
            seen.append(chunk)

            def stop(snapshot: Any) -> None:
                if snapshot.chunks_done == 2:
                    raise Killed

            with pytest.raises(Killed):
                da.fit.multifit(two_peaks(), max_nfev=77, store=store, overwrite=True, progress=stop)
        return plain(self, chunk, arrays, message)

    monkeypatch.setattr(Archive, "write", late)
    with pytest.raises(StoreError, match="is written by another run now"):
        da.fit.multifit(two_peaks(), variance=0.04, store=store, overwrite=True, progress=False)
    begun: list[int] = []
    da.fit.multifit(two_peaks(), max_nfev=77, store=store, resume=True, progress=lambda s: begun.append(s.chunks_done))
    # Of the two that were done, the one that was written over is done again.
    assert begun == [2, 3, 4]
    assert is_result(xr.open_zarr(store), expected)
