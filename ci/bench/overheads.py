"""What xfit costs besides fitting: imports, compilation, threads, memory. Prints one line a figure.

Run by ``ci/bench/run overheads``, or by hand with BENCH_WORK set; ``overheads.py imports memory`` runs some. Every figure is taken in
processes of its own, with caches in BENCH_WORK, so that what the user's cache holds changes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

MIB = 1 << 20
NAMES = ["h1", "c1", "s1", "h2", "c2", "s2", "b0", "b1"]

#: Code that the processes share: a model of W1's shape (two Gaussians over a line) with its starts, and a first tiny fit.
MODEL = """
import time
began = time.perf_counter()
import numpy as np, xarray as xr, xfit
from xfit.components import Expression, Gaussian, Lorentzian, Polynomial
imported = time.perf_counter()

def peaks():
    return [Gaussian(name="g1", A=200.0, centre=3.6, sigma=0.4), Gaussian(name="g2", A=400.0, centre=5.8, sigma=0.45)]

def w1():
    return xfit.Model([*peaks(), Polynomial(order=1, name="line", a0=50.0, a1=-3.5)])

def tiny(model):
    x = np.linspace(0, 10.23, 64)
    y = 250*np.exp(-(x - 3.5)**2/0.245) + 300*np.exp(-(x - 6)**2/0.605) + 60 - 3*x
    return xr.DataArray(y[None], dims=("p", "x"), coords={"x": x}).fit.multifit(model)

def seconds(function, *arguments):
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began
"""


def python(code: str, *, cache: Path, core: str | None = None) -> Any:
    """Run code in a new process; what it prints last is JSON, and is returned."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache / "numba"), "XFIT_CACHE_DIR": str(cache / "xfit")}
    command = [sys.executable, "-c", code]
    if core is not None:
        command = ["taskset", "-c", core, *command]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"a measured process failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def say(what: str, value: str) -> None:
    """Print one figure."""
    print(f"{what:72s} {value}", flush=True)


def imports(work: Path) -> None:
    """Time of an import of xfit, and of what it imports by itself, in fresh processes."""
    code = "import json, time; t = time.perf_counter(); import {}; print(json.dumps(time.perf_counter() - t))"
    for names in ("numpy, xarray, dask.array, numba", "xfit"):
        python(code.format(names), cache=work)  # fills the file system's cache and writes the byte code
        times = [python(code.format(names), cache=work) for _ in range(5)]
        say(f"import {names}", f"{statistics.median(times):.2f} s ({min(times):.2f} - {max(times):.2f})")


def compilation(work: Path) -> None:
    """Time to the first fit without and with compiled code on the disk, and what new components and models add."""
    first = MODEL + (
        "tiny(w1())\nimport json; print(json.dumps([imported - began, time.perf_counter() - imported, seconds(tiny, w1())]))"
    )
    with tempfile.TemporaryDirectory(dir=work) as folder:
        cache = Path(folder)
        _, cold, _ = python(first, cache=cache)
        say("first fit after import, empty caches: engine and two kernels compiled", f"{cold:.2f} s")
        runs = [python(first, cache=cache) for _ in range(5)]
        say("first fit after import, in a second process", f"{statistics.median(run[1] for run in runs):.2f} s")
        say("import and first fit, in a second process", f"{statistics.median(run[0] + run[1] for run in runs):.2f} s")
        say("the same fit once more", f"{1e3 * statistics.median(run[2] for run in runs):.1f} ms")
        new = MODEL + (
            "import json\ntiny(w1())\n"
            'known = xfit.Model([*peaks(), Gaussian(name="g3", centre=8.0), Polynomial(order=1, name="line")])\n'
            'lorentzian = xfit.Model([Lorentzian(name="l", A=300.0, centre=3.6), Polynomial(order=1, name="line", a0=60.0)])\n'
            'formula = xfit.Model([*peaks(), Expression("a + b*x*log(1 + x*x/' + "{number}" + ')", name="e")])\n'
            "print(json.dumps([seconds(tiny, m) - seconds(tiny, m) for m in (known, lorentzian, formula)]))"
        )
        runs = [python(new.replace("{number}", f"{1.5 + number}"), cache=cache) for number in range(5)]
        say("new model of known components: its first fit more than its second", _milliseconds([r[0] for r in runs]))
        say("component of the library never used before (Lorentzian), the same", _milliseconds([runs[0][1]]))
        say("brand new formula (Expression), the same", _milliseconds([r[2] for r in runs]))


def _milliseconds(times: list[float]) -> str:
    spread = f" ({1e3 * min(times):.0f} - {1e3 * max(times):.0f})" if len(times) > 1 else ""
    return f"{1e3 * statistics.median(times):.0f} ms{spread}"


