"""SAMFire wherever it runs: the same bits on threads and on worker processes, some of which are killed;
runs that go on from a store.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster

from tests.support.builders import assert_same_bits
from tests.support.paths import ROOT
from tests.support.samfire_maps import drifting, peak, right, seeds_of
from xfit.samfire import Histogram, ReducedChiSquared, Samfire

CHUNKS: dict[str, Any] = {"y": 5, "x": (4, 9, 7, 4)}


def run(client=None, **options) -> xr.Dataset:
    da, _ = drifting()
    given = {"progress": False, **seeds_of(da), **options}
    return da.chunk(CHUNKS).fit.samfire(peak(), client=client, **given).compute()


@pytest.fixture(scope="module")
def expected() -> xr.Dataset:
    """On one thread."""
    with dask.config.set(scheduler="threads", num_workers=1):
        return run()


def test_any_number_of_threads(expected) -> None:
    with dask.config.set(num_workers=4):
        assert_same_bits(run(), expected)


def test_however_long_visits_take(expected, monkeypatch) -> None:
    """Visits that end in any order: the clocks see to it that each sees what it would in any other."""
    from xfit.samfire import tasks

    random, plain = np.random.default_rng(0), tasks.spread

    def late(*arguments):
        time.sleep(random.uniform(0, 0.02))
        return plain(*arguments)

    monkeypatch.setattr(tasks, "spread", late)
    with dask.config.set(num_workers=6):
        assert_same_bits(run(), expected)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4])
def test_worker_processes(workers, expected) -> None:
    """Bit for bit; data on the cluster already or read by the workers."""
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        assert_same_bits(run(client), expected)
        da, _ = drifting()
        persisted = client.persist(da.chunk(CHUNKS))
        assert_same_bits(persisted.fit.samfire(peak(), progress=False, **seeds_of(da)).compute(), expected)


@pytest.mark.slow
def test_workers_that_are_killed(expected) -> None:
    """Again and again, at random moments: nothing is lost but time."""
    random = np.random.default_rng(7)
    for _ in range(4):
        # A cluster for each: whether a nanny replaces a worker that dies while it starts is not what is tested.
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            victim = int(random.choice(sorted(client.run(os.getpid).values())))
            thread = threading.Timer(random.uniform(0.02, 0.8), os.kill, (victim, signal.SIGKILL))
            thread.start()
            fit = run(client)
            thread.join()
            assert_same_bits(fit, expected)


def _count_visits(folder) -> int:
    return len(list((folder / "visits").glob("*.npz")))


def test_a_run_goes_on_from_its_store(tmp_path, expected, monkeypatch) -> None:
    """Stopped at any moment; what is stored is not done again, and the numbers are those of an undisturbed run."""
    from xfit.samfire import tasks

    store = tmp_path / "run"
    assert_same_bits(run(store=str(store)), expected)
    whole = _count_visits(store)
    made, plain = [], tasks.spread

    def counting(*arguments):
        made.append(arguments[1])
        return plain(*arguments)

    monkeypatch.setattr(tasks, "spread", counting)
    assert_same_bits(run(store=str(store)), expected)
    assert made == []
    part = tmp_path / "part"

    def watch(snapshot) -> None:
        if snapshot.visits >= 9:
            snapshot.stop()

    stopped = run(store=str(part), progress=watch)
    done = _count_visits(part)
    assert 9 <= done < whole
    assert (stopped.status == 1).sum() < (expected.status == 1).sum()
    made.clear()
    assert_same_bits(run(store=str(part)), expected)
    assert _count_visits(part) == whole
    # Two seeds' chunks are no visits of the wave.
    assert len(made) <= whole - done + 2


def test_a_store_of_any_file_system(expected) -> None:
    for _ in range(2):
        assert_same_bits(run(store="memory://samfire-of-a-test"), expected)


def test_a_store_of_another_run_is_refused(tmp_path) -> None:
    store = str(tmp_path / "run")
    run(store=store)
    with pytest.raises(ValueError, match="differs in: strategies"):
        run(store=store, strategies=[ReducedChiSquared(2), Histogram()])
    with pytest.raises(ValueError, match="differs in: seeds"):
        run(store=store, seeds=[(0, 1)])
    da, _ = drifting(seed=3)
    with pytest.raises(ValueError, match="differs in: data"):
        da.chunk(CHUNKS).fit.samfire(peak(), progress=False, store=store, **seeds_of(da))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty and holds no run"):
        run(store=str(tmp_path / "other"))


def test_functions_are_known_again() -> None:
    """A store knows functions and classes of users' own by what they do: two that do the
    same are equal, others are not.
    """
    from xfit.samfire import GlobalStrategy
    from xfit.samfire.checkpoint import described
    from xfit.samfire.goodness import goodness_of

    def made(limit):
        class Own(GlobalStrategy):
            pass

        return described(
            (goodness_of(lambda red_chisq: red_chisq < limit), ReducedChiSquared(2, decay=lambda r: 1 / r), Own())
        )

    assert made(2.0) == made(2.0)
    assert made(2.0) != made(3.0)
    assert " at 0x" not in made(2.0)


@pytest.mark.slow
def test_a_client_that_is_killed(tmp_path, expected) -> None:
    """The whole process dies; another one goes on."""
    import subprocess
    import sys

    store = tmp_path / "run"
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[2])\n"
        "from tests.support.samfire_maps import *\n"
        "def watch(s):\n    if s.visits == 12: os.kill(os.getpid(), signal.SIGKILL)\n"
        "da, _ = drifting()\n"
        "da.chunk({'y': 5, 'x': (4, 9, 7, 4)}).fit.samfire(peak(), progress=watch, store=sys.argv[1], **seeds_of(da))\n"
    )
    root = str(ROOT)
    done = subprocess.run([sys.executable, "-c", code, str(store), root], check=False)
    assert done.returncode == -signal.SIGKILL
    assert _count_visits(store) >= 10
    assert_same_bits(run(store=str(store)), expected)


def test_only_what_is_needed_is_read() -> None:
    """A map of which one half is cut off by NaN: chunks beyond the front are never read."""
    from tests.support.builders import from_source

    da, _ = drifting((10, 60))
    lazy, source = from_source(da, {"y": 5, "x": 5})
    fit = lazy.fit.samfire(peak(), seeds=[(0, 0)], variance=10.0, strategies=ReducedChiSquared(), progress=False)
    words = fit.status.compute()
    read = {key[1].start // 5 for key in source.reads}
    # The right half needs another seed: the wave looks into its first chunks and no further.
    assert max(read) <= 7
    assert (words.isel(x=slice(45, 60)) == 13).all()


def test_numpy_data_do_not_depend_on_cores(monkeypatch) -> None:
    da, centre = drifting((70, 80))
    import xfit.fitting.running.executors as executors

    fits = []
    for cores in (1, 3):
        monkeypatch.setattr(executors, "CPU_COUNT", cores)
        fits.append(Samfire(da, peak(), progress=False, **seeds_of(da)).run())
    assert_same_bits(*fits)
    assert right(fits[0], centre) > 0.995
