"""Expression: a component from a formula, with its parameters, gradients and linearity found by themselves."""

from __future__ import annotations

import keyword
import math
import numbers
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from xfit.formulas import calculus, parser
from xfit.formulas.kernel_spec import FormulaKernel
from xfit.formulas.syntax import shortened
from xfit.modeling.component import Component, library
from xfit.modeling.parameter import Parameter

#: What can't be a parameter's name. Gamma may be both: it is what the width of a Lorentzian is called.
_FUNCTIONS = {*parser.FUNCTIONS, *parser.ALIASES} - {"gamma"}


@library
class Expression(Component):
    """Component from a formula.

    Parameters
    ----------
    expression : str
        Formula of coordinates and parameters; after ``;`` follow definitions, as in
        ``"a*exp(-u**2); u = (x-c)/w"``. Every name that is no coordinate is a parameter.
    name : str, optional
        Name of the component.
    position : str or (str, str), optional
        Parameter(s) that say where the component is: one, or that along x and that along y.
    add_rotation : bool
        Adds the parameter ``rotation_angle`` (radians) to a two-dimensional formula: it is rotated about
        ``rotation_center``, by default about ``position``, else about the origin.
    rotation_center : (str or float, str or float), optional
        Parameters or numbers along x and y.
    rename_pars : mapping of str to str, optional
        New names of parameters, by the names in the formula.
    coordinates : sequence of str, optional
        Names of the coordinates; by default "x" and, if it is in the formula, "y". Others are coordinates of the data
        along the signal dimension(s).
    parameters : sequence of str, optional
        Which of the names ``E`` and ``pi`` are parameters. They are constants, Euler's number and 3.14159..., unless
        they stand here, have a value, or are named by another argument.
    **values
        Values of the parameters; 1 by default.

    Raises
    ------
    FormulaError
        For a formula that can't be read.
    ValueError
        For a formula without coordinate, or a name that a component can't give to a parameter.

    Warns
    -----
    UserWarning
        Once for each formula in which ``E`` is the constant, or ``e`` a parameter that looks as if Euler's number were
        meant.

    Notes
    -----
    With a rotation, HyperSpy 2.5 replaces x and y one after the other, which shears; here both are replaced at once.

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
        parameters: Sequence[str] = (),
        **values: Any,
    ) -> None:
        named = _named(position, rotation_center, rename_pars, coordinates, parameters, values)
        if rename_pars:
            expression = _renamed(expression, rename_pars, named)
        used = parser.names(expression, named)
        named = tuple(n for n in named if n in used)
        axes = _coordinates(expression, used, coordinates)
        own = [n for n in used if n not in axes]
        _check_names(expression, own)
        wanted = [position] if isinstance(position, str) else list(position or ())
        unknown = [n for n in wanted if n not in own]
        if unknown:
            raise ValueError(f"position={position!r}: no parameter {unknown}; the formula has {own}")
        absent = [n for n in parameters if n not in own]
        if absent:
            raise ValueError(f"parameters={list(parameters)!r}: no parameter {absent}; the formula has {own}")
        # A rotation changes no linearity but that of the parameters it is about, so the plain formula tells.
        center = _center(axes, own, position, rotation_center) if add_rotation else None
        candidates = [n for n in own if n not in (center or ())]
        linear = calculus.linear_parameters(parser.parse(expression, named), candidates)
        _note_eulers_number(expression, named, own, linear)
        made = {n: Parameter(n, 1.0, linear=n in linear) for n in own}
        if center is not None:
            made["rotation_angle"] = Parameter("rotation_angle", 0.0, dimension={}, description="rotation, in radians")
        set_ = object.__setattr__
        set_(self, "coordinates", axes)
        set_(self, "position", position if position is None or isinstance(position, str) else tuple(position))
        set_(self, "expression", expression)
        set_(self, "rotation_center", center)
        set_(self, "_named", tuple(n for n in named if n not in axes))
        set_(self, "_computed", expression if center is None else _rotated(expression, center, named))
        self._begin(name, dict(sorted(made.items())), values)

    expression: str
    rotation_center: tuple[str | float, ...] | None
    _computed: str
    _named: tuple[str, ...]

    @property
    def options(self) -> dict[str, Any]:
        """The formula, its coordinates and position, and what it is rotated about."""
        return {
            "expression": self.expression,
            "coordinates": list(self.coordinates),
            "position": list(self.position) if isinstance(self.position, tuple) else self.position,
            "add_rotation": self.rotation_center is not None,
            "rotation_center": None if self.rotation_center is None else list(self.rotation_center),
            **({"parameters": list(self._named)} if self._named else {}),
        }

    @property
    def kernel(self) -> FormulaKernel:
        """The formula, rotation included."""
        return FormulaKernel(self._computed, self.coordinates, tuple(self._by_name))


def _named(
    position: str | Sequence[str] | None,
    center: Sequence[str | float] | None,
    new_names: Mapping[str, str] | None,
    coordinates: Sequence[str] | None,
    parameters: Sequence[str],
    values: Mapping[str, Any],
) -> tuple[str, ...]:
    """Which of the names that could be Euler's number, or pi, are none: they are named as what they are."""
    if isinstance(parameters, str):
        raise TypeError(f"parameters={parameters!r} must be a sequence of names, such as ({parameters!r},)")
    renamed = (*(new_names or {}), *(new_names or {}).values())
    told = (*_texts(position), *_texts(center), *renamed, *_texts(coordinates), *parameters, *values)
    return tuple(n for n in (*parser.CONSTANTS, "e") if n in told)


