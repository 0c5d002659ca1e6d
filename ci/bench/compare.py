"""Runs the peers' cases and xfit's interleaved and prints one table of medians and ratios.

Every case runs in a process of its own, pinned to one core; a round runs each case once, so that a slow spell of the
machine meets all of them. A ratio is the median over the rounds of xfit's speed over the peer's in the same round.
Reads BENCH_WORK and BENCH_CORE, which `ci/bench/run` sets.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfit.command.bench.rounds import speeds_of

#: A case that takes longer is given up; the slowest peer takes about a tenth.
PATIENCE = 900


@dataclass(frozen=True)
class Group:
    """Cases that solve the same problem.

    Attributes
    ----------
    title : str
        What is fitted.
    workload : str
        Name of the data set.
    xfit : tuple of str
        Variants of xfit; ratios are those of the first.
    peers : tuple of (str, str)
        Tool and variant.
    """

    title: str
    workload: str
    xfit: tuple[str, ...]
    peers: tuple[tuple[str, str], ...]


GROUPS = (
    Group(
        "W1  two Gaussians + line, 1024 channels, 8 parameters, no bounds",
        "w1",
        ("multifit_map", "multifit", "multifit_dask", "multifit_threads2"),
        (
            ("hyperspy", "lm_analytic"),
            ("hyperspy", "lm_analytic_ownline"),
            ("hyperspy", "lm_ownline_serpentine"),
            ("scipy", "leastsq_numba"),
            ("xarray", "curvefit"),
            ("astropy", "pfd_LevMar_own"),
        ),
    ),
    Group(
        "W1  with bounds",
        "w1",
        ("multifit_b",),
        (("hyperspy", "trf_b_ownline"),),
    ),
    Group(
        "W1  weighted by 1/max(y, 1), no bounds",
        "w1",
        ("multifit_w",),
        (("hyperspy", "lm_analytic_ownline_w"), ("scipy", "leastsq_w"), ("astropy", "pfd_LevMar_own_w")),
    ),
    Group(
        "W2  power law + Gaussian, 2048 channels, 5 parameters, with bounds",
        "w2",
        ("multifit_b", "multifit_b_dask", "multifit_b_threads2"),
        (
            ("hyperspy", "trf_b_analytic"),
            ("scipy", "least_squares_trf_b"),
            ("xarray", "curvefit_b"),
            ("astropy", "pfd_TRF_own_b"),
            ("astropy", "pfd_LevMar_own_b"),
        ),
    ),
    Group(
        "W2  no bounds",
        "w2",
        ("multifit",),
        (("hyperspy", "lm_analytic"), ("scipy", "leastsq")),
    ),
    Group(
        "W3  linear: six peaks of given shape + parabola, 1024 channels, 9 parameters, with errors",
        "w3",
        ("lstsq_err", "nnls"),
        (("scipy", "pinv_matmul_f8_err"), ("hyperspy", "lstsq_err"), ("hyperspy", "nnls")),
    ),
    Group(
        "W3  weighted by 1/max(y, 1)",
        "w3",
        ("lstsq_w",),
        (("scipy", "weighted_normal_eq"), ("hyperspy", "lstsq_w")),
    ),
    Group(
        "W4  Gaussian + offset, 256 channels, under 5 counts, Poisson likelihood",
        "w4",
        ("poisson_map", "poisson"),
        (("hyperspy", "mlpoisson_lbfgsb_analytic"), ("scipy", "min_lbfgsb"), ("scipy", "leastsq_deviance")),
    ),
    Group(
        "W5a  5 x 5 images, round Gaussian + offset, 5 parameters, own starts",
        "w5a",
        ("multifit_map", "multifit"),
        (("hyperspy", "lm_fd"), ("scipy", "leastsq_numba"), ("xarray", "curvefit")),
    ),
    Group(
        "W5b  15 x 15 images, round Gaussian + offset, 5 parameters, own starts",
        "w5b",
        ("multifit_map", "multifit", "multifit_dask", "multifit_threads2"),
        (("hyperspy", "lm_fd"), ("scipy", "leastsq_numba"), ("xarray", "curvefit")),
    ),
)

Case = tuple[str, str, str]  # tool, workload, variant
Records = dict[Case, list[dict[str, Any] | None]]


def cases_of(groups: Sequence[Group], tools: Sequence[str] | None) -> list[Case]:
    """List every case once, xfit's first in each group, in the order of a round."""
    found: dict[Case, None] = {}
    for group in groups:
        for variant in group.xfit:
            found["xfit", group.workload, variant] = None
        for tool, variant in group.peers:
            found[tool, group.workload, variant] = None
    return [case for case in found if not tools or case[0] in tools]


