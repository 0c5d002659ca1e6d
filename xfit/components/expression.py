"""Expression: a component from a formula, with its parameters, gradients and linearity found by themselves."""

from __future__ import annotations

import keyword
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from xfit import formula
from xfit.component import Component, FormulaKernel
from xfit.parameters import Parameter


class Expression(Component):
    """Component from a formula.

    Parameters
    ----------
    expression : str
        Formula of coordinates and parameters, as `xfit.formula.parse` reads it; after ``;`` follow definitions, as in
        ``"a*exp(-u**2); u = (x-c)/w"``. Every name that is no coordinate is a parameter.
    name : str, optional
        Name of the component.
    position : str or (str, str), optional
        Parameter(s) that say where the component is: one, or that along x and that along y.
    add_rotation : bool
        Adds the parameter ``rotation_angle`` (radians) to a two-dimensional formula: it is rotated about ``rotation_center``,
        by default about ``position``, else about the origin.
    rotation_center : (str or float, str or float), optional
        Parameters or numbers along x and y.
    rename_pars : mapping of str to str, optional
        New names of parameters.
    coordinates : sequence of str, optional
        Names of the coordinates; by default "x" and, if it is in the formula, "y". Others are coordinates of the data
        along the signal dimension(s).
    **values
        Values of the parameters.

    Examples
    --------
    >>> from xfit.components import Expression
    >>> line = Expression("a*x + b", name="line", a=2.0)
    >>> [p.name for p in line.parameters], [p.linear for p in line.parameters]
    (['a', 'b'], [True, True])
    """

    def __init__(
        self,
        expression: str,
        name: str | None = None,
        *,
        position: str | Sequence[str] | None = None,
        add_rotation: bool = False,
        rotation_center: Sequence[str | float] | None = None,
        rename_pars: Mapping[str, str] | None = None,
        coordinates: Sequence[str] | None = None,
        **values: Any,
    ) -> None:
        if rename_pars:
            expression = formula.substitute(expression, rename_pars)
        used = formula.names(expression)
        axes = _coordinates(expression, used, coordinates)
        parameters = [n for n in used if n not in axes]
        if add_rotation:
            expression = _rotated(expression, axes, parameters, position, rotation_center)
            parameters = sorted([*parameters, "rotation_angle"])
        _check_names(expression, parameters)
        wanted = [position] if isinstance(position, str) else list(position or ())
        unknown = [n for n in wanted if n not in parameters]
        if unknown:
            raise ValueError(f"position={position!r}: no parameter {unknown}; the formula has {parameters}")
        linear = formula.linear_parameters(formula.parse(expression), parameters)
        made = {n: Parameter(n, 1.0, linear=n in linear) for n in parameters}
        if "rotation_angle" in made and add_rotation:
            made["rotation_angle"].value = 0.0
        set_ = object.__setattr__
        set_(self, "coordinates", axes)
        set_(self, "position", position if position is None or isinstance(position, str) else tuple(position))
        set_(self, "expression", expression)
        self._begin(name, made, values)

    expression: str

    @property
    def options(self) -> dict[str, Any]:
        """The formula, rotation included, its coordinates and position."""
        position = list(self.position) if isinstance(self.position, tuple) else self.position
        return {"expression": self.expression, "coordinates": list(self.coordinates), "position": position}

    @property
    def kernel(self) -> FormulaKernel:
        """The formula."""
        return FormulaKernel(self.expression, self.coordinates, tuple(self._by_name))


def _coordinates(expression: str, used: Sequence[str], given: Sequence[str] | None) -> tuple[str, ...]:
    """Names of the coordinates in a formula."""
    if isinstance(given, str):
        raise TypeError(f"coordinates={given!r} must be a sequence of names, such as ({given!r},)")
    axes = tuple(given) if given is not None else ("x", "y") if "y" in used and "x" in used else ("x",)
    missing = [n for n in axes if n not in used]
    if given is not None and missing:
        raise ValueError(f"coordinates={given!r}: {missing} do not occur in the formula {expression!r}")
    if missing:
        raise ValueError(f"the formula {expression!r} does not depend on x; for a constant use Offset")
    return axes


def _check_names(expression: str, parameters: Sequence[str]) -> None:
    """Refuse parameter names that a component could not offer as attributes."""
    for n in parameters:
        if "." in n:
            raise ValueError(f"the formula {expression!r} names {n!r}; parameters of other components belong in a tie")
        if (
            hasattr(Component, n)
            or keyword.iskeyword(n)
            or n.startswith("_")
            or n in ("model", "parameters", "expression")
        ):
            raise ValueError(
                f"{n!r} can't be a parameter's name, for components have it already; use rename_pars={{{n!r}: ...}}"
            )


def _rotated(
    expression: str,
    axes: tuple[str, ...],
    parameters: Sequence[str],
    position: str | Sequence[str] | None,
    center: Sequence[str | float] | None,
) -> str:
    """Formula in coordinates rotated about a centre."""
    if axes != ("x", "y"):
        raise ValueError("add_rotation=True needs a formula of x and y")
    if "rotation_angle" in parameters:
        raise ValueError("add_rotation=True adds the parameter 'rotation_angle', which the formula has already")
    about = center if center is not None else position if position is not None else (0, 0)
    if isinstance(about, str) or len(about) != 2:
        raise ValueError(f"rotation_center={about!r} must be two parameters or numbers, along x and along y")
    for n in about:
        if not isinstance(n, numbers.Real) and n not in parameters:
            raise ValueError(f"rotation_center={about!r}: {n!r} is neither a number nor a parameter of the formula")
    expr = formula.parse(expression)
    x, y = formula.symbol("x"), formula.symbol("y")
    px, py = (formula.parse(repr(n) if isinstance(n, numbers.Real) else n) for n in about)
    cos, sin = formula.parse("cos(rotation_angle)"), formula.parse("sin(rotation_angle)")
    turned = {x: px + (x - px) * cos - (y - py) * sin, y: py + (x - px) * sin + (y - py) * cos}
    return formula.to_text(expr.subs(turned, simultaneous=True))
