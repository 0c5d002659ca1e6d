"""``xfit components``: what models are made of."""

from __future__ import annotations

import difflib
import inspect
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from xfit.modeling.component import Component

#: Arguments of components that can't be made without, for showing one.
_EXAMPLES = {
    "EELSCLEdge": {"edge": "Fe_L3", "beam_energy": 200.0, "collection_angle": 20.0},
    "ScalableFixedPattern": {"pattern": {"coordinate": [0.0, 1.0, 2.0, 3.0], "values": [0.0, 1.0, 1.0, 0.0]}},
    "Expression": {"expression": "a*x + b"},
}


@click.command()
@click.argument("name", required=False)
def components(name: str | None) -> None:
    """List the components with their formulas, or show one with its parameters.

    \b
    Examples:
      xfit components
      xfit components Gaussian
    """  # noqa: D301  click wants the character
    from xfit.display import terminal_width, text_table

    if name is None:
        rows = [(kind, _parameters(kind), _formula(kind)) for kind in _kinds()]
        click.echo(text_table(("component", "parameters", "formula"), rows, width=terminal_width()))
        click.echo("\nxfit components NAME shows the whole of one: parameters, defaults, bounds, source.")
        return
    click.echo(_described(kind_of(name)))


def _kinds() -> dict[str, type[Component]]:
    from xfit.components import TYPES

    return TYPES


def kind_of(name: str) -> type[Component]:
    """Find a component by its name, in whatever case.

    Raises
    ------
    click.ClickException
        Where there is none, with those that there are.
    """
    kinds = _kinds()
    same = [kind for kind in kinds if kind.casefold() == name.casefold()]
    if not same:
        close = difflib.get_close_matches(name, kinds, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise click.ClickException(f"unknown component {name!r}; {hint}known: {', '.join(sorted(kinds))}")
    return kinds[same[0]]


def _made(kind: type[Component]) -> Component | None:
    """One of a kind; None where it takes a Python function."""
    if kind.__name__ == "Function":
        return None
    return kind(**_EXAMPLES.get(kind.__name__, {}))  # type: ignore[arg-type]


def _parameters(name: str) -> str:
    made = _made(_kinds()[name])
    return "those of the function" if made is None else _of(name, ", ".join(p.name for p in made.parameters))


def _of(name: str, text: str) -> str:
    return "those of the formula" if name == "Expression" else text


def _formula(name: str) -> str:
    from xfit.modeling.tables import formula_of

    made = _made(_kinds()[name])
    return "a Python function" if made is None else "any formula" if name == "Expression" else formula_of(made)[1]


def _described(kind: type[Component]) -> str:
    """A component's text, formula and parameters."""
    from xfit.display import terminal_width, text_table, wrapped
    from xfit.modeling.tables import formula_of

    width, made = terminal_width(), _made(kind)
    parts = [kind.__name__, wrapped(inspect.cleandoc(kind.__doc__ or ""), width)]
    if made is not None and kind.__name__ != "Expression":
        parts.append(wrapped(" ".join(formula_of(made)), width))
        rows = [
            (p.name, f"{p.value:.6g}", f"{p.min:g}", f"{p.max:g}", "" if p.free else "fixed", p.description)
            for p in made.parameters
        ]
        parts.append(text_table(("parameter", "default", "min", "max", "", "description"), rows, width=width))
        if made.options:
            parts.append(wrapped(f"options: {', '.join(made.options)}", width))
    return "\n\n".join(parts)