def run_case(
    case: Case, results: Path, pixels: int | None, own: Mapping[str, str] | None = None
) -> dict[str, Any] | None:
    """Run one case in a process of its own.

    Parameters
    ----------
    case : tuple of str
        Tool, workload and variant.
    results : path
        File of records, to which one is added.
    pixels : int or None
        How many are fitted; None is all.
    own : mapping of str to str, optional
        Variables of the process's environment.

    Returns
    -------
    dict or None
        The harness's record; None if the case failed, which is said at once.
    """
    tool, workload, variant = case
    folder = Path(__file__).parent / ("" if tool == "xfit" else "peers")
    command = [sys.executable, str(folder / f"bench_{tool}.py"), f"{workload}:{variant}", "--inline"]
    if pixels:
        command += ["-n", str(pixels)]
    if not variant.endswith("threads2"):
        command = ["taskset", "-c", os.environ["BENCH_CORE"], *command]
    work = Path(os.environ["BENCH_WORK"])
    environment = os.environ | {
        "BENCH_OUT": results.name,
        "NUMBA_CACHE_DIR": str(work / ".numba_cache"),
        "XFIT_CACHE_DIR": str(work / ".xfit_cache"),
        "PYTHONWARNINGS": "ignore",
        **(own or {}),
    }
    before = _lines(results)
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        print(f"{tool} {workload}:{variant} took more than {PATIENCE} s", file=sys.stderr)
        return None
    new = _lines(results)[len(before) :]
    if done.returncode or not new:
        print(f"{tool} {workload}:{variant} failed (exit {done.returncode}):\n{done.stderr[-2000:]}", file=sys.stderr)
        return None
    record: dict[str, Any] = json.loads(new[-1])
    return record


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def measure(cases: Sequence[Case], rounds: int, results: Path, pixels: int | None) -> Records:
    """Run every case once a round."""
    records: Records = {case: [] for case in cases}
    for number in range(rounds):
        began = time.perf_counter()
        for case in cases:
            records[case].append(run_case(case, results, pixels))
        print(f"round {number + 1} of {rounds}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return records


def speed_of(record: dict[str, Any], clock: str) -> float:
    """Fits per second of wall time, or of CPU time where one core was used."""
    speed = float((record["fits_per_cpu_s"] if clock == "cpu" else None) or record["fits_per_s"])
    return speed * record["extra"].get("copies", 1)


def table(groups: Sequence[Group], records: Records, clock: str) -> str:
    """Make the table: fits per second, their range over the rounds, xfit's lead, and the quality of the fits."""
    titles = ("fits/s", "range", "us/fit", "xfit is", "at optimum", "lost")
    head = f"{'tool':9s} {'variant':24s} " + " ".join(
        f"{title:>{width}s}" for title, width in zip(titles, (9, 19, 9, 9, 10, 7), strict=True)
    )
    lines = []
    for group in groups:
        lines += ["", group.title, head]
        reference = records.get(("xfit", group.workload, group.xfit[0]), [])
        own = [("xfit", variant) for variant in group.xfit]
        for tool, variant in [*own, *group.peers]:
            if (tool, group.workload, variant) in records:
                lines.append(_row(tool, variant, records[tool, group.workload, variant], reference, clock))
    return "\n".join(lines[1:])


def _speeds(records: Sequence[dict[str, Any] | None], clock: str) -> list[float | None]:
    """Speeds round by round."""
    return [None if record is None else speed_of(record, clock) for record in records]


def _row(
    tool: str,
    variant: str,
    records: Sequence[dict[str, Any] | None],
    reference: Sequence[dict[str, Any] | None],
    clock: str,
) -> str:
    done = [record for record in records if record is not None]
    speeds = speeds_of(_speeds(records, clock), _speeds(reference, clock))
    if speeds is None:
        return f"{tool:9s} {variant:24s} failed"
    lead = "" if speeds.lead is None else f"{speeds.lead:.2f}x"
    speed = speeds.median
    spread = f"{speeds.low:.0f} - {speeds.high:.0f}"
    quality = f"{done[-1]['at_opt']:10.4f} {done[-1]['lost']:7.4f}"
    return f"{tool:9s} {variant:24s} {speed:9.0f} {spread:>19s} {1e6 / speed:9.1f} {lead:>9s} {quality}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    workloads = sorted({group.workload for group in GROUPS})
    parser.add_argument("workloads", nargs="*", metavar="workload", help=f"some of {', '.join(workloads)}; default all")
    parser.add_argument("--rounds", type=int, default=3, help="how often every case is run (default 3)")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="what the speeds are per: seconds on the wall (default), or of CPU time, where others use the core too",
    )
    parser.add_argument("--tools", nargs="+", help="only these tools, such as xfit scipy")
    parser.add_argument("--pixels", type=int, help="fewer pixels per case, to try it out")
    arguments = parser.parse_args()
    unknown = set(arguments.workloads) - set(workloads)
    if unknown:
        parser.error(f"no workload {sorted(unknown)}; there are {', '.join(workloads)}")
    groups = [group for group in GROUPS if not arguments.workloads or group.workload in arguments.workloads]
    results = Path(os.environ["BENCH_WORK"]) / "results" / time.strftime("compare-%Y%m%d-%H%M%S.jsonl")
    records = measure(cases_of(groups, arguments.tools), arguments.rounds, results, arguments.pixels)
    print(table(groups, records, arguments.clock))
    versions = next((done["versions"] for runs in records.values() for done in runs if done is not None), {})
    contention = [done["contention"] or 1 for runs in records.values() for done in runs if done is not None]
    if arguments.clock == "wall" and max(contention, default=1) > 1.2:
        print(f"\nThe core was shared: wall time was up to {max(contention):.1f} times CPU time. Try --clock cpu.")
    how = f"core {os.environ['BENCH_CORE']}, {arguments.clock} time, medians of {arguments.rounds} rounds"
    print(f"\n{how}; Python {sys.version.split()[0]},", end=" ")
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print("at optimum: within 0.1 sigma of the reference optimum; lost: more than 3 sigma off")
    if arguments.clock == "cpu":
        print("variants on two cores (threads2): wall time")
    print(f"records: {results}")
    if any(done is None for runs in records.values() for done in runs):
        sys.exit("some cases failed; see above")


if __name__ == "__main__":
    main()
