"""SAMFire: the drifting peak against HyperSpy's serial SAMFire, threads and processes, chunk sizes, a
front of ten thousand chunks.

Run by ``ci/bench/run samfire``, or by hand: ``samfire.py peak scaling chunks front``. The map has two domains in each
of which the peak drifts over 15 widths, and one seed in each.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

import dask
import numpy as np
import xarray as xr

import xfit
from xfit.components import Gaussian, Offset

CHANNELS = np.linspace(0, 90, 256)

#: Seconds after which HyperSpy is stopped: a pixel that can't pass its test would keep it busy for ever.
PATIENCE = 400


def drifting(n: int) -> tuple[xr.DataArray, np.ndarray, np.ndarray]:
    """Map of n x n spectra, the true centres, and a start value for each domain."""
    y, x = np.mgrid[:n, :n] / (n - 1)
    centre = np.where(x < 0.5, 12 + 15 * y, 75 - 15 * y)
    height = 100 + 30 * np.sin(5 * x) * np.cos(3 * y)
    random = np.random.default_rng(0)
    data = np.empty((n, n, CHANNELS.size), np.float32)
    for row in range(n):
        clean = height[row, :, None] * np.exp(-((CHANNELS - centre[row, :, None]) ** 2) / 2) + 10
        data[row] = random.poisson(clean)
    return xr.DataArray(data, dims=("y", "x", "e"), coords={"e": CHANNELS}), centre, np.where(x < 0.5, 12.0, 75.0)


def model() -> xfit.Model:
    """A Gaussian on a constant."""
    m = xfit.Model([Gaussian(name="g", A=250.0, centre=12.0, sigma=1.0), Offset(name="o", offset=10.0)])
    m["g"].sigma.set(min=0.2, max=5)
    m["g"].A.set(min=0)
    return m


def samfire(da: xr.DataArray, begin: np.ndarray, **options: Any) -> xr.Dataset:
    """Fit from one seed in each domain."""
    n = da.sizes["x"]
    given = {
        "seeds": [(0, 2), (0, n - 3)],
        "start": {"g.centre": xr.DataArray(begin, dims=("y", "x"))},
        "variance": np.maximum(da, 1),
        "progress": False,
    }
    return da.fit.samfire(model(), **{**given, **options}).compute()


def right(fit: xr.Dataset, centre: np.ndarray) -> float:
    """Share of pixels within five standard errors of the truth."""
    return float((abs(fit.fit["g.centre"] - centre) < 5 * fit.fit.stderr("g.centre")).mean())


def hyperspy(path: str) -> None:
    """HyperSpy's serial SAMFire of the map in a file; run in a process of its own, for it may have to be stopped."""
    import hyperspy.api as hs
    from hyperspy.components1d import Gaussian as HSGaussian
    from hyperspy.components1d import Offset as HSOffset

    given = np.load(path)
    signal = hs.signals.Signal1D(given["data"].astype(float))
    signal.axes_manager[-1].scale = CHANNELS[1] - CHANNELS[0]
    signal.set_noise_variance(hs.signals.Signal1D(np.maximum(given["data"], 1).astype(float)))
    m = signal.create_model()
    peak, offset = HSGaussian(A=250.0, centre=12.0, sigma=1.0), HSOffset(offset=10.0)
    m.extend([peak, offset])
    n = given["data"].shape[0]
    for x, y in ((2, 0), (n - 3, 0)):
        m.axes_manager.indices = (x, y)
        peak.A.value, peak.sigma.value, offset.offset.value = 250.0, 1.0, 10.0
        peak.centre.value = float(given["begin"][y, x])
        m.fit()
    run = m.create_samfire(workers=0, setup=False)
    run.refresh_database()
    print("begun", flush=True)
    began = time.perf_counter()

    def report(*_: object) -> None:
        centres, errors = peak.centre.map["values"], peak.centre.map["std"]
        good = peak.centre.map["is_set"] & (abs(centres - given["centre"]) < 5 * errors)
        print(f"hyperspy {time.perf_counter() - began:.1f} {good.mean():.4f} {run.pixels_done}", flush=True)

    import signal as signals

    signals.signal(signals.SIGTERM, lambda *_: (report(), os._exit(0)))
    run.start(grad="analytical")
    report()


def peak() -> None:
    """The drifting peak, 48 x 48 with HyperSpy and 512 x 512."""
    for n in (48, 512):
        da, centre, begin = drifting(n)
        variance = np.maximum(da, 1)
        one = right(da.fit.multifit(model(), variance=variance), centre)
        samfire(da[:8, :8], begin[:8, :8], seeds=[(0, 0)])
        began = time.perf_counter()
        fit = samfire(da, begin)
        taken = time.perf_counter() - began
        print(
            f"{n} x {n}: right {right(fit, centre):.2%} (multifit from a seed's values {one:.2%}), {taken:.3f} s, "
            f"{n * n / taken:,.0f} pixels/s",
            flush=True,
        )
        if n > 48:
            continue
        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            np.savez(file, data=da.values, centre=centre, begin=begin)
            file.flush()
            command = [sys.executable, __file__, "hyperspy", file.name]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONWARNINGS": "ignore"}
            ) as process:
                assert process.stdout is not None
                try:
                    words = process.communicate(timeout=PATIENCE)[0]
                except subprocess.TimeoutExpired:
                    process.terminate()
                    words = process.communicate()[0]
            _, seconds, share, done = words.split("\n")[-2].split()
            stopped = " (stopped: it does not end)" if float(seconds) > PATIENCE - 60 else ""
            print(
                f"  HyperSpy, serial: right {float(share):.2%}, {done} pixels in {seconds} s{stopped}; ratio "
                f"{float(seconds) / taken:,.0f}",
                flush=True,
            )