def spectra(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy spectra of W1's shape.

    Parameters
    ----------
    side : int
        Pixels along each of two navigation dimensions.

    Returns
    -------
    x : float64 (1024,)
    y : float32 (side, side, 1024)
    """
    rng = np.random.default_rng(1)
    x = np.arange(1024) * 0.01
    u = rng.random((7, side, side, 1)) - 0.5
    y = 300 * 3 ** u[0] * np.exp(-0.5 * ((x - 3.5 - 0.2 * u[1]) / (0.35 * (1 + 0.2 * u[2]))) ** 2)
    y += 300 * 3 ** u[3] * np.exp(-0.5 * ((x - 6 - 0.2 * u[4]) / (0.55 * (1 + 0.2 * u[5]))) ** 2)
    return x, rng.poisson(y + 60 * (1 + 0.4 * u[6]) - 3 * x).astype(np.float32)


def threads(work: Path) -> None:
    """Speed of a chunked fit with one thread and with two."""
    x, y = spectra(64)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        np.savez(Path(folder) / "data.npz", x=x, y=y)
        code = MODEL + (
            f"import dask, json; d = np.load({str(Path(folder) / 'data.npz')!r})\n"
            'da = xr.DataArray(d["y"], dims=("y", "x_", "x"), coords={"x": d["x"]}).chunk(y=8, x_=32)\n'
            'lazy = da.fit.multifit(w1()); lazy.isel(y=[0], x_=[0]).compute()\nfound = {"synchronous": [], "threads": []}\n'
            "for _ in range(7):\n    for scheduler, times in found.items():\n"
            "        with dask.config.set(scheduler=scheduler, num_workers=2): times.append(seconds(lazy.compute))\n"
            "print(json.dumps(found))"
        )
        found = python(code, cache=work)
    one, two = (statistics.median(found[scheduler]) for scheduler in ("synchronous", "threads"))
    say("64 x 64 spectra of 1024 channels in 16 chunks, one thread", f"{y.shape[0] * y.shape[1] / one:.0f} fits/s")
    say("the same, two threads", f"{y.shape[0] * y.shape[1] / two:.0f} fits/s, {one / two:.2f} times as fast")


def memory(work: Path, gibibytes: float = 4.0) -> None:
    """Peak memory of a fit of a store on disk, larger than it, into another store.

    The 64 x 64 spectra of one chunk are written again and again; the store is not compressed.
    """
    import zarr

    side = 64 * max(round((gibibytes * 1024 / 16) ** 0.5), 1)  # a chunk of 64 x 64 pixels has 16 MiB
    folder = Path(tempfile.mkdtemp(dir=work, prefix="memory-"))
    try:
        x, tile = spectra(64)
        root = zarr.open_group(folder / "data.zarr", mode="w")
        store = root.create_array(
            "counts", shape=(side, side, x.size), chunks=(64, 64, x.size), dtype="f4", compressors=None,
            dimension_names=("row", "column", "x"),
        )  # fmt: skip
        root.create_array("x", data=x, dimension_names=("x",))
        for i in range(0, side, 64):
            for j in range(0, side, 64):
                store[i : i + 64, j : j + 64] = tile
        before = _peak(MODEL + "tiny(w1())", work)[0]
        peak, largest, elapsed = _peak(
            MODEL + f'import dask; dask.config.set(scheduler="threads", num_workers={os.cpu_count()})\n'
            f"da = xr.open_zarr({str(folder / 'data.zarr')!r}, consolidated=False).counts\n"
            f"da.fit.multifit(w1()).to_zarr({str(folder / 'fit.zarr')!r}, consolidated=False)",
            work,
        )
    finally:
        shutil.rmtree(folder)
    what = f"{side} x {side} spectra of {x.size} channels, {side * side * x.size * 4 / 2**30:.1f} GiB on disk, zarr to zarr"
    say(what, f"{elapsed:.0f} s, {side * side / elapsed:.0f} fits/s")
    say("  peak memory, all processes (sampled); the largest one (by the kernel)", f"{peak:.0f} MiB; {largest:.0f} MiB")
    say("  of which a process that has imported xfit and made a tiny fit needs", f"{before:.0f} MiB")


def _peak(code: str, cache: Path) -> tuple[float, float, float]:
    """Run code in a new process; peak MiB of it and its children together, of the largest alone, and seconds."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache / "numba"), "XFIT_CACHE_DIR": str(cache / "xfit")}
    code += "\nimport resource; print(max(resource.getrusage(w).ru_maxrss for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))"
    began = time.perf_counter()
    peak = 0.0
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, _resident(watched) / MIB)
            time.sleep(0.02)
        output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        sys.exit("a measured process failed; see above")
    return peak, int(output.splitlines()[-1]) / 1024, time.perf_counter() - began


def _resident(process: psutil.Process) -> int:
    """Resident bytes of a process and its descendants that live at this moment."""
    total = 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


FIGURES: dict[str, Callable[[Path], None]] = {
    "imports": imports,
    "compilation": compilation,
    "threads": threads,
    "memory": memory,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="*", metavar="figure", help=f"some of {', '.join(FIGURES)}; default all")
    chosen: list[str] = parser.parse_args().figures
    unknown = set(chosen) - set(FIGURES)
    if unknown:
        parser.error(f"no figure {sorted(unknown)}; there are {', '.join(FIGURES)}")
    work = Path(os.environ["BENCH_WORK"])
    work.mkdir(parents=True, exist_ok=True)
    for name in chosen or FIGURES:
        FIGURES[name](work)


if __name__ == "__main__":
    main()
