"""What xfit costs besides fitting: imports, compilation, threads, small calls, memory. Prints one line a figure.

Run by ``ci/bench/run overheads``, or by hand with BENCH_WORK set; ``overheads.py imports memory`` takes some of them.
Every figure comes from processes of its own (see measured.py), with caches in BENCH_WORK, whatever the user's caches
hold.
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import zarr

MEASURED = str(Path(__file__).with_name("measured.py"))

#: Size of the array of the memory figure.
GIBIBYTES = 4


def run(cache: Path, *arguments: str, path: str = "") -> Any:
    """Run Python with arguments, and a folder that it imports from first; what it prints is JSON, and is returned."""
    environment = _environment(cache) | ({"PYTHONPATH": path} if path else {})
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"a measured process failed:\n{done.stderr}")
    return json.loads(done.stdout)


def _environment(cache: Path) -> dict[str, str]:
    return os.environ | {"XFIT_CACHE_DIR": str(cache / ".xfit_cache")}


def say(what: str, value: str) -> None:
    """Print one figure."""
    print(f"{what:76s} {value}", flush=True)


def milliseconds(times: Sequence[float]) -> str:
    """Median and range of times in seconds."""
    return f"{1e3 * statistics.median(times):.0f} ms ({1e3 * min(times):.0f} - {1e3 * max(times):.0f})"


def imports(work: Path) -> None:
    """Time of an import of xfit, and of what it stands on."""
    code = "import json, time; t = time.perf_counter(); import {}; print(json.dumps(time.perf_counter() - t))"
    for names in ("numpy, xarray, dask.array, numba", "xfit"):
        run(work, "-c", code.format(names))  # writes the byte code
        say(f"import {names}", milliseconds([run(work, "-c", code.format(names)) for _ in range(5)]))


def compilation(work: Path) -> None:
    """Time to the first fit without and with compiled code on the disk, and what new models and components add."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        cache = Path(folder)
        cold = run(cache, MEASURED, "first_fit")
        say("first fit ever: the engine and two kernels are compiled", f"{cold['first']:.1f} s")
        warm, whole = [], []
        for _ in range(5):
            began = time.perf_counter()
            warm.append(run(cache, MEASURED, "first_fit"))
            whole.append(time.perf_counter() - began)
        say("first fit in a second process", milliseconds([each["first"] for each in warm]))
        say("the same from the start of the process to its end, import included", milliseconds(whole))
        say("the same fit again in that process", milliseconds([each["again"] for each in warm]))
        new = [run(cache, MEASURED, "new_kernels", f"{number + 1.5}") for number in range(5)]
        say(
            "new model of known components: first fit - second",
            milliseconds([each["known components"] for each in new]),
        )
        say("with a library component never used before (Lorentzian)", milliseconds([new[0]["library"]]))
        say("with a formula never used before (Expression)", milliseconds([each["formula"] for each in new]))


def pieces(work: Path) -> None:
    """Size of the engine's machine code and time to compile its pieces, one after another in one process."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        found = run(Path(folder), MEASURED, "pieces")
    for name, (seconds, size) in found.items():
        say(f"piece {name!r} of the engine, compiled", f"{seconds:.1f} s of CPU, {size / 1024:.0f} KiB")
    say("all of the engine's machine code", f"{sum(size for _, size in found.values()) / 2**20:.2f} MiB")


def descriptions(work: Path) -> None:
    """Time to make components."""
    found = [run(work, MEASURED, "descriptions") for _ in range(3)]
    say("slowest component of the library, made for the first time", f"{min(each['first'] for each in found):.1f} ms")
    say("and again", f"{min(each['again'] for each in found):.2f} ms")
    read = run(work, MEASURED, "models_read")
    say(f"slowest of {read['models']} models read from JSON, the first time", f"{read['first']:.1f} ms")
    say("and again", f"{read['again']:.1f} ms")


def wheel(work: Path) -> None:
    """First fit of a process that has xfit from a wheel with machine code, and an empty cache."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        root = Path(__file__).resolve().parents[2]
        subprocess.run(["bash", str(root / "ci" / "wheel"), f"{folder}/dist"], check=True, stdout=subprocess.DEVNULL)
        (made,) = Path(folder, "dist").glob("*.whl")
        say("wheel with machine code", f"{made.stat().st_size / 2**20:.1f} MiB")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", f"{folder}/xfit", str(made)]
        subprocess.run(pip, check=True)
        found = [run(Path(folder, str(k)), MEASURED, "first_fit", path=f"{folder}/xfit") for k in range(3)]
        say("first fit from the wheel, with an empty cache", milliseconds([each["first"] for each in found]))