def scaling() -> None:
    """Pixels per second on threads and processes."""
    from distributed import Client, LocalCluster

    da, _, begin = drifting(384)
    cut = da.chunk({"y": 64, "x": 64})
    for workers in (1, 2):
        with dask.config.set(num_workers=workers):
            samfire(cut[:64, :64], begin[:64, :64], seeds=[(0, 0)])
            began = time.perf_counter()
            samfire(cut, begin)
            print(f"{workers} thread(s): {da[..., 0].size / (time.perf_counter() - began):,.0f} pixels/s", flush=True)
    for workers in (1, 2):
        with (
            LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
            tempfile.TemporaryDirectory() as folder,
        ):
            cut.rename("counts").to_dataset().to_zarr(f"{folder}/map.zarr")
            stored = xr.open_zarr(f"{folder}/map.zarr")["counts"]
            samfire(stored[:64, :64], begin[:64, :64], seeds=[(0, 0)], client=client)
            began = time.perf_counter()
            samfire(stored, begin, client=client)
            print(
                f"{workers} process(es), from zarr: {da[..., 0].size / (time.perf_counter() - began):,.0f} pixels/s",
                flush=True,
            )


def chunks() -> None:
    """Chunk sizes on one thread, and what coordination costs: CPU time of the run without its visits."""
    from xfit.samfire import run, tasks

    da, _, begin = drifting(512)
    spent, plain = [0.0, 0.0], tasks.spread

    def timed(*arguments: Any) -> Any:
        began = time.thread_time()
        try:
            return plain(*arguments)
        finally:
            spent[0] += time.thread_time() - began

    start = run.Run.start

    def started(self: Any) -> Any:
        began = time.process_time()
        try:
            return start(self)
        finally:
            spent[1] += time.process_time() - began

    tasks.spread, run.Run.start = timed, started
    with dask.config.set(num_workers=1):
        for size in (16, 32, 64, 128, 256):
            cut = da.chunk({"y": size, "x": size})
            variance = np.maximum(cut, 1)
            spent[:] = 0.0, 0.0
            began = time.perf_counter()
            fit = samfire(cut, begin, variance=variance, strategies=xfit.samfire.ReducedChiSquared())
            taken, used = time.perf_counter() - began, spent[1]
            print(
                f"chunks of {size:3d} x {size:3d}: {fit.status.size / taken:9,.0f} pixels/s, {used - spent[0]:.3f} s "
                f"of {used:.3f} s of the run's CPU outside of visits ({(used - spent[0]) / used:.1%})",
                flush=True,
            )
    tasks.spread, run.Run.start = plain, start


def front() -> None:
    """Ten thousand chunks of 2 x 2 pixels with 4 channels: the client's time and memory, on a cluster of one worker."""
    from distributed import Client, LocalCluster

    n = 200
    x = np.arange(4.0)
    data = np.broadcast_to(3.0 + 0.5 * x, (n, n, 4)) + np.random.default_rng(0).normal(0, 0.01, (n, n, 4))
    da = xr.DataArray(data, dims=("y", "x", "e"), coords={"e": x}).chunk({"y": 2, "x": 2})
    line = xfit.Model([xfit.components.Polynomial(1, name="p")])
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        visits = []
        before, began, own = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter(), time.thread_time()
        fit = da.fit.samfire(
            line,
            seeds=[(0, 0)],
            variance=1e-4,
            client=client,
            goodness=lambda red_chisq: red_chisq < 1e9,
            strategies=xfit.samfire.ReducedChiSquared(2),
            progress=lambda s: visits.append(s.in_flight),
        )
        taken, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        own = time.thread_time() - own
        print(
            f"{len(visits):,} visits of {fit.status.data.npartitions:,} chunks in {taken:.1f} s; "
            f"{1e3 * own / len(visits):.2f} ms of CPU a visit in the "
            f"thread that runs it, {1e3 * cpu / len(visits):.2f} ms with the client's and the scheduler's loop, "
            f"{(after.ru_maxrss - before.ru_maxrss) / 1024:.0f} MiB more memory; at most {max(visits)} visits in "
            "flight",
            flush=True,
        )
    with dask.config.set(num_workers=1):
        from xfit.samfire import tasks

        spent, plain = [0.0], tasks.spread

        def timed(*arguments: Any) -> Any:
            begun = time.thread_time()
            try:
                return plain(*arguments)
            finally:
                spent[0] += time.thread_time() - begun

        tasks.spread = timed
        visits.clear()
        used = time.process_time()
        da.fit.samfire(
            line,
            seeds=[(0, 0)],
            variance=1e-4,
            goodness=lambda red_chisq: red_chisq < 1e9,
            strategies=xfit.samfire.ReducedChiSquared(2),
            progress=lambda s: visits.append(s.in_flight),
        )
        used = time.process_time() - used
        tasks.spread = plain
        print(
            f"on threads: {1e3 * (used - spent[0]) / len(visits):.2f} ms of CPU a visit besides the visit itself",
            flush=True,
        )


def main() -> None:
    """Run what is asked for, or all."""
    works = {"peak": peak, "scaling": scaling, "chunks": chunks, "front": front}
    for name in sys.argv[1:] or works:
        print(f"-- {name}: {(works[name].__doc__ or '').splitlines()[0]}", flush=True)
        works[name]()


if __name__ == "__main__":
    if sys.argv[1:2] == ["hyperspy"]:
        hyperspy(sys.argv[2])
    else:
        main()
