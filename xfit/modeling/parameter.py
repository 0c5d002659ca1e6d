"""Parameter: a number of a component, with bounds, and how it may vary in a fit."""

from __future__ import annotations

import copy
import difflib
import math
import numbers
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from xfit.display import cleaned
from xfit.modeling import ties
from xfit.modeling.text_limits import checked_length, shown

if TYPE_CHECKING:
    from xfit.modeling.component import Component
    from xfit.modeling.model import Model

_UNSET: Any = object()

#: Attributes that can be set, one by one or, but for the twin, by `Parameter.set`.
_SETTABLE = ("value", "min", "max", "free", "units", "twin")


class Parameter:
    """A number of a component.

    Parameters
    ----------
    name : str
        Name within the component.
    value : float
        Start value, or the value itself where the parameter is fixed.
    min, max : float or None
        Bounds; None or an infinity for none.
    free : bool
        Whether a fit may change it.
    units : str, optional
        Units of the value, where they do not follow from those of data and coordinates, which is the default. Nothing
        is converted: a fit refuses units that contradict those of the data.
    linear : bool
        Whether the component is linear in it (jointly with all others so marked).
    dimension : mapping of str to float, optional
        How its units follow: exponents of "data" and of coordinates, such as ``{"data": 1, "x": 1}`` for an area.
    description : str
        What it is.

    Examples
    --------
    >>> from xfit.components import Gaussian
    >>> peak = Gaussian(name="Fe")
    >>> peak.centre.set(value=708, min=700, max=715)
    <Parameter Fe.centre: 708 in [700, 715]>
    >>> peak.sigma.tie("0.01 * Fe.centre")
    <Parameter Fe.sigma: 7.08 in [0, inf], tied to 0.01 * Fe.centre>
    """

    __slots__ = (
        "_component",
        "_description",
        "_dimension",
        "_followed",
        "_free",
        "_linear",
        "_max",
        "_min",
        "_name",
        "_tie",
        "_units",
        "_value",
    )

    def __init__(
        self,
        name: str,
        value: float = 0.0,
        *,
        min: float | None = None,
        max: float | None = None,
        free: bool = True,
        units: str | None = None,
        linear: bool = False,
        dimension: Mapping[str, float] | None = None,
        description: str = "",
    ) -> None:
        self._name = checked_length(name, "a parameter's name")
        self._component: Component | None = None
        self._linear = linear
        self._dimension = None if dimension is None else dict(dimension)
        self._description = description
        self._tie: str | None = None
        self._followed: Parameter | str | None = None
        self._value, self._min, self._max, self._free = 0.0, -math.inf, math.inf, True
        self._units: str | None = None
        self.set(value=value, min=min, max=max, free=free, units=units)

    def __setattr__(self, name: str, value: object) -> None:
        if name in _SETTABLE or name in self.__slots__ or name == "_twin":
            object.__setattr__(self, name, value)
            return
        can = f"what can be set: {', '.join(_SETTABLE)}"
        if hasattr(type(self), name):
            raise AttributeError(f"{cleaned(self.full_name)}: {name!r} can't be set; {can}")
        close = difflib.get_close_matches(name, _SETTABLE, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise AttributeError(f"{cleaned(self.full_name)}: a parameter has no attribute {name!r}; {hint}{can}")

    # --- identity

    @property
    def name(self) -> str:
        """Name within the component."""
        return self._name

    @property
    def component(self) -> Component | None:
        """Component that it belongs to."""
        return self._component

    @property
    def linear(self) -> bool:
        """Whether the component is linear in it, jointly with all others so marked."""
        return self._linear

    @property
    def dimension(self) -> Mapping[str, float] | None:
        """How its units follow from those of the data and of the coordinates; None if unknown."""
        return None if self._dimension is None else MappingProxyType(self._dimension)

    @property
    def description(self) -> str:
        """What it is."""
        return self._description

    @property
    def full_name(self) -> str:
        """Name with that of the component: "Fe.A"."""
        return self.name if self.component is None else f"{self.component.name}.{self.name}"

    @property
    def model(self) -> Model | None:
        """Model that the component is in."""
        return None if self.component is None else self.component.model

    # --- numbers

    @property
    def value(self) -> float:
        """Start value; of a tied parameter what the tie gives at the values of the others."""
        return ties.value_of(self) if self.is_tied else self._value

    @value.setter
    def value(self, value: float) -> None:
        self.set(value=value)

    @property
    def min(self) -> float:
        """Lower bound; -inf for none."""
        return self._min

    @min.setter
    def min(self, value: float | None) -> None:
        self.set(min=value)

    @property
    def max(self) -> float:
        """Upper bound; inf for none."""
        return self._max

    @max.setter
    def max(self, value: float | None) -> None:
        self.set(max=value)

    @property
    def free(self) -> bool:
        """Whether a fit may change it; a tied parameter is never free."""
        return self._free and not self.is_tied

    @free.setter
    def free(self, value: bool) -> None:
        self.set(free=value)

    @property
    def units(self) -> str | None:
        """Explicit units; None where they follow from those of the data and of the coordinates."""
        return self._units

    @units.setter
    def units(self, value: str | None) -> None:
        self.set(units=value)

    def set(
        self,
        *,
        value: float = _UNSET,
        min: float | None = _UNSET,
        max: float | None = _UNSET,
        free: bool = _UNSET,
        units: str | None = _UNSET,
    ) -> Parameter:
        """Set several attributes at once; nothing is changed if one of them is wrong.

        Returns
        -------
        Parameter
            Itself.

        Raises
        ------
        TypeError, ValueError
            For what is no number, not finite, bounds the wrong way round, or freeing a tied parameter.
        """
        new_value = self._value if value is _UNSET else self._number("value", value)
        new_min = self._min if min is _UNSET else self._bound("min", min, -math.inf)
        new_max = self._max if max is _UNSET else self._bound("max", max, math.inf)
        if new_min > new_max:
            raise ValueError(f"{cleaned(self.full_name)}: min={new_min} is above max={new_max}")
        if new_min == math.inf or new_max == -math.inf:
            raise ValueError(f"{cleaned(self.full_name)}: bounds [{new_min}, {new_max}] leave no room for a value")
        if free is not _UNSET and not isinstance(free, bool):
            raise TypeError(f"{cleaned(self.full_name)}: free={free!r} must be True or False")
        if free is True and self.is_tied:
            raise ValueError(
                f"{cleaned(self.full_name)} is tied to {self.tie_formula!r} and can't be free; call untie() first"
            )
        if units is not _UNSET and not (units is None or isinstance(units, str)):
            raise TypeError(f"{cleaned(self.full_name)}: units={units!r} must be text or None")
        if isinstance(units, str) and units is not _UNSET:
            checked_length(units, f"{cleaned(self.full_name)}: units")
        if value is not _UNSET and self.is_tied:
            ties.set_through_tie(self, new_value)
        self._min, self._max = new_min, new_max
        if not self.is_tied:
            self._value = new_value
        self._free = self._free if free is _UNSET else free
        self._units = self._units if units is _UNSET else units
        return self

    def assign(self, given: float | Mapping[str, Any]) -> None:
        """Set the value, or the attributes in a mapping such as ``{"value": 708, "min": 700}``.

        Raises
        ------
        TypeError, ValueError
            As `set`; also for an attribute that is not known.
        """
        if not isinstance(given, Mapping):
            self.set(value=given)
            return
        known = [n for n in _SETTABLE if n != "twin"]
        unknown = [n for n in given if n not in known]
        if unknown:
            raise TypeError(
                f"{cleaned(self.full_name)}: unknown {', '.join(map(repr, unknown))}; known: {', '.join(known)}"
            )
        self.set(**given)

    def _number(self, what: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"{cleaned(self.full_name)}: {what}={value!r} must be a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ValueError(f"{cleaned(self.full_name)}: {what}={shown(value)} must be finite")
        return number

    def _bound(self, what: str, value: object, none: float) -> float:
        if value is None:
            return none
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"{cleaned(self.full_name)}: {what}={value!r} must be a number or None")
        try:
            number = float(value)
        except OverflowError:
            raise ValueError(
                f"{cleaned(self.full_name)}: {what} is too large for a float; None means no bound"
            ) from None
        if math.isnan(number):
            raise ValueError(f"{cleaned(self.full_name)}: {what} must not be NaN; None means no bound")
        return number

    # --- ties

    @property
    def is_tied(self) -> bool:
        """Whether the value follows from other parameters."""
        return self._tie is not None or self._twin is not None

    @property
    def tie_formula(self) -> str | None:
        """Formula of the tie; None for a parameter that is not tied."""
        if self._twin is not None:
            return ties.reference(self._twin)
        return self._tie

    def tie(self, formula: str | None) -> Parameter:
        """Let the value follow from other parameters of the model.

        Parameters
        ----------
        formula : str or None
            Of other parameters, such as ``"0.5 * Fe.A"``; None unties. Names of components that are no identifiers
            stand in backticks.

        Returns
        -------
        Parameter
            Itself.

        Raises
        ------
        FormulaError
            For a formula that can't be read.
        ValueError
            For a tie to nothing, to itself, in a circle, or to a parameter that the model does not have.
        """
        if formula is None:
            return self.untie()
        ties.check_tie(self, formula)
        self._tie, self._twin = formula, None
        return self

    def untie(self) -> Parameter:
        """Remove the tie; the value stays what the tie gave, where that is known. Returns the parameter itself."""
        if self.is_tied:
            value = ties.known_value(self)
            self._tie = self._twin = None
            self._value = self._value if value is None else value
        return self

    @property
    def twin(self) -> Parameter | None:
        """Parameter whose value this one shares; None where there is none, or the tie is another formula."""
        return self._twin if self._tie is None else ties.plain_source(self, self._tie)

    @twin.setter
    def twin(self, other: Parameter | None) -> None:
        if other is None:
            self.untie()
            return
        if not isinstance(other, Parameter):
            raise TypeError(
                f"{cleaned(self.full_name)}: twin must be another Parameter or None, not {type(other).__name__}"
            )
        ties.check_twin(self, other)
        self._tie, self._twin = None, other

    @property
    def _twin(self) -> Parameter | None:
        """Parameter that this one is the twin of as an object, not by a formula."""
        if isinstance(self._followed, str):
            # Copied or unpickled with its model, which is whole by now.
            assert self.model is not None
            self._followed = self.model.parameter(self._followed)
        return self._followed

    @_twin.setter
    def _twin(self, other: Parameter | None) -> None:
        self._followed = other

    def rename_references(self, replacements: Mapping[str, str]) -> None:
        """Rewrite the formula of the tie when components are renamed: new full names by old ones."""
        if isinstance(self._followed, str):
            self._followed = replacements.get(self._followed, self._followed)
        if self._tie is not None:
            from xfit.formulas import parser

            self._tie = parser.substitute(self._tie, replacements)

    # --- Python

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Parameter):
            return NotImplemented
        return self._content() == other._content()

    def _content(self) -> tuple[object, ...]:
        value = None if self.is_tied else self._value
        return (self._name, value, self._min, self._max, self._free, self._units, self.tie_formula, self._linear)

    def __copy__(self) -> Parameter:
        new = Parameter.__new__(Parameter)
        new.__setstate__(
            {name: getattr(self, name) for name in self.__slots__} | {"_component": None, "_followed": self._twin}
        )
        return new

    def copy(self) -> Parameter:
        """Return a copy that belongs to no component."""
        return copy.copy(self)

    def __deepcopy__(self, memo: dict[int, object]) -> Parameter:
        memo[id(self)] = new = type(self).__new__(type(self))
        state = self.__getstate__()
        # The others are numbers, text and what nobody changes.
        for name in ("_component", "_followed"):
            state[name] = copy.deepcopy(state[name], memo)
        new.__setstate__(state)
        return new

    def __getstate__(self) -> dict[str, object]:
        state = {name: getattr(self, name) for name in self.__slots__}
        # By name, for pickles and deep copies of long chains of twins would go deeper than Python's stack.
        if self._twin is not None and self._twin.model is not None and self._twin.model is self.model:
            state["_followed"] = self._twin.full_name
        return state

    def __setstate__(self, state: Mapping[str, object]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        from xfit.modeling.tables import parameter_text

        return parameter_text(self)

    def _repr_html_(self) -> str:
        from xfit.modeling.tables import parameter_html

        return parameter_html(self)