def _texts(given: Any) -> tuple[Any, ...]:
    return (given,) if isinstance(given, str) else tuple(given or ())


#: Formulas whose users were told already what E, or e, is.
_noted: set[str] = set()


def _note_eulers_number(
    expression: str, named: Sequence[str], parameters: Sequence[str], linear: Sequence[str]
) -> None:
    """Warn, once, where E is a constant, or e a parameter, and the other may be meant."""
    if expression in _noted:
        return
    note = None
    if "E" not in named and "E" in parser.names(expression, ("E",)):
        note = (
            "E is Euler's number, 2.71828...; give it a value, E=..., to make it a parameter, or write exp(1) for "
            "the number"
        )
    # Where there is a d, e is the next coefficient; where it is a factor, it can be fitted.
    elif "e" in parameters and "e" not in named and "d" not in parameters and "e" not in linear:
        note = (
            "e is a parameter; for Euler's number write E, or exp(...); give it a value, e=..., if a parameter is meant"
        )
    if note is not None:
        _noted.add(expression)
        warnings.warn(f"formula {shortened(expression)!r}: {note}", UserWarning, stacklevel=3)


def _coordinates(expression: str, used: Sequence[str], given: Sequence[str] | None) -> tuple[str, ...]:
    """Names of the coordinates in a formula."""
    if isinstance(given, str):
        raise TypeError(f"coordinates={given!r} must be a sequence of names, such as ({given!r},)")
    if given is not None and (not given or len(set(given)) != len(given)):
        raise ValueError(f"coordinates={given!r} must name at least one coordinate, each once")
    axes = tuple(given) if given is not None else ("x", "y") if "y" in used and "x" in used else ("x",)
    missing = [n for n in axes if n not in used]
    if given is not None and missing:
        raise ValueError(f"coordinates={given!r}: {missing} do not occur in the formula {expression!r}")
    if missing:
        raise ValueError(f"the formula {expression!r} does not depend on x; for a constant use Offset")
    return axes


def _renamed(expression: str, new_names: Mapping[str, str], named: tuple[str, ...]) -> str:
    """Formula with other names of parameters."""
    before = tuple(n for n in named if n in new_names or n not in new_names.values())
    used = parser.names(expression, before)
    unknown = [n for n in new_names if n not in used]
    if unknown:
        raise ValueError(f"rename_pars: the formula {expression!r} has no name {unknown}; it has {list(used)}")
    final = [new_names.get(n, n) for n in used]
    wrong = [n for n in new_names.values() if not n.isidentifier() or final.count(n) > 1]
    if wrong:
        raise ValueError(f"rename_pars={dict(new_names)!r}: {wrong} must be names that nothing else in the formula has")
    return parser.substitute(expression, new_names, before)


def _check_names(expression: str, parameters: Sequence[str]) -> None:
    """Refuse parameter names that a component could not offer as attributes."""
    for n in parameters:
        if n in _FUNCTIONS:
            raise ValueError(f"the formula {expression!r} uses the function {n!r} without arguments in parentheses")
        if "." in n:
            raise ValueError(f"the formula {expression!r} names {n!r}; parameters of other components belong in a tie")
        if (
            hasattr(Component, n)
            or keyword.iskeyword(n)
            or n.startswith("_")
            or n in ("model", "parameters", "expression", "rotation_center")
        ):
            raise ValueError(
                f"{n!r} can't be a parameter's name, for components have it already; use rename_pars={{{n!r}: ...}}"
            )


def _center(
    axes: tuple[str, ...],
    parameters: Sequence[str],
    position: str | Sequence[str] | None,
    center: Sequence[str | float] | None,
) -> tuple[str | float, ...]:
    """What a formula is rotated about, checked."""
    if axes != ("x", "y"):
        raise ValueError("add_rotation=True needs a formula of x and y")
    if "rotation_angle" in parameters:
        raise ValueError("add_rotation=True adds the parameter 'rotation_angle', which the formula has already")
    about = center if center is not None else position if position is not None else (0.0, 0.0)
    if isinstance(about, str) or len(about) != 2:
        raise ValueError(f"rotation_center={about!r} must be two parameters or numbers, along x and along y")
    for n in about:
        if n not in parameters and not (isinstance(n, numbers.Real) and math.isfinite(n)):
            raise ValueError(f"rotation_center={about!r}: {n!r} is neither a number nor a parameter of the formula")
    return tuple(float(n) if isinstance(n, numbers.Real) else n for n in about)


def _rotated(expression: str, center: Sequence[str | float], named: tuple[str, ...]) -> str:
    """Formula in coordinates rotated about a centre."""
    import sympy

    x, y, angle = (parser.symbol(n) for n in ("x", "y", "rotation_angle"))
    # An exact zero drops out, which a float does not.
    px, py = (parser.symbol(n) if isinstance(n, str) else sympy.Float(n, 17) if n else sympy.S.Zero for n in center)
    cos, sin = sympy.cos(angle), sympy.sin(angle)
    turned = {x: px + (x - px) * cos - (y - py) * sin, y: py + (x - px) * sin + (y - py) * cos}
    return parser.to_text(parser.parse(expression, named).xreplace(turned))
