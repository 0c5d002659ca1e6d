"""Parameter: a number of a component, with bounds, and how it may vary in a fit."""

from __future__ import annotations

import copy
import difflib
import math
import numbers
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xfit.component import Component
    from xfit.model import Model

_UNSET: Any = object()


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
        Units; by default they follow from those of data and coordinates.
    linear : bool
        Whether the component is linear in it (jointly with all others so marked).
    dimension : mapping of str to float, optional
        How its units follow: exponents of "data" and of coordinates, such as ``{"data": 1, "x": 1}`` for an area.
    description : str
        What it is.

    Attributes
    ----------
    component : Component or None
        Which it belongs to.
    """

    __slots__ = (
        "_free",
        "_max",
        "_min",
        "_tie",
        "_twin",
        "_value",
        "component",
        "description",
        "dimension",
        "linear",
        "name",
        "units",
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
        self.name = name
        self.component: Component | None = None
        self.units = units
        self.linear = linear
        self.dimension = None if dimension is None else dict(dimension)
        self.description = description
        self._tie: str | None = None
        self._twin: Parameter | None = None
        self._value, self._min, self._max, self._free = 0.0, -math.inf, math.inf, True
        self.set(value=value, min=min, max=max, free=free)

    def __setattr__(self, name: str, value: object) -> None:
        try:
            object.__setattr__(self, name, value)
        except AttributeError:
            known = [n for n in (*self.__slots__, "value", "min", "max", "free", "twin") if not n.startswith("_")]
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise AttributeError(
                f"a parameter has no attribute {name!r}; {hint}known: {', '.join(sorted(known))}"
            ) from None

    # --- identity

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
        """Start value; of a tied parameter what the tie gives at the start values."""
        if self._twin is not None:
            return self._twin.value
        if self._tie is not None:
            from xfit.ties import value_of

            return value_of(self)
        return self._value

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
            raise ValueError(f"{self.full_name}: min={new_min} is above max={new_max}")
        if new_min == math.inf or new_max == -math.inf:
            raise ValueError(f"{self.full_name}: bounds [{new_min}, {new_max}] leave no room for a value")
        if free is not _UNSET and not isinstance(free, bool):
            raise TypeError(f"{self.full_name}: free={free!r} must be True or False")
        if free is True and self.is_tied:
            raise ValueError(f"{self.full_name} is tied to {self.tie_formula!r} and can't be free; call untie() first")
        if units is not _UNSET and not (units is None or isinstance(units, str)):
            raise TypeError(f"{self.full_name}: units={units!r} must be text or None")
        if value is not _UNSET and self.is_tied:
            from xfit.ties import set_through_tie

            set_through_tie(self, new_value)
        self._min, self._max = new_min, new_max
        if not self.is_tied:
            self._value = new_value
        self._free = self._free if free is _UNSET else free
        self.units = self.units if units is _UNSET else units
        return self

    def _number(self, what: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"{self.full_name}: {what}={value!r} must be a number")
        if not math.isfinite(value):
            raise ValueError(f"{self.full_name}: {what}={value!r} must be finite")
        return float(value)

    def _bound(self, what: str, value: object, none: float) -> float:
        if value is None:
            return none
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"{self.full_name}: {what}={value!r} must be a number or None")
        if math.isnan(value):
            raise ValueError(f"{self.full_name}: {what} must not be NaN; None means no bound")
        return float(value)

    # --- ties

    @property
    def is_tied(self) -> bool:
        """Whether the value follows from other parameters."""
        return self._tie is not None or self._twin is not None

    @property
    def tie_formula(self) -> str | None:
        """Formula of the tie; None for a parameter that is not tied."""
        if self._twin is not None:
            return _reference(self._twin)
        return self._tie

    def tie(self, formula: str | None) -> Parameter:
        """Let the value follow from other parameters of the model.

        Parameters
        ----------
        formula : str or None
            Of other parameters, such as ``"0.5 * Fe.A"``; None unties. Names of components that are no identifiers stand in
            backticks.

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
        from xfit.ties import check_tie

        check_tie(self, formula)
        self._tie, self._twin = formula, None
        return self

    def untie(self) -> Parameter:
        """Remove the tie; the value stays what the tie gave. Returns the parameter itself."""
        if self.is_tied:
            value = self.value
            self._tie = self._twin = None
            self._value = value
        return self

    @property
    def twin(self) -> Parameter | None:
        """Parameter whose value this one shares; None where there is none, or the tie is another formula."""
        if self._twin is not None or self._tie is None or self.model is None:
            return self._twin
        plain = {_reference(p): p for p in self.model.parameters}
        return plain.get(self._tie.strip())

    @twin.setter
    def twin(self, other: Parameter | None) -> None:
        if other is None:
            self.untie()
            return
        if not isinstance(other, Parameter):
            raise TypeError(f"{self.full_name}: twin must be another Parameter or None, not {type(other).__name__}")
        follower: Parameter | None = other
        while follower is not None:
            if follower is self:
                raise ValueError(f"{self.full_name} can't be its own twin, directly or through others")
            follower = follower._twin
        previous = (self._tie, self._twin)
        self._tie, self._twin = None, other
        if self.model is not None and other.model is self.model:
            from xfit.ties import resolve

            try:
                resolve(self.model)
            except ValueError:
                self._tie, self._twin = previous
                raise

    def rename_reference(self, replacements: Mapping[str, str]) -> None:
        """Rewrite the tie after components were renamed."""
        if self._tie is not None:
            from xfit import formula

            self._tie = formula.substitute(self._tie, replacements)

    # --- Python

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Parameter):
            return NotImplemented
        return self._content() == other._content()

    __hash__ = None  # type: ignore[assignment]

    def _content(self) -> tuple[object, ...]:
        value = None if self.is_tied else self._value
        return (self.name, value, self._min, self._max, self._free, self.units, self.tie_formula, self.linear)

    def __copy__(self) -> Parameter:
        new = Parameter(
            self.name,
            self._value,
            min=self._min,
            max=self._max,
            free=self._free,
            units=self.units,
            linear=self.linear,
            dimension=self.dimension,
            description=self.description,
        )
        new._tie, new._twin = self._tie, self._twin
        return new

    def copy(self) -> Parameter:
        """Return a copy that belongs to no component."""
        return copy.copy(self)

    def __getstate__(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__}

    def __setstate__(self, state: Mapping[str, object]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        words = [f"<Parameter {self.full_name}: {self.value:.6g}"]
        if self.units:
            words.append(f" {self.units}")
        if self._min > -math.inf or self._max < math.inf:
            words.append(f" in [{self._min:g}, {self._max:g}]")
            if not self._min <= self.value <= self._max:
                words.append(" (outside!)")
        words.append(f", tied to {self.tie_formula}" if self.is_tied else "" if self._free else ", fixed")
        return "".join(words) + ">"

    def _repr_html_(self) -> str:
        from xfit.tables import parameters_html

        return parameters_html([self])


def _reference(parameter: Parameter) -> str:
    """How a formula names a parameter."""
    if parameter.component is None or parameter.component.name.isidentifier():
        return parameter.full_name
    return f"`{parameter.component.name}`.{parameter.name}"
