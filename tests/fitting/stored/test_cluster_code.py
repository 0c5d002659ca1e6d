"""Machine code of the client taken by workers of a cluster; workers with vectors of another width beside them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import xarray as xr
from distributed import Client

from tests.support.builders import assert_same_bits, peak_map, two_peaks
from tests.support.paths import ROOT
from tests.support.widths import OTHER_WIDTH

pytestmark = pytest.mark.slow


@contextmanager
def cluster(folder: Path, *workers: dict[str, str]) -> Iterator[Client]:
    """A scheduler and workers, each a process of its own with the variables given; on loopback.

    Those with the client's width of vectors have empty caches; code of another width is that of the usual cache, or is
    compiled.
    """
    where = folder / "scheduler.json"
    processes: list[subprocess.Popen[bytes]] = []

    def start(variables: dict[str, str], *words: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
        log = (folder / f"log-{len(processes)}").open("w")
        processes.append(
            subprocess.Popen([sys.executable, "-m", "dask", *words], env=environment, stdout=log, stderr=log)
        )

    try:
        start({}, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(where))
        while not where.exists():
            assert processes[0].poll() is None, (folder / "log-0").read_text()
            time.sleep(0.05)
        for number, variables in enumerate(workers):
            cache = folder / f"cache-{number}"
            options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(folder))
            empty = {} if "XFIT_LANES" in variables else {"XFIT_CACHE_DIR": str(cache)}
            start({**empty, **variables}, "worker", "--scheduler-file", str(where), *options)
        with Client(scheduler_file=str(where)) as client:
            client.wait_for_workers(len(workers), timeout=60)
            yield client
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                # A worker that looks for its scheduler does not hear.
                process.kill()
                process.wait()


def compiled() -> tuple[str, int]:
    """Which worker this is, and how many functions it has compiled or had compiled by a process of its own."""
    from xfit.engine.codegen import subprocess_compile
    from xfit.engine.codegen.machine_code import made

    return os.environ.get("XFIT_LANES", ""), made() + subprocess_compile.started()


@pytest.fixture
def stored(tmp_path: Path) -> xr.DataArray:
    path = tmp_path / "map.zarr"
    peak_map((20, 12)).rename("a").to_dataset().to_zarr(
        path, encoding={"a": {"chunks": (4, 3, 60)}}, consolidated=False
    )
    return xr.open_zarr(path, consolidated=False).a


def test_workers_take_the_clients_code_and_others_make_their_own(stored, tmp_path) -> None:
    """Of three workers one has vectors of another width; the others, with empty caches, compile
    nothing, and all have the same bits.
    """
    expected = stored.fit.multifit(two_peaks()).compute()
    with cluster(tmp_path, {}, {}, OTHER_WIDTH) as client:
        stored.fit.multifit(two_peaks(), store=tmp_path / "fit.zarr")
        found = client.run(compiled)
        chunks = client.run(lambda dask_worker: dask_worker.state.executed_count)
    fit = xr.open_zarr(tmp_path / "fit.zarr", consolidated=False)
    assert_same_bits(fit[["value", "stderr"]].compute(), expected[["value", "stderr"]])
    assert all(number > 0 for number in chunks.values())
    numbers = {lanes: number for lanes, number in found.values()}
    assert [number for lanes, number in found.values() if not lanes] == [0, 0]
    assert OTHER_WIDTH["XFIT_LANES"] in numbers
