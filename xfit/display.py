"""How text is shown: words and tables for a terminal, HTML for notebooks, addresses without
passwords; text of files is escaped.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

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
    """Text of a file in a line for a terminal: what would move the cursor or turn its direction, such as ends of lines
    and escape sequences, is spelled out.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def paragraph(text: str) -> str:
    """Several lines that may hold text of a file: each as `cleaned`, and those after the first indented, so that none
    is taken for words of the program.
    """
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

    Columns that hold nothing are left out first. The first column names the rows, and is shortened less than the
    others.
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


# --- HTML

#: Notebooks that say whether they are light or dark are asked for their colours; elsewhere the system's wish decides.
#: Text and background are both set, for a dark wish on a page that is always white must not give white on white.
_LIGHT = """
  --xfit-text: var(--jp-content-font-color1, var(--pst-color-text-base, var(--vscode-editor-foreground, #1f2328)));
  --xfit-muted: var(--jp-content-font-color2, var(--pst-color-text-muted, var(--vscode-descriptionForeground,
    #59636e)));
  --xfit-back: var(--jp-layout-color0, var(--pst-color-background, var(--vscode-editor-background, #ffffff)));
  --xfit-line: var(--jp-border-color2, var(--pst-color-border, #d1d9e0));
  --xfit-shade: rgba(128, 128, 128, 0.1);
  --xfit-warn: #9a3412;
"""
_DARK = """
  --xfit-text: var(--jp-content-font-color1, var(--pst-color-text-base, var(--vscode-editor-foreground, #e6edf3)));
  --xfit-muted: var(--jp-content-font-color2, var(--pst-color-text-muted, var(--vscode-descriptionForeground,
    #9ea7b3)));
  --xfit-back: var(--jp-layout-color0, var(--pst-color-background, var(--vscode-editor-background, #111418)));
  --xfit-line: var(--jp-border-color2, var(--pst-color-border, #3d444d));
  --xfit-shade: rgba(160, 160, 160, 0.14);
  --xfit-warn: #ffb77c;
"""
_IS_LIGHT = (
    '[data-jp-theme-light="true"] .xfit, body.vscode-light .xfit, html[data-theme="light"] .xfit, '
    'body[data-theme="light"] .xfit, html[theme="light"] .xfit'
)
_IS_DARK = (
    '[data-jp-theme-light="false"] .xfit, body.vscode-dark .xfit, html[data-theme="dark"] .xfit, '
    'body[data-theme="dark"] .xfit, html[theme="dark"] .xfit'
)
# The class stands twice where a notebook's own rules for tables would win otherwise.
_RULES = """
.xfit { color: var(--xfit-text); background: var(--xfit-back); font-size: 13px; line-height: 1.5; max-width: 800px;
  padding: 2px 4px; }
.xfit .xfit-head { border-bottom: 1px solid var(--xfit-line); margin-bottom: 4px; padding: 4px 0;
  overflow-wrap: anywhere; }
.xfit .xfit-line { margin: 2px 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.xfit .xfit-muted { color: var(--xfit-muted); font-weight: normal; }
.xfit .xfit-warning { color: var(--xfit-warn); border-left: 3px solid; padding-left: 6px; }
.xfit details { margin: 2px 0; }
.xfit summary { cursor: pointer; display: list-item; padding: 2px 0; overflow-wrap: anywhere; }
.xfit summary:focus-visible { outline: 2px solid; outline-offset: -2px; }
.xfit .xfit-body { border-left: 1px solid var(--xfit-line); margin: 0 0 6px 4px; padding-left: 12px; }
.xfit .xfit-scroll { overflow-x: auto; }
.xfit code { background: var(--xfit-shade); color: inherit; font-size: 12px; padding: 1px 3px;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.xfit.xfit table { border: 0; border-collapse: collapse; color: inherit; display: table; font-size: 12px;
  margin: 4px 0; width: auto; }
.xfit.xfit table tr { background: transparent; border: 0; }
.xfit.xfit table tbody tr:hover { background: var(--xfit-shade); }
.xfit.xfit table th, .xfit.xfit table td { border: 0; border-bottom: 1px solid var(--xfit-line); color: inherit;
  background: transparent;
  max-width: 26em; overflow-wrap: break-word; padding: 2px 16px 2px 0; text-align: left; vertical-align: baseline;
    white-space: normal; }
.xfit.xfit table thead th { color: var(--xfit-muted); font-weight: normal; white-space: nowrap; }
.xfit.xfit table tbody th { font-weight: 600; }
.xfit.xfit table.xfit-facts td { max-width: none; }
.xfit.xfit table .xfit-number { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
"""
#: What is not seen, moves letters to other places, or has no place in a file: controls but for ends of lines, marks of
#: direction, halves of letters.
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_STYLE = (
    f".xfit {{{_LIGHT}}}\n"
    f"@media (prefers-color-scheme: dark) {{ .xfit {{{_DARK}}} }}\n"
    f"{_IS_LIGHT} {{{_LIGHT}}}\n{_IS_DARK} {{{_DARK}}}{_RULES}"
)


