"""Fits into a store: a soak of a map larger than the workers' memory with kills and resumed runs, and
a million chunks without work.

Run by ``ci/bench/run stored [soak] [million]``. SOAK_GIB is the size of the map (default 16), SOAK_FOLDER where it
lies.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray as xr
import zarr

import xfit
from xfit.components import Gaussian, Offset, Polynomial, Voigt

X = np.linspace(-5, 5, 1024)
#: Pixels of a chunk along each dimension: 64 MiB, about what dask recommends.
SIDE = int(os.environ.get("SOAK_SIDE", "128"))


def model() -> xfit.Model:
    """A Gaussian on a constant, which is what the map holds: fits so fast that reading and writing show."""
    return xfit.Model([Gaussian(name="g", A=300.0, centre=0.2, sigma=1.2), Offset(name="o", offset=8.0)])


def larger() -> xfit.Model:
    """A Voigt profile on a cubic background: what a fit of 1,024 channels costs more often."""
    return xfit.Model([Voigt(name="v", area=300.0, centre=0.2, sigma=1.0, gamma=0.1), Polynomial(3, name="p", a0=8.0)])


def _chunk(block: np.ndarray, block_info: Any = None) -> np.ndarray:
    """Counts of a chunk, the same whenever they are made."""
    shape = block_info[None]["chunk-shape"]
    random = np.random.default_rng([*block_info[None]["chunk-location"]])
    centre = random.uniform(-0.5, 0.5, shape[:2])
    return random.poisson(10 + 120 * np.exp(-((X - centre[..., None]) ** 2) / 2)).astype(np.float32)


def make(path: Path, gib: float) -> xr.DataArray:
    """Write the map chunk by chunk, unless it is there, and open it."""
    rows = max(int(gib * 2**30 / (4 * SIDE * X.size * 4 * SIDE)), 1)
    shape = (rows * SIDE, 4 * SIDE, X.size)
    if not path.exists():
        lazy = dask.array.map_blocks(
            _chunk, dask.array.empty(shape, "f4", chunks=(SIDE, SIDE, -1)), dtype="f4", meta=np.empty((0, 0, 0), "f4")
        )
        made = xr.DataArray(lazy, dims=("y", "x", "e"), coords={"e": X}, name="counts").to_dataset()
        part = path.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        made.to_zarr(part, consolidated=False, encoding={"counts": {"compressors": None}})
        part.rename(path)
    return xr.open_zarr(path, consolidated=False).counts


def _peak() -> float:
    """Largest resident memory of this process so far, in MiB; getrusage would begin with what its parent had."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


class Disturbed(Exception):
    """Raised in the client, as if it had been killed."""


#: Arrays of a worker in large pages, which makes reading three times as fast; see docs/clusters.md.
dask.config.set({"distributed.nanny.pre-spawn-environ.GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"})

#: Two workers with one thread each, as small as can be.
WORKERS = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": "1.5GiB", "dashboard_address": None}


def undisturbed(da: xr.DataArray, of: Callable[[], xfit.Model], store: Path) -> None:
    """Fit the map into a store, and a part of it in memory on as many threads as there are workers."""
    from distributed import Client, LocalCluster

    part = da.isel(y=slice(SIDE)).compute()
    part.fit.multifit(of())
    began, rounds = time.perf_counter(), 8
    for _ in range(rounds):
        part.fit.multifit(of())
    memory = rounds * part.sizes["y"] * part.sizes["x"] / (time.perf_counter() - began)
    del part
    with LocalCluster(**WORKERS) as cluster, Client(cluster) as client:
        # Like the fits in memory, these are counted when all is loaded.
        da.isel(y=slice(SIDE)).fit.multifit(of(), store=store, overwrite=True, progress=False)
        began = time.perf_counter()
        da.fit.multifit(of(), store=store, overwrite=True, progress=False)
        rate = da.sizes["y"] * da.sizes["x"] / (time.perf_counter() - began)
        peaks = client.run(_peak)
    print(
        f"{da.nbytes / 2**30:.1f} GiB, {da.data.npartitions} chunks of {SIDE * SIDE * X.size * 4 / 2**20:.0f} MiB, "
        f"{len(of())} components: {rate:,.0f} fits/s on 2 workers, {memory:,.0f} in memory on 2 threads: "
        f"{rate / memory:.0%}; peak memory of a worker {max(peaks.values()):.0f} MiB, of the client {_peak():.0f} MiB",
        flush=True,
    )


