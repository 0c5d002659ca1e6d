"""Ties between the parameters of a model: checked, put in the order in which they are
evaluated, evaluated, inverted.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from xfit.display import cleaned
from xfit.formulas import parser
from xfit.formulas.ordering import in_order

if TYPE_CHECKING:
    from xfit.modeling.component import Component
    from xfit.modeling.model import Model
    from xfit.modeling.parameter import Parameter


# --- before a tie is set -------------------------------------------------------------------------------------------


def check_tie(parameter: Parameter, text: str) -> None:
    """Check a tie before it is set; a parameter that is in no model yet may be tied to any name.

    Raises
    ------
    FormulaError, ValueError
        See `xfit.modeling.parameter.Parameter.tie`.
    """
    used = _check_text(parameter, text)
    graph = TieGraph()
    known = graph.in_reach(parameter)
    if parameter.model is not None:
        _refuse_unknown(parameter, text, known)
    graph.order([parameter], {id(parameter): [known[name] for name in used if name in known]})


def _check_text(parameter: Parameter, text: str) -> tuple[str, ...]:
    """Check a tie by itself; return the names in it."""
    used = parser.names(text)
    parser.parse(text)
    if not used:
        raise ValueError(
            f"{cleaned(parameter.full_name)}: the tie {text!r} names no other parameter; for a constant set value and "
            "free=False"
        )
    if parameter.full_name in used:
        raise ValueError(f"{cleaned(parameter.full_name)} can't be tied to itself: {text!r}")
    return used


def check_twin(parameter: Parameter, other: Parameter) -> None:
    """Check a twin before it is set.

    Raises
    ------
    ValueError
        For a parameter that would be its own twin, directly or through others, or for one of another model.
    """
    if other is parameter:
        raise ValueError(f"{cleaned(parameter.full_name)} can't be its own twin")
    if parameter.model is not None and other.model is not None and parameter.model is not other.model:
        raise ValueError(
            f"{cleaned(parameter.full_name)} and {cleaned(other.full_name)} are in different models; twins share one"
        )
    TieGraph().order([parameter], {id(parameter): [other]})


def _by_name(owner: Model | Component | None) -> dict[str, Parameter]:
    return {} if owner is None else {parameter.full_name: parameter for parameter in owner.parameters}


def _refuse_unknown(parameter: Parameter, text: str, known: Mapping[str, Parameter]) -> None:
    unknown = [name for name in parser.names(text) if name not in known]
    if unknown:
        raise ValueError(
            f"{cleaned(parameter.full_name)} is tied to {text!r}, but the model has no parameter "
            f"{', '.join(map(repr, unknown))}; it has {', '.join(map(cleaned, known))}"
        )


def reference(parameter: Parameter) -> str:
    """How a formula names a parameter: with backticks around the component's name where they are needed."""
    name = "" if parameter.component is None else parameter.component.name
    # Python reads other identifiers in a normal form of its own, and keywords not at all.
    plain = name.isascii() and name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("__")
    return parameter.full_name if plain or not name else f"`{name}`.{parameter.name}"


def plain_source(parameter: Parameter, text: str) -> Parameter | None:
    """Parameter that a formula is nothing but the name of, if it is."""
    return {reference(other): other for other in TieGraph().in_reach(parameter).values()}.get(text.strip())


class TieGraph:
    """Which parameter follows which, as the ties are now; names are looked up once."""

    def __init__(self) -> None:
        self._known: dict[int, dict[str, Parameter]] = {}

    def in_reach(self, parameter: Parameter) -> dict[str, Parameter]:
        """Parameters that a tie can name: those of the model, or of the component while it is in none."""
        owner = parameter.component if parameter.model is None else parameter.model
        if id(owner) not in self._known:
            self._known[id(owner)] = _by_name(owner)
        return self._known[id(owner)]

    def tie(self, parameter: Parameter, text: str) -> None:
        """Tie a parameter of a model that is being read; whether ties go in a circle is left to `order`.

        Raises
        ------
        FormulaError, ValueError
            As `check_tie`.
        """
        _check_text(parameter, text)
        _refuse_unknown(parameter, text, self.in_reach(parameter))
        parameter._tie, parameter._twin = text, None

    def sources(self, parameter: Parameter) -> list[Parameter]:
        """Parameters that a tied one follows directly, as far as they are known."""
        if parameter._twin is not None:
            return [parameter._twin]
        if parameter._tie is None:
            return []
        known = self.in_reach(parameter)
        return [known[name] for name in parser.names(parameter._tie) if name in known]

    def order(
        self, parameters: Iterable[Parameter], instead: Mapping[int, Sequence[Parameter]] | None = None
    ) -> list[Parameter]:
        """Parameters and all that they follow, each once and after those that it follows itself.

        Parameters
        ----------
        parameters : iterable of Parameter
            Where to begin.
        instead : mapping of int to sequence of Parameter, optional
            What parameters, given by their id, are to follow instead of what they follow now.

        Raises
        ------
        ValueError
            For ties in a circle.
        """
        instead = instead or {}
        met: dict[int, Parameter] = {}

        def followed(key: int) -> list[int]:
            found = instead[key] if key in instead else self.sources(met[key])
            met.update((id(each), each) for each in found)
            return [id(each) for each in found]

        starts = list(parameters)
        met.update((id(each), each) for each in starts)
        return [met[key] for key in in_order(map(id, starts), followed, lambda key: cleaned(met[key].full_name))]


# --- all ties of a model ---------------------------------------------------------------------------------------------


