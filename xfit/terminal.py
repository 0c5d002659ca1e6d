"""Words and tables laid out for a terminal: no line is longer than it is wide."""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Sequence

#: Columns of words are shortened to this at first, and to the other where that does not do.
_SHORT, _SHORTEST = 8, 4

#: No column is wider than this where columns are shortened.
_WIDEST = 300

#: How much the width of the first column counts, whose words name the rows.
_NAMES = 0.5

_NUMBER = re.compile(r"\d+\.\d+(?:e[+-]?\d+)?")
_CELL = re.compile(r"[(+\-−]?(\d[\d., ±()e+\-%]*|∞|inf|nan)|-|")


def terminal_width() -> int:
    """Columns of the terminal, 80 where there is none."""
    return max(shutil.get_terminal_size(fallback=(80, 24)).columns, 40)


def cleaned(text: str) -> str:
    """Text of a file in a line for a terminal: what would move the cursor or turn its direction, such as ends of lines and escape sequences, is spelled out."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def paragraph(text: str) -> str:
    """Several lines that may hold text of a file: each as `cleaned`, and those after the first indented, so that none is taken for words of the program."""
    return "\n  ".join(map(cleaned, text.splitlines()))


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = None) -> str:
    """Lay out words in columns, with a rule below the head.

    Parameters
    ----------
    head, rows : sequence
        Words of the head and of each row.
    width : int, optional
        Columns that there are. What needs more is shortened: the longest words first, then digits of numbers.
    """
    table = [[cleaned(word) for word in row] for row in [head, *rows]]
    if width is not None:
        table = _fitted(table, width)
    widths = _widths(table)
    lines = ["  ".join(_padded(w, n) for w, n in zip(row, widths, strict=True)).rstrip() for row in table]
    lines.insert(1, "  ".join("-" * n for n in widths).rstrip())
    return "\n".join(lines)


def shortened(text: str, width: int) -> str:
    """Cut text to a width, with an ellipsis where something is missing."""
    text = cleaned(text)
    return text if _fitting(text, width) == len(text) else text[: _fitting(text, width - 1)].rstrip() + "…"


def wrapped(text: str, width: int, indent: int = 4) -> str:
    """Break lines that are too long between words; what is broken off is indented."""
    found: list[str] = []
    for line in text.splitlines():
        left = cleaned(line)
        while (fitting := _fitting(left, width)) < len(left):
            space = left.rfind(" ", indent + 1, fitting + 1)
            cut = fitting if space < 0 else space
            found.append(left[:cut].rstrip())
            left = " " * indent + left[cut:].lstrip()
        found.append(left)
    return "\n".join(found)


def holds_numbers(words: Sequence[str]) -> bool:
    """Whether a column holds numbers, with their errors, ranges and shares, and nothing else."""
    return any(words) and all(_CELL.fullmatch(word) for word in words)


def _fitted(table: list[list[str]], width: int) -> list[list[str]]:
    """Shorten cells until the rows fit: names before digits, for a number that is cut is another number.

    Columns that hold nothing are left out first. The first column names the rows, and is shortened less than the others.
    """
    if sum(_widths(table)) + 2 * (len(table[0]) - 1) > width:
        kept = [k for k in range(len(table[0])) if any(row[k] for row in table[1:])]
        table = [[row[k] for k in kept] for row in table] if kept else table
    words = [k for k in range(len(table[0])) if not holds_numbers([row[k] for row in table[1:]])]
    told_apart = {k: _told_apart([row[k] for row in table]) for k in words}
    nothing = dict.fromkeys(words, 0)
    tries = [(None, _SHORT), (5, _SHORT), (4, _SHORT), (4, _SHORTEST), (3, _SHORTEST)]
    # Rows that look the same are worse than rounded numbers, and better than broken lines.
    for digits, least, floors in [*((*each, told_apart) for each in tries), (3, _SHORTEST, nothing)]:
        if digits is not None:
            table = [table[0], *([_rounded(word, digits) for word in row] for row in table[1:])]
        widths = [min(n, width) if k in words else n for k, n in enumerate(_widths(table))]
        over = sum(widths) + 2 * (len(widths) - 1) - width
        for _ in range(max(over, 0)):
            longest = max(
                (k for k in words if widths[k] > max(least, floors[k])),
                key=lambda k: widths[k] * (1.0 if k else _NAMES),
                default=None,
            )
            if longest is not None:
                widths[longest] -= 1
                over -= 1
        if over <= 0:
            break
    columns = [
        _cut([row[k] for row in table], n) if k in words else [row[k] for row in table] for k, n in enumerate(widths)
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def _told_apart(column: list[str]) -> int:
    """The least width to which words can be shortened so that different ones still differ."""
    # Longer than any terminal is wide: letters beyond that are not looked at one width after the other.
    width = min(max(map(_columns, column)), _WIDEST)
    while width > 1 and len(set(_cut(column, width - 1))) == len(set(column)):
        width -= 1
    return width


def _cut(column: list[str], width: int) -> list[str]:
    """Shorten the words of a column: at their ends, or in the middle where their ends tell them apart."""
    at_end = [shortened(word, width) for word in column]
    if len(set(at_end)) == len(set(column)):
        return at_end
    return [_without_middle(word, width) for word in column]


def _without_middle(text: str, width: int) -> str:
    """Cut text to a width, with an ellipsis in its middle."""
    if _fitting(text, width) == len(text):
        return text
    ending = text[::-1]
    tail = ending[: _fitting(ending, (width - 1) // 2)][::-1]
    return text[: _fitting(text, width - 1 - _columns(tail))] + "…" + tail


def _rounded(word: str, digits: int) -> str:
    """Round the numbers in a cell that have more digits; words are left as they are."""
    return _NUMBER.sub(lambda found: _fewer(found[0], digits), word) if holds_numbers([word]) else word


def _fewer(number: str, digits: int) -> str:
    """Round a number to some digits, where it has more."""
    given = len(number.split("e")[0].replace(".", "").lstrip("0"))
    return number if given <= digits else f"{float(number):.{digits}g}"


def _widths(table: Sequence[Sequence[str]]) -> list[int]:
    return [max(_columns(row[k]) for row in table) for k in range(len(table[0]))]


def _padded(word: str, width: int) -> str:
    return word + " " * (width - _columns(word))


def _columns(text: str) -> int:
    """Columns that text takes: two for wide letters, none for accents that join."""
    return len(text) if text.isascii() else sum(map(_column, text))


def _column(letter: str) -> int:
    return 0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _fitting(text: str, width: int) -> int:
    """How many letters at the beginning of a text take no more than a width."""
    taken = 0
    for k, letter in enumerate(text):
        taken += _column(letter)
        if taken > width:
            return k
    return len(text)
