"""The bench: every tool fits the same spectra from the same start on one thread, and it is compared what they found."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask
import numpy as np

from xfit._version import __version__
from xfit.command.bench.rounds import Speeds, speeds_of
from xfit.command.bench.with_xfit import fitter_with_errors
from xfit.command.bench.workloads import Workload

Fit = Callable[[np.ndarray], np.ndarray]

#: A pixel has the same solution where no parameter differs by more than this many of its errors.
SAME = 0.1


@dataclass(frozen=True)
class Peer:
    """A tool.

    Attributes
    ----------
    name : str
        What it is called.
    package : str
        What has to be importable.
    module, maker : str
        Module of `xfit.command.bench` and its function that makes a fit.
    pixels : int
        How many spectra it fits in a round by default: a second's work or two.
    """

    name: str
    package: str
    module: str
    maker: str
    pixels: int

    @property
    def is_installed(self) -> bool:
        """Whether its package can be found."""
        return importlib.util.find_spec(self.package) is not None

    def fitter(self, workload: Workload) -> Fit:
        """Make its fit of a workload."""
        made: Fit = getattr(importlib.import_module(f"xfit.command.bench.{self.module}"), self.maker)(workload)
        return made


PEERS: tuple[Peer, ...] = (
    Peer("xfit", "xfit", "with_xfit", "fitter", 4000),
    Peer("scipy", "scipy", "with_scipy", "fitter", 300),
    Peer("least_squares", "scipy", "with_scipy", "least_squares_fitter", 200),
    Peer("xarray", "xarray", "with_xarray", "fitter", 300),
    Peer("lmfit", "lmfit", "with_lmfit", "fitter", 60),
    Peer("hyperspy", "hyperspy", "with_hyperspy", "fitter", 60),
    Peer("astropy", "astropy", "with_astropy", "fitter", 60),
)


@dataclass
class Row:
    """What one tool did with one workload.

    Attributes
    ----------
    workload, tool : str
        Names.
    pixels : int
        Spectra in a round.
    speeds : Speeds or None
        None where it failed.
    difference : float or None
        Largest difference of a value from xfit's, in units of its error.
    same : float or None
        Share of the spectra whose values all agree with xfit's to `SAME` errors.
    failure : str or None
        Why it failed.
    """

    workload: str
    tool: str
    pixels: int
    speeds: Speeds | None = None
    difference: float | None = None
    same: float | None = None
    failure: str | None = None


@contextlib.contextmanager
def one_thread() -> Iterator[bool]:
    """Keep all tools to one thread; gives whether the linear algebra could be, which takes threadpoolctl."""
    with contextlib.ExitStack() as stack:
        # For tools that compute by dask themselves. It holds for all threads, as the other does; those of this process
        # are the command's.
        stack.enter_context(dask.config.set(scheduler="synchronous"))
        able = importlib.util.find_spec("threadpoolctl") is not None
        if able:
            threadpoolctl = importlib.import_module("threadpoolctl")
            stack.enter_context(threadpoolctl.threadpool_limits(1))
        yield able


def measure(
    workload: Workload,
    peers: Sequence[Peer],
    *,
    rounds: int,
    pixels: int | None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Fit a workload by all tools, round after round.

    Parameters
    ----------
    workload : Workload
        What to fit.
    peers : sequence of Peer
        The tools; xfit is the reference and always among them.
    rounds : int
        How often each tool fits.
    pixels : int or None
        Spectra in a round; by default as many as each tool does in a second or two.
    say : callable, optional
        Told what is being done.

    Returns
    -------
    list of Row
        In the order of the tools.
    """
    counts = {peer.name: pixels or peer.pixels for peer in peers}
    data = workload.data(max(counts.values()))
    fits: dict[str, Fit] = {}
    times: dict[str, list[float | None]] = {peer.name: [] for peer in peers}
    found: dict[str, np.ndarray] = {}
    failures: dict[str, str] = {}

    def attempt(peer: Peer, work: Callable[[], Any]) -> Any:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            # They are about single pixels; whether values are right is told by the comparison.
            warnings.simplefilter("ignore")
            try:
                return work()
            except Exception as error:
                failures[peer.name] = f"{type(error).__name__}: {error}"
                return None

    for peer in peers:
        say(f"{workload.name}: {peer.name} begins")
        # Imports and compilation are no fits.
        fits[peer.name] = attempt(peer, partial(peer.fitter, workload))
        if peer.name not in failures:
            attempt(peer, partial(fits[peer.name], data[:2]))
    for number in range(rounds):
        for peer in peers:
            say(f"{workload.name}: {peer.name}, round {number + 1} of {rounds}")
            some = data[: counts[peer.name]]
            began = time.perf_counter()
            values = None if peer.name in failures else attempt(peer, partial(fits[peer.name], some))
            took = time.perf_counter() - began
            times[peer.name].append(None if values is None else len(some) / took)
            if values is not None:
                found[peer.name] = values
    reference, errors = fitter_with_errors(workload)(data)
    rows = []
    for peer in peers:
        row = Row(workload.name, peer.name, counts[peer.name], failure=failures.get(peer.name))
        if peer.name not in failures:
            row.speeds = speeds_of(times[peer.name], times["xfit"])
            row.difference, row.same = compare(workload, found[peer.name], reference, errors)
        rows.append(row)
    return rows


def compare(workload: Workload, values: np.ndarray, reference: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """Largest difference of a value in units of its error, and the share of the pixels that agree."""
    n = len(values)
    distance = (
        np.abs(with_positive_widths(workload, values) - with_positive_widths(workload, reference[:n])) / errors[:n]
    )
    distance = np.where(np.isfinite(distance), distance, np.inf)
    return float(distance.max()), float((distance <= SAME).all(axis=1).mean())


def with_positive_widths(workload: Workload, values: np.ndarray) -> np.ndarray:
    """Values (n_pixels, n_parameters) where peaks with a negative sigma, which are the same
    for a positive one, have that.
    """
    values, at = np.array(values, np.float64), 0
    for part in workload.parts:
        if part.kind in ("gaussian", "voigt"):
            area, sigma = values[:, at], values[:, at + 2]
            if part.kind == "gaussian":
                area[sigma < 0] *= -1
            np.abs(sigma, out=sigma)
        at += len(part.start)
    return values


def circumstances(peers: Sequence[Peer], limited: bool) -> dict[str, Any]:
    """Machine and versions."""
    packages = dict.fromkeys(["numpy", "scipy", "numba", *(peer.package for peer in peers if peer.package != "xfit")])
    versions = {package: importlib.metadata.version(package) for package in packages}
    if "hyperspy" in versions:
        # HyperSpy evaluates its components by it, and more slowly by NumPy where it is not installed.
        there = importlib.util.find_spec("numexpr") is not None
        versions["numexpr"] = importlib.metadata.version("numexpr") if there else "not installed"
    return {
        "xfit": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}, {os.cpu_count()} cores",
        "threads": "one" if limited else "one, but that of linear algebra is not limited (pip install threadpoolctl)",
        "versions": versions,
    }


def _processor() -> str:
    """Name of the processor, where the system tells."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
