"""Ties between the parameters of a model: checked, resolved to free parameters, evaluated, inverted."""

from __future__ import annotations

import keyword
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from xfit import formula

if TYPE_CHECKING:
    import sympy

    from xfit.component import Component
    from xfit.model import Model
    from xfit.parameters import Parameter


# --- before a tie is set -------------------------------------------------------------------------------------------


def check_tie(parameter: Parameter, text: str) -> None:
    """Check a tie before it is set; a parameter that is in no model yet may be tied to any name.

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
    known = _in_reach(parameter)
    if parameter.model is not None:
        _refuse_unknown(parameter, text, known)
    _refuse_circle(parameter, [known[name] for name in used if name in known])


def check_twin(parameter: Parameter, other: Parameter) -> None:
    """Check a twin before it is set.

    Raises
    ------
    ValueError
        For a parameter that would be its own twin, directly or through others, or for one of another model.
    """
    if other is parameter:
        raise ValueError(f"{parameter.full_name} can't be its own twin")
    if parameter.model is not None and other.model is not None and parameter.model is not other.model:
        raise ValueError(f"{parameter.full_name} and {other.full_name} are in different models; twins share one")
    _refuse_circle(parameter, [other])


def _by_name(owner: Model | Component | None) -> dict[str, Parameter]:
    return {} if owner is None else {parameter.full_name: parameter for parameter in owner.parameters}


def _in_reach(parameter: Parameter) -> dict[str, Parameter]:
    """Parameters that a tie can name: those of the model, or of the component while it is in none."""
    return _by_name(parameter.component if parameter.model is None else parameter.model)


def _refuse_unknown(parameter: Parameter, text: str, known: Mapping[str, Parameter]) -> None:
    unknown = [name for name in formula.names(text) if name not in known]
    if unknown:
        raise ValueError(
            f"{parameter.full_name} is tied to {text!r}, but the model has no parameter "
            f"{', '.join(map(repr, unknown))}; it has {', '.join(known)}"
        )


def reference(parameter: Parameter) -> str:
    """How a formula names a parameter: with backticks around the component's name where they are needed."""
    name = "" if parameter.component is None else parameter.component.name
    # Python reads other identifiers in a normal form of its own, and keywords not at all.
    plain = name.isascii() and name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("__")
    return parameter.full_name if plain or not name else f"`{name}`.{parameter.name}"


def plain_source(parameter: Parameter, text: str) -> Parameter | None:
    """Parameter that a formula is nothing but the name of, if it is."""
    return {reference(other): other for other in _in_reach(parameter).values()}.get(text.strip())


def _sources(parameter: Parameter) -> list[Parameter]:
    """Parameters that a tied one follows directly, as far as they are known."""
    if parameter._twin is not None:
        return [parameter._twin]
    if parameter._tie is None:
        return []
    known = _in_reach(parameter)
    return [known[name] for name in formula.names(parameter._tie) if name in known]


def _refuse_circle(start: Parameter, sources: Sequence[Parameter]) -> None:
    """Refuse ties that lead back to where they start."""
    path = [start]
    seen: list[Parameter] = []
    stack = [iter(sources)]
    while stack:
        following = next(stack[-1], None)
        if following is None:
            stack.pop()
            path.pop()
        elif any(following is p for p in path):
            begin = next(k for k, p in enumerate(path) if p is following)
            names = [p.full_name for p in [*path[begin:], following]]
            raise ValueError(f"ties go in a circle: {' -> '.join(names)}")
        elif not any(following is p for p in seen):
            seen.append(following)
            path.append(following)
            stack.append(iter(_sources(following)))


# --- all ties of a model ---------------------------------------------------------------------------------------------


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
    known = _by_name(model)
    texts: dict[str, str] = {}
    for name, parameter in known.items():
        text = parameter.tie_formula
        if text is None:
            continue
        twin = parameter._twin
        if twin is not None and twin.model is not model:
            raise ValueError(f"{name} is the twin of {twin.full_name}, which is in no component of the model")
        _refuse_unknown(parameter, text, known)
        _refuse_circle(parameter, _sources(parameter))
        texts[name] = text
    if not any(name in texts for text in texts.values() for name in formula.names(text)):
        return texts
    done: dict[str, sympy.Expr] = {}
    return {name: formula.to_text(_in_free_terms(name, texts, done)) for name in texts}


