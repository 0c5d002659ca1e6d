"""Simulates every setting, prints the table of pulls and coverage, and puts it into the documentation.

``python -m ci.simulations.calibrate`` prints; with ``--write`` the table goes into docs/calibration.md. Further words
choose settings by parts of their names. It fails where errors do not hold and no reason is known, and where a reason is
given but they do.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ci.simulations.pulls import Outcome
from ci.simulations.settings import REASONS, SETTINGS, Setting

PAGE = Path(__file__).parent.parent.parent / "docs" / "calibration.md"
SEED = 2024
HEAD = (
    "| setting | parameters | pixels | mean pull | width of pulls | coverage | |\n| --- | --- | --- | --- | --- | "
    "--- | --- |"
)


def faults(setting: Setting, outcomes: Iterable[Outcome]) -> list[str]:
    """What is not as the setting says: errors that do not hold without a reason, and reasons without such errors."""
    failed = [o.parameter for o in outcomes if not o.holds]
    unknown = [f"{name} does not hold" for name in failed if setting.reason(name) is None]
    needless = [
        f"{name or 'every parameter'} holds in spite of {why!r}"
        for name, why in setting.exceptions.items()
        if not any(each.startswith(name) for each in failed)
    ]
    return unknown + needless


def rows(name: str, setting: Setting, outcomes: list[Outcome]) -> list[str]:
    """Lines of the table: one for the parameters that hold, and one for each reason and level of those that do not."""
    groups: dict[tuple[str, float, str], list[Outcome]] = {}
    for each in outcomes:
        why = "" if each.holds else setting.reason(each.parameter) or "?"
        groups.setdefault((why, each.level, each.where), []).append(each)
    return [_row(name, group, why) for (why, _, _), group in groups.items()]


def _row(name: str, group: list[Outcome], why: str) -> str:
    """One line: the figures that are furthest from what they should be."""
    level = group[0].level
    coverage = max((o.coverage for o in group), key=lambda c: abs(c - level))
    by_chance = max(o.coverage_error for o in group)
    known = [o for o in group if o.pulls is not None]
    mean = f"{max((o.mean for o in known), key=abs):+.2f}" if known else ""
    width = f"{max((o.width for o in known), key=lambda w: abs(w - 1)):.2f}" if known else ""
    share = min(o.share for o in group)
    names = ", ".join(o.parameter for o in group)
    words = "; ".join(
        [name, *([group[0].where] if group[0].where else []), *([f"{100 * level:.1f} %"] if not known else [])]
    )
    verdict = "holds" if not why else f"**no**: {why}"
    return (
        f"| {words} | {names} | {100 * share:.1f} % | {mean} | {width} | {100 * coverage:.1f} ± "
        f"{100 * by_chance:.1f} % | {verdict} |"
    )


def run(setting: Setting, n: int | None = None) -> list[Outcome]:
    """Simulate a setting; overflow far from minima is none of the errors' business."""
    with np.errstate(all="ignore"):
        return list(setting.run(setting.n if n is None else n, SEED))


def explained(reason: str) -> str:
    """An entry of the page's list of reasons."""
    words = f"- **{reason}.** {REASONS[reason]}"
    return textwrap.fill(words, 100, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def table(words: list[str]) -> tuple[str, list[str]]:
    """The table as Markdown, and what is not as it should be."""
    text, wrong = [], []
    for group, settings in SETTINGS.items():
        chosen = {
            name: setting
            for name, setting in settings.items()
            if not words or any(w in f"{group} {name}" for w in words)
        }
        if not chosen:
            continue
        text += ["", f"## {group}", "", *HEAD.split("\n")]
        print("\n".join(text[-4:]), flush=True)
        for name, setting in chosen.items():
            outcomes = run(setting)
            lines = rows(name, setting, outcomes)
            print("\n".join(lines), flush=True)
            text += lines
            wrong += [f"{name}: {fault}" for fault in faults(setting, outcomes)]
    used = [key for key in REASONS if any(f"**no**: {key} |" in line for line in text)]
    text += ["", "## What does not hold, and what to do", "", *map(explained, used), ""]
    return "\n".join(text), wrong


def main() -> int:
    """Print the table, or write it."""
    words = [word for word in sys.argv[1:] if word != "--write"]
    text, wrong = table(words)
    print("\n".join(wrong) or "as the table says")
    if "--write" in sys.argv and not words and not wrong:
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition("<!-- table -->\n")
        after = rest.partition("<!-- end of table -->")[2]
        PAGE.write_text(f"{before}<!-- table -->\n{text}\n<!-- end of table -->{after}", encoding="utf-8")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
