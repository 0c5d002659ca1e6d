"""Models, components and parameters as tables: text that fits a terminal, and HTML for notebooks."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from xfit.ties import known_value

if TYPE_CHECKING:
    from xfit.component import Component
    from xfit.model import Model
    from xfit.parameters import Parameter

_HEAD = ("parameter", "value", "min", "max", "", "units")
_STYLE = "border-collapse:collapse;color:inherit;background:transparent"
_CELL = "padding:1px 10px;text-align:left;border-bottom:1px solid rgba(128,128,128,0.3)"


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out words in columns, with a rule below the head."""
    widths = [max(len(row[k]) for row in [head, *rows]) for k in range(len(head))]
    lines = ["  ".join(w.ljust(n) for w, n in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]]
    lines.insert(1, "  ".join("-" * n for n in widths).rstrip())
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None or math.isinf(value) else f"{value:.6g}"


def _row(parameter: Parameter) -> tuple[str, ...]:
    value = known_value(parameter)
    state = f"= {parameter.tie_formula}" if parameter.is_tied else "free" if parameter.free else "fixed"
    if value is not None and not parameter.min <= value <= parameter.max:
        state += " (outside!)"
    return (
        parameter.name,
        _number(value),
        _number(parameter.min),
        _number(parameter.max),
        state if len(state) <= 28 else state[:25] + "...",
        parameter.units or "",
    )


def _listed(model: Model, only_free: bool, only_active: bool) -> list[tuple[Component, list[Parameter]]]:
    found = []
    for component in model:
        if only_active and not component.active:
            continue
        parameters = [p for p in component.parameters if p.free or not only_free]
        if parameters:
            found.append((component, parameters))
    return found


def model_text(model: Model, *, only_free: bool = False, only_active: bool = False) -> str:
    """Table of a model's parameters."""
    rows = []
    for component, parameters in _listed(model, only_free, only_active):
        label = component.name + ("" if component.active else " (inactive)")
        rows += [(label if k == 0 else "", *_row(p)) for k, p in enumerate(parameters)]
    return text_table(("component", *_HEAD), rows)


def model_summary(model: Model) -> str:
    """Short table of a model's components."""
    title = "Model" if model.name is None else f"Model {model.name!r}"
    if not len(model):
        return f"<{title}: no components>"
    response = model.response is not None
    rows = [
        (
            str(k),
            c.name,
            type(c).__name__,
            "yes" if c.active else "no",
            *(["yes" if c.convolved else "no"] if response else []),
            ", ".join(p.name for p in c.parameters if p.free) or "-",
        )
        for k, c in enumerate(model)
    ]
    return f"<{title}: {len(model.free_parameters)} free parameters>\n" + text_table(
        ("#", "name", "type", "active", *(["convolved"] if response else []), "free parameters"), rows
    )


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out words as an HTML table, in the colours of what it stands in."""
    top = "".join(f'<th style="{_CELL}">{html.escape(word)}</th>' for word in head)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{html.escape(word)}</td>' for word in row) + "</tr>" for row in rows
    )
    return f'<table style="{_STYLE}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def parameters_html(parameters: Iterable[Parameter]) -> str:
    """Table of parameters as HTML."""
    return html_table(_HEAD, (_row(p) for p in parameters))


def component_html(component: Component) -> str:
    """A component as HTML that can be folded."""
    off = "" if component.active else " <i>(inactive)</i>"
    title = f"<b>{html.escape(component.name)}</b> {html.escape(type(component).__name__)}{off}"
    return f"<details open><summary>{title}</summary>{parameters_html(component.parameters)}</details>"


def model_html(model: Model) -> str:
    """A model as HTML that can be folded."""
    title = "Model" if model.name is None else f"Model {html.escape(model.name)}"
    parts = "".join(component_html(component) for component in model)
    return f"<div><b>{title}</b>: {len(model)} components, {len(model.free_parameters)} free parameters{parts}</div>"