def resolve(model: Model) -> dict[str, str]:
    """Return the ties of a model as a program: formulas in an order in which they can be evaluated.

    Returns
    -------
    dict
        Full name of each tied parameter and its formula, in which there are only parameters that are not tied or stand
        before it.

    Raises
    ------
    ValueError
        For a tie to an unknown parameter or in a circle.
    """
    graph = TieGraph()
    known = _by_name(model)
    texts: dict[str, str] = {}
    for name, parameter in known.items():
        text = parameter.tie_formula
        if text is None:
            continue
        twin = parameter._twin
        if twin is not None and twin.model is not model:
            raise ValueError(
                f"{cleaned(name)} is the twin of {cleaned(twin.full_name)}, which is in no component of the model"
            )
        _refuse_unknown(parameter, text, known)
        texts[name] = text
    ordered = graph.order(known[name] for name in texts)
    return {p.full_name: texts[p.full_name] for p in ordered if p.full_name in texts}


# --- values ----------------------------------------------------------------------------------------------------------


def value_of(parameter: Parameter) -> float:
    """Value of a tied parameter at the values of the others.

    Raises
    ------
    ValueError
        Where a parameter that it follows is not there yet, or the formula has no finite real value.
    """
    return values_of([parameter])[0]


def values_of(parameters: Sequence[Parameter]) -> list[float]:
    """Values of parameters, tied or not; what several follow is worked out once. Raises as `value_of`."""
    found = _evaluated(parameters)
    for value in found:
        if isinstance(value, ValueError):
            raise value
    return [value for value in found if not isinstance(value, ValueError)]


def known_values(parameters: Sequence[Parameter]) -> list[float | None]:
    """Values of parameters; None where a tie gives none, such as before it is in a model."""
    return [None if isinstance(value, ValueError) else value for value in _evaluated(parameters)]


def known_value(parameter: Parameter) -> float | None:
    """Value of a parameter, or None; see `known_values`."""
    return known_values([parameter])[0]


def _evaluated(parameters: Sequence[Parameter]) -> list[float | ValueError]:
    """Values of parameters; the error of what has none."""
    graph = TieGraph()
    done: dict[int, float | ValueError] = {}
    try:
        ordered = graph.order(parameters)
    except ValueError as error:
        return [error for _ in parameters]
    for parameter in ordered:
        try:
            done[id(parameter)] = _value_at(parameter, graph, done) if parameter.is_tied else parameter._value
        except ValueError as error:
            done[id(parameter)] = error
    return [done[id(parameter)] for parameter in parameters]


def _value_at(parameter: Parameter, graph: TieGraph, done: Mapping[int, float | ValueError]) -> float:
    """Value of a tied parameter from those that it follows."""
    text, known = parameter._tie, graph.in_reach(parameter)
    if text is not None:
        if parameter.model is None and not set(parser.names(text)) <= set(known):
            raise ValueError(
                f"{cleaned(parameter.full_name)} is tied to {text!r}, which has no value before it is in a model"
            )
        _refuse_unknown(parameter, text, known)
    values: dict[str, float] = {}
    for source in graph.sources(parameter):
        value = done[id(source)]
        if isinstance(value, ValueError):
            raise value
        values[source.full_name] = value
    return next(iter(values.values())) if text is None else _evaluate(parameter, text, values)


def _evaluate(parameter: Parameter, text: str, values: Mapping[str, float]) -> float:
    """Value of a formula at the values of the parameters in it."""
    if len(values) == 1 and text.strip() in values:
        return values[text.strip()]
    import sympy

    numbers = {parser.symbol(name): sympy.Float(value, 17) for name, value in values.items()}
    result = parser.parse(text).xreplace(numbers).evalf(17)
    value = float(result) if result.is_Float or result.is_Rational else math.nan
    if not math.isfinite(value):
        at = ", ".join(f"{cleaned(name)} = {number:g}" for name, number in values.items())
        raise ValueError(
            f"{cleaned(parameter.full_name)} is tied to {text!r}, which is not a finite real number at {at}"
        )
    return value


def set_through_tie(parameter: Parameter, value: float) -> None:
    """Set the one parameter that a tied one follows, so that the tie gives ``value``.

    Raises
    ------
    ValueError
        Where the tie depends on several parameters or has no unique real inverse.
    """
    graph = TieGraph()
    graph.order([parameter])
    source = parameter
    while source.is_tied:
        source, value = _inverted(source, value, graph)
    source.value = value


def _inverted(parameter: Parameter, value: float, graph: TieGraph) -> tuple[Parameter, float]:
    """The one parameter that a tied one follows, and its value that makes the tie give ``value``."""
    twin, text, known = parameter.twin, parameter.tie_formula, graph.in_reach(parameter)
    if twin is not None:
        return twin, value
    used = () if text is None else parser.names(text)
    hint = f"set {cleaned(' or '.join(used))}, or untie() it first"
    if text is None or len(used) != 1 or used[0] not in known:
        raise ValueError(f"{cleaned(parameter.full_name)} is tied to {text!r} and can't be set; {hint}")
    roots = _real_roots(text, used[0], value)
    if len(roots) != 1:
        found = f"{len(roots)} were found" if roots else "none was found"
        raise ValueError(
            f"{cleaned(parameter.full_name)} is tied to {text!r}; to make that {value:g}, exactly one value of "
            f"{used[0]} is needed, but {found}; {hint}"
        )
    return known[used[0]], roots[0]


def _real_roots(text: str, name: str, value: float) -> list[float]:
    """Where a formula of one name has a value; empty if that can't be found in closed form."""
    import sympy

    try:
        roots = sympy.solveset(parser.parse(text) - sympy.Float(value, 17), parser.symbol(name), sympy.S.Reals)
    except (NotImplementedError, ValueError):
        # sympy says so where it knows no method, as for some steps and special functions.
        return []
    if not isinstance(roots, sympy.FiniteSet):
        return []
    return [float(root) for root in roots if root.is_finite]