def workers(work: Path) -> None:
    """A fit into a store by 20 new worker processes with an empty cache."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        found = run(work, MEASURED, "workers", "20", folder)
    say("80 chunks by 20 new worker processes, from the call to the end", f"{found['seconds']:.1f} s")
    say("  of the processor in each worker, imports included", f"{found['cpu']:.1f} s")
    say("  pieces of machine code that they have compiled", f"{found['compiled']:.0f}")


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


def schedulers(work: Path) -> None:
    """Speed of a chunked fit with one thread and with two, and against calling the block function directly."""
    x, y = spectra(128)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        path = str(Path(folder) / "data.npz")
        np.savez(path, x=x, y=y)
        found = run(work, MEASURED, "schedulers", path)
    pixels = y.shape[0] * y.shape[1]
    direct, one, two = (found[way] for way in ("fit_block", "synchronous", "threads"))
    dask = statistics.median(b / a for a, b in zip(direct, one, strict=True))
    pair = statistics.median(a / b for a, b in zip(one, two, strict=True))
    say(
        "128 x 128 spectra of 1024 channels in chunks of 64 x 64, fit_block",
        f"{pixels / statistics.median(direct):.0f} fits/s",
    )
    say(
        "the same through dask, one thread",
        f"{pixels / statistics.median(one):.0f} fits/s, {100 * (dask - 1):+.1f} % time",
    )
    say("the same through dask, two threads", f"{pixels / statistics.median(two):.0f} fits/s, {pair:.2f} times as fast")


def small_calls(work: Path) -> None:
    """Time of calls for so few pixels that what is beside the fit shows, and of peers' calls for the same spectrum."""
    for name, taken in run(work, MEASURED, "small_calls").items():
        beside = "" if taken["beside"] == taken["total"] else f", {taken['beside']:.2f} beside the fits"
        say(name, f"{taken['total']:.2f} ms{beside}")


def memory(work: Path) -> None:
    """Peak memory of a fit from one zarr store into another, all cores at work.

    The 64 x 64 spectra of one chunk are written again and again, uncompressed.
    """
    side = 64 * round((GIBIBYTES * 1024 / 16) ** 0.5)  # a chunk of 64 x 64 spectra has 16 MiB
    folder = Path(tempfile.mkdtemp(dir=work, prefix="memory-"))
    source, target = str(folder / "data.zarr"), str(folder / "fit.zarr")
    try:
        x, tile = spectra(64)
        group = zarr.open_group(source, mode="w")
        names = ("row", "column", "x")
        shape, chunks = (side, side, x.size), (64, 64, x.size)
        counts = group.create_array(
            "counts", shape=shape, chunks=chunks, dtype="f4", compressors=None, dimension_names=names
        )
        group.create_array("x", data=x, dimension_names=("x",))
        for i in range(0, side, 64):
            for j in range(0, side, 64):
                counts[i : i + 64, j : j + 64] = tile
        idle, _ = peak(work, "memory")
        used, found = peak(work, "memory", source, target)
    finally:
        shutil.rmtree(folder)
    size = side * side * x.size * 4 / 2**30
    say(f"{side} x {side} spectra, {size:.1f} GiB, zarr to zarr", f"{side * side / found['seconds']:.0f} fits/s")
    say("  peak memory of all its processes (sampled)", f"{used:.0f} MiB")
    say("  peak memory of the largest of them (counted by the kernel)", f"{found['largest']:.0f} MiB")
    say("  peak memory of a process that fits one spectrum", f"{idle:.0f} MiB")


def peak(cache: Path, *arguments: str) -> tuple[float, Any]:
    """Run measured.py and watch its memory.

    Returns
    -------
    float
        Largest sum of the resident memory of the process and its descendants at one time, in MiB.
    object
        What it printed.
    """
    largest = 0
    command = [sys.executable, MEASURED, *arguments]
    with subprocess.Popen(command, env=_environment(cache), stdout=subprocess.PIPE, text=True) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            largest = max(largest, _resident(watched))
            time.sleep(0.02)
        output = process.communicate()[0]
    if process.returncode:
        sys.exit("a measured process failed; see above")
    return largest / 2**20, json.loads(output)


def _resident(process: psutil.Process) -> int:
    """Resident bytes of a process and its descendants; one that ends meanwhile counts for nothing."""
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


def roofline(work: Path) -> None:
    """How many cores can fit before the memory can't bring data any faster."""
    found = run(work, MEASURED, "roofline")
    copy = found.pop("copy")
    most = copy["bytes"] * copy["fits"]
    say("one core copies", f"{most / 1e9:.1f} GB/s, read and written")
    for name, each in found.items():
        moved = each["bytes"] * each["fits"]
        say(
            name,
            f"{each['bytes']:.0f} bytes and {1e6 / each['fits']:.1f} us a fit: {moved / 1e6:.0f} MB/s a core, "
            f"{100 * moved / most:.1f} % of that",
        )


FIGURES: dict[str, Callable[[Path], None]] = {
    "imports": imports,
    "compilation": compilation,
    "pieces": pieces,
    "descriptions": descriptions,
    "wheel": wheel,
    "workers": workers,
    "schedulers": schedulers,
    "small": small_calls,
    "memory": memory,
    "roofline": roofline,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="*", metavar="figure", help=f"some of {', '.join(FIGURES)}; default all")
    chosen: list[str] = parser.parse_args().figures
    unknown = sorted(set(chosen) - set(FIGURES))
    if unknown:
        parser.error(f"no figure {unknown}; there are {', '.join(FIGURES)}")
    work = Path(os.environ["BENCH_WORK"])
    work.mkdir(parents=True, exist_ok=True)
    for name in chosen or FIGURES:
        FIGURES[name](work)


if __name__ == "__main__":
    main()
