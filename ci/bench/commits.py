"""Compares the speed of two commits of xfit, in interleaved pairs on one pinned core, and keeps results.

``ci/bench/run commits main HEAD`` fits the workloads with both, and prints the ratio of their speeds (the second over
the first, per CPU second) with an interval of 95 %. ``--keep`` adds the second commit's speeds to ci/bench/history.csv.
Both run in this checkout's harness, each with a compilation cache of its own.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compare import GROUPS, Case, run_case, speed_of
from scipy.stats import binom

ROOT = Path(__file__).parents[2]
HISTORY = Path(__file__).parent / "history.csv"
COLUMNS = ("date", "commit", "processor", "python", "numba", "case", "fits_per_cpu_s")


def tree_of(commit: str, folder: Path) -> tuple[str, Path]:
    """Check out a commit into a folder of its own, once; return its hash and the folder."""
    revision = ["git", "-C", str(ROOT), "rev-parse", "--short=10", "--verify", f"{commit}^{{commit}}"]
    done = subprocess.run(revision, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"there is no commit {commit!r}: {done.stderr.strip()}")
    name = done.stdout.strip()
    tree = folder / name
    if not (tree / "xfit").is_dir():
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir(parents=True)
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", name], capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", str(tree)], input=archive, check=True)
    return name, tree


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """Interval that holds the median with at least 95 %, by order statistics; all of the range for few ratios.

    Notes
    -----
    Of n values, the k-th from below and above enclose the median with a probability of ``1 - 2 B(k - 1; n, 1/2)``, B
    being the cumulative binomial distribution (H. A. David and H. N. Nagaraja, Order Statistics, 2003, section 7.1).
    """
    ordered, n = sorted(ratios), len(ratios)
    outer = max(int(binom.ppf(0.025, n, 0.5)), 1)
    while outer > 1 and 2 * binom.cdf(outer - 1, n, 0.5) > 0.05:
        outer -= 1
    return ordered[outer - 1], ordered[n - outer]


def measure(
    cases: Sequence[Case], trees: Sequence[tuple[str, Path]], rounds: int, pixels: int | None
) -> dict[Case, list[list[float | None]]]:
    """Fits per CPU second of each case, by commit and round; which commit begins alternates."""
    work = Path(os.environ["BENCH_WORK"])
    results = work / "results" / time.strftime("commits-%Y%m%d-%H%M%S.jsonl")
    found: dict[Case, list[list[float | None]]] = {case: [[] for _ in trees] for case in cases}
    # Once before, for the compilation.
    for number in range(-1, rounds):
        began = time.perf_counter()
        for case in cases:
            order = range(len(trees)) if number % 2 else reversed(range(len(trees)))
            for k in order:
                name, tree = trees[k]
                own = {"PYTHONPATH": str(tree), "XFIT_CACHE_DIR": str(work / f".xfit_cache_{name}")}
                record = run_case(case, results, pixels, own)
                if number >= 0:
                    found[case][k].append(None if record is None else speed_of(record, "cpu"))
        words = "compiled" if number < 0 else f"round {number + 1} of {rounds}"
        print(f"{words}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return found


def table(found: dict[Case, list[list[float | None]]], names: Sequence[str]) -> str:
    """Medians of both commits, and that of the ratios with its interval."""
    lines = [f"{'case':24s} {names[0]:>12s} {names[1]:>12s} {'ratio':>7s}  95 %"]
    for (_, workload, variant), (before, after) in found.items():
        pairs = [(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
        if not pairs:
            lines.append(f"{workload + ':' + variant:24s} failed")
            continue
        ratios = [b / a for a, b in pairs]
        low, high = interval(ratios)
        medians = [statistics.median(values) for values in zip(*pairs, strict=True)]
        lines.append(
            f"{workload + ':' + variant:24s} {medians[0]:12.0f} {medians[1]:12.0f} {statistics.median(ratios):7.3f}  "
            f"{low:.3f} - {high:.3f}"
        )
    return "\n".join(lines)


def keep(found: dict[Case, list[list[float | None]]], name: str) -> None:
    """Add the last commit's medians to the history."""
    import numba

    is_new = not HISTORY.exists()
    with HISTORY.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow(COLUMNS)
        for (_, workload, variant), speeds in found.items():
            known = [speed for speed in speeds[-1] if speed is not None]
            if known:
                row: tuple[Any, ...] = (
                    *(time.strftime("%Y-%m-%d"), name, processor(), platform.python_version(), numba.__version__),
                    *(f"{workload}:{variant}", round(statistics.median(known))),
                )
                writer.writerow(row)


def processor() -> str:
    """Name of this machine's processor and its vector instructions."""
    path = Path("/proc/cpuinfo")
    told = path.read_text() if path.exists() else ""
    name = next((line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("model name")), "")
    wide = next((words for flag, words in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if f" {flag}" in told), "")
    return f"{name or platform.processor() or platform.machine()} {wide}".strip()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    own = list(dict.fromkeys((group.workload, group.xfit[0]) for group in GROUPS))
    parser.add_argument("base", help="a commit")
    parser.add_argument("commit", help="the other, which is compared with it")
    parser.add_argument(
        "cases",
        nargs="*",
        metavar="case",
        help=f"such as w1 or w4:poisson; by default {' '.join(f'{w}:{v}' for w, v in own)}",
    )
    parser.add_argument("--rounds", type=int, default=12, help="pairs of each case (default 12)")
    parser.add_argument("--pixels", type=int, help="fewer pixels per case, to try it out")
    parser.add_argument("--keep", action="store_true", help="add the second commit's speeds to ci/bench/history.csv")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    known = {(group.workload, variant) for group in GROUPS for variant in group.xfit}
    first = dict(reversed(own))
    asked = [(word.partition(":")[0], word.partition(":")[2] or first.get(word, "")) for word in arguments.cases]
    unknown = [":".join(each) for each in asked if each not in known]
    if unknown:
        parser.error(f"no case {unknown}; there are {', '.join(sorted(':'.join(each) for each in known))}")
    trees = [tree_of(each, Path(os.environ["BENCH_WORK"]) / "trees") for each in (arguments.base, arguments.commit)]
    cases: list[Case] = [("xfit", *each) for each in asked or own]
    found = measure(cases, trees, arguments.rounds, arguments.pixels)
    print(table(found, [name for name, _ in trees]))
    print(f"fits per CPU second, core {os.environ['BENCH_CORE']}, medians of {arguments.rounds} rounds; {processor()}")
    if arguments.keep:
        keep(found, trees[1][0])
        print(f"kept in {HISTORY.relative_to(ROOT)}")
    if any(speed is None for speeds in found.values() for each in speeds for speed in each):
        sys.exit("some cases failed; see above")


if __name__ == "__main__":
    main()
