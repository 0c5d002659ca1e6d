"""The command ``xfit bench``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xfit.command.arguments import FilePath

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xfit.command.bench.bench import Row

_PEERS = ("scipy", "least_squares", "xarray", "lmfit", "hyperspy", "astropy")
_WORKLOADS = ("gaussian", "edge", "voigt")


@click.command()
@click.option("--peer", "peers", multiple=True, type=click.Choice(_PEERS), help="Only this tool; may be repeated.")
@click.option(
    "--workload", "workloads", multiple=True, type=click.Choice(_WORKLOADS), help="Only this; may be repeated."
)
@click.option(
    "--pixels",
    type=click.IntRange(1),
    help="Spectra that every tool fits in a round; by default a second's work or two.",
)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="How often every tool fits.")
@click.option(
    "--json",
    "path",
    type=FilePath(dir_okay=False, writable=True, path_type=Path),
    help="Write the numbers to a file.",
)
def bench(
    peers: tuple[str, ...], workloads: tuple[str, ...], pixels: int | None, rounds: int, path: Path | None
) -> None:
    """Compare the speed of xfit with that of other tools that are installed, on this machine.

    Every tool fits the same spectra from the same start on one thread, in turns. It is also shown whether they find
    what xfit finds. With --pixels all tools fit as many; for a few only, it shows what a call of xfit costs besides
    fitting, some milliseconds.

    \b
    Examples:
      xfit bench
      xfit bench --peer scipy --peer lmfit --pixels 400 --json out.json
    """  # noqa: D301  click wants the character
    # Not at the top: `xfit --help` need not wait for them.
    from rich.console import Console

    from xfit.command.bench.bench import PEERS, SAME, circumstances, measure, one_thread
    from xfit.command.bench.workloads import WORKLOADS

    if path is not None and not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {str(path.parent)!r}", param_hint="--json")
    absent = [peer.name for peer in PEERS if not peer.is_installed]
    wanted = [name for name in peers if name in absent]
    if wanted:
        raise click.ClickException(
            f"{', '.join(wanted)} can't be imported; install it with: pip install {' '.join(wanted)}"
        )
    chosen = [peer for peer in PEERS if peer.name == "xfit" or (peer.name in peers if peers else peer.is_installed)]
    console, told = Console(), Console(stderr=True)
    rows: list[Row] = []
    with one_thread() as limited, told.status("") as status:
        for workload in WORKLOADS:
            if not workloads or workload.name in workloads:
                rows += measure(workload, chosen, rounds=rounds, pixels=pixels, say=status.update)
    about = circumstances(chosen, limited)
    for workload in WORKLOADS:
        own = [row for row in rows if row.workload == workload.name]
        if own:
            console.print(_table(workload.title, own))
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    console.print(f"xfit {about['xfit']}, Python {about['python']}; {versions}", highlight=False)
    console.print(f"{about['machine']}; threads: {about['threads']}; medians of {rounds} rounds", highlight=False)
    console.print(
        f"same: spectra all of whose values agree with xfit's to {SAME:g} of their errors; differs by: the largest "
        "difference, in errors",
        highlight=False,
    )
    for row in rows:
        if row.failure:
            console.print(f"{row.tool} ({row.workload}) failed: {row.failure}", highlight=False, markup=False)
    if absent and not peers:
        console.print(f"not installed: {', '.join(absent)}", highlight=False)
    if path is not None:
        content = {**about, "rounds": rounds, "rows": [_plain(row) for row in rows]}
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    failed = [f"{row.tool} ({row.workload})" for row in rows if row.failure]
    if failed:
        raise click.ClickException(f"some tools failed: {', '.join(failed)}")


def _plain(row: Row) -> dict[str, Any]:
    """Row as JSON takes it: no infinities."""
    plain = dataclasses.asdict(row)
    if row.difference == float("inf"):
        plain["difference"] = None
    return plain


def _table(title: str, rows: Sequence[Row]) -> Any:
    """Table of one workload."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1)
    )
    table.add_column("tool", no_wrap=True)
    for heading in ("fits/s", "range", "xfit is", "spectra", "same", "differs by"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        if row.speeds is None or row.difference is None or row.same is None:
            table.add_row(row.tool, "failed", "", "", str(row.pixels), "", "")
            continue
        speeds = row.speeds
        lead = (
            ""
            if row.tool == "xfit" or speeds.lead is None
            else (f"{speeds.lead:,.0f} x" if speeds.lead >= 10 else f"{speeds.lead:.2g} x")
        )
        table.add_row(
            row.tool,
            f"{speeds.median:.0f}",
            f"{speeds.low:.0f} - {speeds.high:.0f}",
            lead,
            str(row.pixels),
            f"{100 * row.same:.0f} %",
            f"{row.difference:.2g}",
        )
    return table
