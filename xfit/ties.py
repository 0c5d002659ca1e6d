"""Ties between the parameters of a model: checked, resolved to free parameters, evaluated, inverted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from xfit import formula

if TYPE_CHECKING:
    from xfit.model import Model
    from xfit.parameters import Parameter


def check_tie(parameter: Parameter, text: str) -> None:
    """Check a tie before it is set; what the model does not know yet is checked when the model is used.

    Raises
    ------
    FormulaError, ValueError
        See `xfit.parameters.Parameter.tie`.
    """
    used = formula.names(text)
    formula.parse(text)
    if not used:
        raise ValueError(
            f"{parameter.full_name}: the tie {text!r} names no other parameter; for a constant set value and free=False"
        )
    if parameter.full_name in used:
        raise ValueError(f"{parameter.full_name} can't be tied to itself: {text!r}")
    if parameter.model is not None:
        ties = _formulas(parameter.model) | {parameter.full_name: text}
        _resolve(ties, [p.full_name for p in parameter.model.parameters])


def _formulas(model: Model) -> dict[str, str]:
    """Formula of every tied parameter, as it was written."""
    found = {}
    for parameter in model.parameters:
        twin = parameter._twin
        if twin is not None and twin.model is not model:
            raise ValueError(
                f"{parameter.full_name} is the twin of {twin.full_name}, which is in no component of the model"
            )
        text = parameter.tie_formula
        if text is not None:
            found[parameter.full_name] = text
    return found


def resolve(model: Model) -> dict[str, str]:
    """Return the ties of a model in terms of parameters that are not tied themselves.

    Returns
    -------
    dict
        Full name of each tied parameter and its formula.

    Raises
    ------
    ValueError
        For a tie to an unknown parameter or in a circle.
    """
    return _resolve(_formulas(model), [p.full_name for p in model.parameters])


def _resolve(ties: Mapping[str, str], known: list[str]) -> dict[str, str]:
    for name, text in ties.items():
        unknown = [n for n in formula.names(text) if n not in known]
        if unknown:
            raise ValueError(
                f"{name} is tied to {text!r}, but the model has no parameter {', '.join(map(repr, unknown))}; it has {known}"
            )
    _refuse_circles(ties)
    if not any(used in ties for text in ties.values() for used in formula.names(text)):
        return dict(ties)
    done: dict[str, str] = {}
    for name in ties:
        expr = formula.parse(ties[name])
        while tied := [s for s in expr.free_symbols if str(s) in ties]:
            expr = expr.xreplace({s: formula.parse(ties[str(s)]) for s in tied})
        done[name] = formula.to_text(expr)
    return done


def _refuse_circles(ties: Mapping[str, str]) -> None:
    for start in ties:
        path = [start]
        stack = [iter(formula.names(ties[start]))]
        while stack:
            following = next(stack[-1], None)
            if following is None:
                stack.pop()
                path.pop()
            elif following in path:
                circle = [*path[path.index(following) :], following]
                raise ValueError(f"ties go in a circle: {' -> '.join(circle)}")
            elif following in ties:
                path.append(following)
                stack.append(iter(formula.names(ties[following])))


def value_of(parameter: Parameter) -> float:
    """Value of a tied parameter at the values of the others."""
    model = parameter.model
    text = parameter.tie_formula
    if model is None or text is None:
        raise ValueError(f"{parameter.full_name} is tied to {text!r} but in no model; its value is not known")
    known = {p.full_name: p for p in model.parameters}
    unknown = [name for name in formula.names(text) if name not in known]
    if unknown:
        raise ValueError(f"{parameter.full_name} is tied to {text!r}, but the model has no parameter {unknown}")
    values = {formula.symbol(name): known[name].value for name in formula.names(text)}
    return float(formula.parse(text).evalf(17, subs=values))


def set_through_tie(parameter: Parameter, value: float) -> None:
    """Set the one parameter that a tied one follows, so that the tie gives ``value``.

    Raises
    ------
    ValueError
        Where the tie depends on several parameters or has no unique real inverse.
    """
    twin = parameter.twin
    if twin is not None:
        twin.value = value
        return
    import sympy

    text = parameter.tie_formula
    model = parameter.model
    used = formula.names(text) if text is not None else ()
    hint = f"set {' or '.join(used)}, or untie() first"
    if model is None or text is None or len(used) != 1:
        raise ValueError(f"{parameter.full_name} is tied to {text!r} and can't be set; {hint}")
    roots = sympy.solveset(formula.parse(text) - sympy.Float(value, 17), formula.symbol(used[0]), sympy.S.Reals)
    if not isinstance(roots, sympy.FiniteSet) or len(roots) != 1:
        raise ValueError(
            f"{parameter.full_name} is tied to {text!r}, which is {value} at no single value of {used[0]}; {hint}"
        )
    root = float(next(iter(roots)))
    if not math.isfinite(root):
        raise ValueError(f"{parameter.full_name} is tied to {text!r}, which is never {value}; {hint}")
    model.parameter(used[0]).value = root
