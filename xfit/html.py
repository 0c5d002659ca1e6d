"""What representations in notebooks are made of: a style, sections that fold, tables; everything escaped, without scripts."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from xfit.terminal import cleaned, holds_numbers, shortened

#: Notebooks that say whether they are light or dark are asked for their colours; elsewhere the system's wish decides. Text and
#: background are both set, for a dark wish on a page that is always white must not give white on white.
_LIGHT = """
  --xfit-text: var(--jp-content-font-color1, var(--pst-color-text-base, var(--vscode-editor-foreground, #1f2328)));
  --xfit-muted: var(--jp-content-font-color2, var(--pst-color-text-muted, var(--vscode-descriptionForeground, #59636e)));
  --xfit-back: var(--jp-layout-color0, var(--pst-color-background, var(--vscode-editor-background, #ffffff)));
  --xfit-line: var(--jp-border-color2, var(--pst-color-border, #d1d9e0));
  --xfit-shade: rgba(128, 128, 128, 0.1);
  --xfit-warn: #9a3412;
"""
_DARK = """
  --xfit-text: var(--jp-content-font-color1, var(--pst-color-text-base, var(--vscode-editor-foreground, #e6edf3)));
  --xfit-muted: var(--jp-content-font-color2, var(--pst-color-text-muted, var(--vscode-descriptionForeground, #9ea7b3)));
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
.xfit { color: var(--xfit-text); background: var(--xfit-back); font-size: 13px; line-height: 1.5; max-width: 800px; padding: 2px 4px; }
.xfit .xfit-head { border-bottom: 1px solid var(--xfit-line); margin-bottom: 4px; padding: 4px 0; overflow-wrap: anywhere; }
.xfit .xfit-line { margin: 2px 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.xfit .xfit-muted { color: var(--xfit-muted); font-weight: normal; }
.xfit .xfit-warning { color: var(--xfit-warn); border-left: 3px solid; padding-left: 6px; }
.xfit details { margin: 2px 0; }
.xfit summary { cursor: pointer; display: list-item; padding: 2px 0; overflow-wrap: anywhere; }
.xfit summary:focus-visible { outline: 2px solid; outline-offset: -2px; }
.xfit .xfit-body { border-left: 1px solid var(--xfit-line); margin: 0 0 6px 4px; padding-left: 12px; }
.xfit .xfit-scroll { overflow-x: auto; }
.xfit code { background: var(--xfit-shade); color: inherit; font-size: 12px; padding: 1px 3px; white-space: pre-wrap; overflow-wrap: anywhere; }
.xfit.xfit table { border: 0; border-collapse: collapse; color: inherit; display: table; font-size: 12px; margin: 4px 0; width: auto; }
.xfit.xfit table tr { background: transparent; border: 0; }
.xfit.xfit table tbody tr:hover { background: var(--xfit-shade); }
.xfit.xfit table th, .xfit.xfit table td { border: 0; border-bottom: 1px solid var(--xfit-line); color: inherit; background: transparent;
  max-width: 26em; overflow-wrap: break-word; padding: 2px 16px 2px 0; text-align: left; vertical-align: baseline; white-space: normal; }
.xfit.xfit table thead th { color: var(--xfit-muted); font-weight: normal; white-space: nowrap; }
.xfit.xfit table tbody th { font-weight: 600; }
.xfit.xfit table.xfit-facts td { max-width: none; }
.xfit.xfit table .xfit-number { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
"""
#: What is not seen, moves letters to other places, or has no place in a file: controls but for ends of lines, marks of direction, halves of letters.
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_STYLE = (
    f".xfit {{{_LIGHT}}}\n"
    f"@media (prefers-color-scheme: dark) {{ .xfit {{{_DARK}}} }}\n"
    f"{_IS_LIGHT} {{{_LIGHT}}}\n{_IS_DARK} {{{_DARK}}}{_RULES}"
)


def page(kind: str, title: str, about: str, *parts: str) -> str:
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


def section(title: str, about: str, *parts: str, opened: bool = False) -> str:
    """Make a section that folds, by mouse or keyboard: ``title`` and ``about`` are plain text, ``parts`` HTML."""
    note = f" {_span(about, 'xfit-muted')}" if about else ""
    body = f'<div class="xfit-body">{"".join(parts)}</div>'
    return f"<details{' open' if opened else ''}><summary><b>{escaped(title)}</b>{note}</summary>{body}</details>"


def lines(text: str) -> str:
    """Make plain text of one or several lines HTML; lines that warn stand out."""
    return "".join(
        f'<div class="xfit-line{" xfit-warning" if line.startswith("warning:") else ""}">{escaped(line)}</div>'
        for line in text.splitlines()
    )


def code(label: str, text: str) -> str:
    """Make a line of a label and a formula, both plain text; long formulas are folded."""
    if len(text) <= 160:
        return f'<div class="xfit-line">{_span(label, "xfit-muted")} <code>{escaped(text)}</code></div>'
    beginning = f"{_span(label, 'xfit-muted')} <code>{escaped(shortened(text, 60))}</code>"
    return f'<details><summary>{beginning}</summary><div class="xfit-body"><code>{escaped(text)}</code></div></details>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out plain words as a table; the first column names the rows, columns of numbers are right-aligned."""
    body = [list(row) for row in rows]
    kinds = [' class="xfit-number"' if holds_numbers([row[k] for row in body]) else "" for k in range(len(head))]
    top = "".join(f'<th scope="col"{kind}>{escaped(word)}</th>' for word, kind in zip(head, kinds, strict=True))
    marked = "".join(f"<tr>{_cells(row, kinds)}</tr>" for row in body)
    return f'<div class="xfit-scroll"><table><thead><tr>{top}</tr></thead><tbody>{marked}</tbody></table></div>'


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Lay out what is known under a name, as a table without head; both are plain text."""
    body = "".join(f'<tr><th scope="row">{escaped(name)}</th><td>{escaped(what)}</td></tr>' for name, what in rows)
    return f'<div class="xfit-scroll"><table class="xfit-facts"><tbody>{body}</tbody></table></div>'


def escaped(text: str) -> str:
    """Make plain text safe within HTML, also where formulas between dollars are looked for before it is parsed, as bokeh does."""
    plain = _UNSEEN.sub(lambda found: cleaned(found[0]), text)
    return html.escape(plain, quote=True).replace("$", "&#36;").replace("\\", "&#92;")


def _cells(row: Sequence[str], kinds: Sequence[str]) -> str:
    first = f'<th scope="row"{kinds[0]}>{escaped(row[0])}</th>'
    return first + "".join(f"<td{kind}>{escaped(word)}</td>" for word, kind in zip(row[1:], kinds[1:], strict=True))


def _span(text: str, kind: str) -> str:
    return f'<span class="{kind}">{escaped(text)}</span>'