def disturbed(da: xr.DataArray, store: Path) -> None:
    """Fit the map while ten workers are killed and the client gives up twice."""
    from distributed import Client, LocalCluster

    random = np.random.default_rng(0)
    chunks = da.data.npartitions
    moments = set(random.choice(np.arange(1, chunks - 1), 10, replace=False).tolist())
    killed = resumed = 0
    for end in (chunks // 3, 2 * chunks // 3, chunks + 1):
        with LocalCluster(**WORKERS) as cluster, Client(cluster) as client:

            def disturb(snapshot: Any, client: Any = client, end: int = end) -> None:
                nonlocal killed
                if snapshot.chunks_done in moments:
                    pids = sorted(client.run(os.getpid, on_error="ignore").values())
                    if pids:
                        os.kill(int(random.choice(pids)), signal.SIGKILL)
                        killed += 1
                if snapshot.chunks_done >= end:
                    raise Disturbed

            try:
                fresh = {"resume": True} if resumed else {"overwrite": True}
                da.fit.multifit(model(), store=store, progress=disturb, **fresh)
            except Disturbed:
                resumed += 1
    print(f"{killed} workers killed, {resumed} runs ended and resumed", flush=True)


def soak() -> None:
    """A map larger than all workers' memory: peak memory, speed against memory, ten kills,
    two resumed runs, the same bits.
    """
    folder = Path(os.environ.get("SOAK_FOLDER") or os.environ.get("BENCH_WORK") or "output/bench")
    gib = float(os.environ.get("SOAK_GIB", "16"))
    da = make(folder / f"soak-{gib:g}-{SIDE}.zarr", gib)
    stores = [folder / f"soak-fit-{k}.zarr" for k in range(2)]
    undisturbed(da, larger, stores[0])
    undisturbed(da, model, stores[0])
    disturbed(da, stores[1])
    one, other = (xr.open_zarr(store, consolidated=False) for store in stores)
    rows = [slice(a, a + SIDE) for a in range(0, da.sizes["y"], SIDE)]
    same = all(
        one[v].isel(y=r).values.tobytes() == other[v].isel(y=r).values.tobytes() for v in one.data_vars for r in rows
    )
    print("the same bits" if same else "DIFFERENT BITS", flush=True)


def million() -> None:
    """A million chunks, of which the first thousand are done by calls that do nothing: what the
    client needs before and for each.
    """
    from xfit.fitting.stored import chunk_task as work
    from xfit.fitting.stored import run

    with tempfile.TemporaryDirectory() as folder:
        zarr.create_array(
            f"{folder}/map.zarr/a",
            shape=(1000 * 64, 1000 * 64, 16),
            chunks=(64, 64, 16),
            dtype="f4",
            dimension_names=("y", "x", "e"),
        )
        zarr.open_group(f"{folder}/map.zarr", mode="a")
        da = xr.open_zarr(f"{folder}/map.zarr", consolidated=False).a
        small = da[:64, :64].load()
        small.fit.multifit(model())
        plain, run.do_chunk = run.do_chunk, lambda common, chunk, blocks: work.Mark(4096, 4096, 0, 0, 0, 0)
        before, began, times = _peak(), time.perf_counter(), []

        def watch(snapshot: Any) -> None:
            times.append(time.perf_counter())
            if snapshot.chunks_done == 1000:
                raise Disturbed

        try:
            da.fit.multifit(model(), store=f"{folder}/fit.zarr", progress=watch)
        except Disturbed:
            pass
        finally:
            run.do_chunk = plain
        print(
            f"{da.data.npartitions:,} chunks: the first is done after {times[0] - began:.1f} s, then "
            f"{1e3 * (times[-1] - times[0]) / 999:.2f} ms each; {_peak() - before:.0f} MiB",
            flush=True,
        )


def main() -> None:
    """Run what is asked for, or all."""
    works = {"soak": soak, "million": million}
    for name in sys.argv[1:] or works:
        print(f"-- {name}: {(works[name].__doc__ or '').splitlines()[0]}", flush=True)
        works[name]()


if __name__ == "__main__":
    main()