def _in_free_terms(name: str, texts: Mapping[str, str], done: dict[str, sympy.Expr]) -> sympy.Expr:
    """Formula of a tied parameter with those of all that it follows put in; each is worked out once."""
    if name not in done:
        expr = formula.parse(texts[name])
        tied = [symbol for symbol in expr.free_symbols if str(symbol) in texts]
        done[name] = expr.xreplace({symbol: _in_free_terms(str(symbol), texts, done) for symbol in tied})
    return done[name]


# --- values ----------------------------------------------------------------------------------------------------------


def value_of(parameter: Parameter) -> float:
    """Value of a tied parameter at the values of the others.

    Raises
    ------
    ValueError
        Where a parameter that it follows is not there yet, or the formula has no finite real value.
    """
    _refuse_circle(parameter, _sources(parameter))
    return _evaluate(parameter, {})


def _evaluate(parameter: Parameter, done: dict[int, float]) -> float:
    """Value of a parameter; those that were worked out already stand in ``done`` by their id."""
    if not parameter.is_tied:
        return parameter.value
    if id(parameter) not in done:
        twin = parameter._twin
        done[id(parameter)] = _evaluate_formula(parameter, done) if twin is None else _evaluate(twin, done)
    return done[id(parameter)]


def _evaluate_formula(parameter: Parameter, done: dict[int, float]) -> float:
    import sympy

    text = str(parameter._tie)
    known = _in_reach(parameter)
    if parameter.model is None and not set(formula.names(text)) <= set(known):
        raise ValueError(f"{parameter.full_name} is tied to {text!r}, which has no value before it is in a model")
    _refuse_unknown(parameter, text, known)
    values = {name: _evaluate(known[name], done) for name in formula.names(text)}
    numbers = {formula.symbol(name): sympy.Float(value, 17) for name, value in values.items()}
    result = formula.parse(text).xreplace(numbers).evalf(17)
    value = float(result) if result.is_Float or result.is_Rational else math.nan
    if not math.isfinite(value):
        at = ", ".join(f"{name} = {number:g}" for name, number in values.items())
        raise ValueError(f"{parameter.full_name} is tied to {text!r}, which is not a finite real number at {at}")
    return value


def known_value(parameter: Parameter) -> float | None:
    """Value of a parameter; None where its tie gives none, such as before it is in a model."""
    try:
        return parameter.value
    except ValueError:
        return None


def set_through_tie(parameter: Parameter, value: float) -> None:
    """Set the one parameter that a tied one follows, so that the tie gives ``value``.

    Raises
    ------
    ValueError
        Where the tie depends on several parameters or has no unique real inverse.
    """
    _refuse_circle(parameter, _sources(parameter))
    twin, text, known = parameter.twin, parameter.tie_formula, _in_reach(parameter)
    if twin is not None:
        twin.value = value
        return
    used = () if text is None else formula.names(text)
    hint = f"set {' or '.join(used)}, or untie() it first"
    if text is None or len(used) != 1 or used[0] not in known:
        raise ValueError(f"{parameter.full_name} is tied to {text!r} and can't be set; {hint}")
    roots = _real_roots(text, used[0], value)
    if len(roots) != 1:
        found = f"{len(roots)} were found" if roots else "none was found"
        raise ValueError(
            f"{parameter.full_name} is tied to {text!r}; to make that {value:g}, exactly one value of {used[0]} is "
            f"needed, but {found}; {hint}"
        )
    known[used[0]].value = roots[0]


def _real_roots(text: str, name: str, value: float) -> list[float]:
    """Where a formula of one name has a value; empty if that can't be found in closed form."""
    import sympy

    try:
        roots = sympy.solveset(formula.parse(text) - sympy.Float(value, 17), formula.symbol(name), sympy.S.Reals)
    except (NotImplementedError, ValueError):
        # sympy says so where it knows no method, as for some steps and special functions.
        return []
    if not isinstance(roots, sympy.FiniteSet):
        return []
    return [float(root) for root in roots if root.is_finite]