def html_page(kind: str, title: str, about: str, *parts: str) -> str:
    """Put together a representation.

    Parameters
    ----------
    kind, title, about : str
        Of the line at its head, as plain text: what it is, its name, and what is to be said in short.
    *parts : str
        HTML of what follows.
    """
    words = [_span(kind, "xfit-muted"), f"<b>{escaped(title)}</b>" if title else "", escaped(about)]
    head = f'<div class="xfit-head">{" ".join(word for word in words if word)}</div>'
    # Notebooks would take what stands between dollars for formulas, in which links may run scripts.
    return f'<div class="xfit mathjax_ignore tex2jax_ignore"><style>{_STYLE}</style>{head}{"".join(parts)}</div>'


def html_section(title: str, about: str, *parts: str, opened: bool = False) -> str:
    """Make a section that folds, by mouse or keyboard: ``title`` and ``about`` are plain text, ``parts`` HTML."""
    note = f" {_span(about, 'xfit-muted')}" if about else ""
    body = f'<div class="xfit-body">{"".join(parts)}</div>'
    return f"<details{' open' if opened else ''}><summary><b>{escaped(title)}</b>{note}</summary>{body}</details>"


def html_lines(text: str) -> str:
    """Make plain text of one or several lines HTML; lines that warn stand out."""
    return "".join(
        f'<div class="xfit-line{" xfit-warning" if line.startswith("warning:") else ""}">{escaped(line)}</div>'
        for line in text.splitlines()
    )


def html_code(label: str, text: str) -> str:
    """Make a line of a label and a formula, both plain text; long formulas are folded."""
    if len(text) <= 160:
        return f'<div class="xfit-line">{_span(label, "xfit-muted")} <code>{escaped(text)}</code></div>'
    beginning = f"{_span(label, 'xfit-muted')} <code>{escaped(shortened(text, 60))}</code>"
    return f'<details><summary>{beginning}</summary><div class="xfit-body"><code>{escaped(text)}</code></div></details>'


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out plain words as a table; the first column names the rows, columns of numbers are right-aligned."""
    body = [list(row) for row in rows]
    kinds = [' class="xfit-number"' if holds_numbers([row[k] for row in body]) else "" for k in range(len(head))]
    top = "".join(f'<th scope="col"{kind}>{escaped(word)}</th>' for word, kind in zip(head, kinds, strict=True))
    marked = "".join(f"<tr>{_cells(row, kinds)}</tr>" for row in body)
    return f'<div class="xfit-scroll"><table><thead><tr>{top}</tr></thead><tbody>{marked}</tbody></table></div>'


def html_facts(rows: Iterable[tuple[str, str]]) -> str:
    """Lay out what is known under a name, as a table without head; both are plain text."""
    body = "".join(f'<tr><th scope="row">{escaped(name)}</th><td>{escaped(what)}</td></tr>' for name, what in rows)
    return f'<div class="xfit-scroll"><table class="xfit-facts"><tbody>{body}</tbody></table></div>'


def escaped(text: str) -> str:
    """Make plain text safe within HTML, also where formulas between dollars are looked for
    before it is parsed, as bokeh does.
    """
    plain = _UNSEEN.sub(lambda found: cleaned(found[0]), text)
    return html.escape(plain, quote=True).replace("$", "&#36;").replace("\\", "&#92;")


def _cells(row: Sequence[str], kinds: Sequence[str]) -> str:
    first = f'<th scope="row"{kinds[0]}>{escaped(row[0])}</th>'
    return first + "".join(f"<td{kind}>{escaped(word)}</td>" for word, kind in zip(row[1:], kinds[1:], strict=True))


def _span(text: str, kind: str) -> str:
    return f'<span class="{kind}">{escaped(text)}</span>'


# --- addresses

#: A URL in a text, from its scheme on: to the next blank, quote or bracket.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^\s'\"<>]+")

#: What stands between the name of a user and the host: passwords may hold slashes and question marks that should have
#: been quoted.
_PASSWORD = re.compile(r"(://[^:/?#@]*):(?!\d+(?:[/?#]|$)).*@|(://[^:/?#@]*):[^/?#]*@")

#: Values in a query or a fragment: what signs a request stands there, by names that differ from service to service.
_VALUE = re.compile(r"([?&;#][^=&;#]*=)[^&;#]*")


def is_url(address: object) -> bool:
    """Whether an address is a URL, of anything but a file of this machine."""
    text = str(address)
    return "://" in text and not text.startswith("file://")


def local_path(address: str | os.PathLike[str]) -> Path:
    """Path of a file or folder of this machine, as users give it: ``~`` is the home, and
    ``file://`` may stand before it.
    """
    # Path.expanduser raises an error for a user who is not there; a file may have such a name.
    return Path(os.path.expanduser(os.fspath(address).removeprefix("file://")))


def without_secrets(text: object) -> str:
    """Text whose URLs show no password and no value of a query, such as ``s3://joe:***@host/fit.zarr?signature=***``,
    and as `cleaned` otherwise.

    Parameters
    ----------
    text : object
        A URL, or words with URLs among them; what is no text is taken as it prints itself.
    """
    return cleaned(_URL.sub(lambda found: _hidden(found[0]), str(text)))


def _hidden(url: str) -> str:
    # Chained URLs, as fsspec has them, each by itself.
    parts = url.split("::")
    return "::".join(
        _VALUE.sub(r"\1***", _PASSWORD.sub(lambda found: f"{found[1] or found[2]}:***@", part)) for part in parts
    )
