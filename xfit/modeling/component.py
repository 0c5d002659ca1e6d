"""Component: a named function of the signal coordinates, described by its parameters and the source of its kernel."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from xfit.display import cleaned
from xfit.formulas.function_kernel import FunctionKernel
from xfit.formulas.kernel_spec import FormulaKernel
from xfit.modeling.parameter import Parameter
from xfit.modeling.text_limits import checked_length, shown
from xfit.modeling.ties import known_value

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from xfit.modeling.estimators import Estimator
    from xfit.modeling.model import Model


@dataclass(frozen=True)
class Spec:
    """How a library component declares one of its parameters; see `Parameter`."""

    value: float
    min: float | None = None
    max: float | None = None
    free: bool = True
    linear: bool = False
    dimension: Mapping[str, float] | None = field(default=None, hash=False)
    description: str = ""

    def make(self, name: str) -> Parameter:
        """Make the parameter."""
        return Parameter(
            name,
            self.value,
            min=self.min,
            max=self.max,
            free=self.free,
            linear=self.linear,
            dimension=self.dimension,
            description=self.description,
        )


@dataclass(frozen=True)
class Derived:
    """A quantity that follows from a component's parameters.

    Attributes
    ----------
    formula : str
        Of the component's parameters.
    dimension : mapping of str to float
        Exponents of the units of the data and coordinates, as for `Parameter`.
    description : str
        What it is.
    """

    formula: str
    dimension: Mapping[str, float] = field(default_factory=dict, hash=False)
    description: str = ""


#: All kinds of components by name, users' own too: stored models know them by it.
_kinds: dict[str, type[Component]] = {}


def kinds() -> Mapping[str, type[Component]]:
    """Return all kinds of components that are defined, by the name of their class."""
    return MappingProxyType(_kinds)


def _remember(kind: type[Component]) -> None:
    """Keep a class by its name; a cell run again, or a script that is imported too, defines the same one once more."""
    other = _kinds.get(kind.__name__)
    if other is not None and (other.__module__, other.__qualname__) != (kind.__module__, kind.__qualname__):
        mains = {"__main__", "__mp_main__"}
        if not {other.__module__, kind.__module__} & mains or other.__module__.startswith("xfit."):
            raise ValueError(
                f"there is a component called {kind.__name__!r} already, {other.__module__}.{other.__qualname__}; "
                "stored models know components by this name: choose another"
            )
    _kinds[kind.__name__] = kind


#: The component library, by the name of the class; `xfit.components` offers it.
LIBRARY: dict[str, type[Component]] = {}

_C = TypeVar("_C", bound="type[Component]")


def library(kind: _C) -> _C:
    """Put a component into the library: the decorator of its class is all that it takes."""
    LIBRARY[kind.__name__] = kind
    return kind


#: What components offer and do not know themselves, for fits and models stand above them; see `provide`.
_PROVIDED: dict[str, Callable[..., Any]] = {}


class Component:
    """A named function of the signal coordinates.

    Library components are subclasses that declare ``formula`` and ``specs``, and so can a user's be; `Expression`
    and `Function` make theirs from what they are given. Stored models know a component by the name of its class.

    Parameters
    ----------
    name : str, optional
        By default the name of the class.
    **values
        Values of parameters by name; or mappings with ``value``, ``min``, ``max``, ``free``, ``units``.

    Attributes
    ----------
    active : bool
        Whether it takes part.
    convolved : bool
        Whether it is convolved with the model's response, if that has one; all but backgrounds are by default.
    model : Model or None
        Which it is in.
    parameters : tuple of Parameter
        In the engine's order.
    """

    formula: ClassVar[str] = ""
    specs: ClassVar[Mapping[str, Spec]] = {}
    #: Quantities that follow from the parameters, by name; as attributes they are numbers.
    derived: ClassVar[Mapping[str, Derived]] = {}
    #: Pairs of parameters whose covariance results keep, besides those that errors of derived quantities need.
    correlated: tuple[tuple[str, str], ...] = ()
    coordinates: tuple[str, ...] = ("x",)
    #: Name of the parameter that says where the component is, if there is one.
    position: str | tuple[str, ...] | None = None
    is_background: bool = False
    #: Name of the parameter that multiplies the sum of the formula over all channels of larger x; the formula lacks it.
    summed: ClassVar[str | None] = None
    #: How its parameters are estimated from data; None where they can't be.
    estimator: Estimator | None = None

    parameters: tuple[Parameter, ...]
    model: Model | None
    _by_name: dict[str, Parameter]
    _name: str
    _active: bool
    _convolved: bool

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not cls.__name__.startswith("_"):
            _remember(cls)

    def __init__(self, name: str | None = None, **values: Any) -> None:
        self._begin(name, {key: spec.make(key) for key, spec in self.specs.items()}, values)

    def _begin(self, name: str | None, parameters: Mapping[str, Parameter], values: Mapping[str, Any]) -> None:
        """Set up name, parameters and their values."""
        set_ = object.__setattr__
        set_(self, "model", None)
        set_(self, "_active", True)
        set_(self, "_convolved", not self.is_background)
        set_(self, "_by_name", dict(parameters))
        set_(self, "parameters", tuple(parameters.values()))
        set_(self, "_name", _checked_name(type(self).__name__ if name is None else name))
        for parameter in self.parameters:
            parameter._component = self
        unknown = [key for key in values if key not in parameters]
        if unknown:
            known = ", ".join(parameters)
            raise TypeError(f"{type(self).__name__} has no parameter {', '.join(map(repr, unknown))}; it has {known}")
        for key, value in values.items():
            self._by_name[key].assign(value)

    # --- names

    @property
    def name(self) -> str:
        """Name; unique within a model. Ties follow when it is changed."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        name = _checked_name(name)
        if name == self._name:
            return
        if self.model is not None and name in (component.name for component in self.model):
            raise ValueError(f"another component is already called {name!r}")
        replacements = {p.full_name: f"{name}.{p.name}" for p in self.parameters}
        for parameter in self.parameters if self.model is None else self.model.parameters:
            parameter.rename_references(replacements)
        object.__setattr__(self, "_name", name)

    @property
    def active(self) -> bool:
        """Whether the component takes part."""
        return self._active

    @active.setter
    def active(self, active: bool) -> None:
        if not isinstance(active, bool):
            raise TypeError(
                f"{cleaned(self.name)}: active={active!r} must be True or False; for maps use active= of the fit"
            )
        object.__setattr__(self, "_active", active)

    @property
    def convolved(self) -> bool:
        """Whether the component is convolved with the model's response."""
        return self._convolved

    @convolved.setter
    def convolved(self, convolved: bool) -> None:
        if not isinstance(convolved, bool):
            raise TypeError(f"{cleaned(self.name)}: convolved={convolved!r} must be True or False")
        object.__setattr__(self, "_convolved", convolved)

    # --- structure

    @property
    def signal_dimension(self) -> int:
        """Number of signal dimensions, 1 or 2."""
        return 2 if "y" in self.coordinates and "x" in self.coordinates else 1

    @property
    def kernel(self) -> FormulaKernel | FunctionKernel:
        """What the compiled kernel is made from."""
        constants = tuple(key for key, spec in self.specs.items() if not spec.free)
        return FormulaKernel(self.formula, self.coordinates, tuple(self._by_name), constants, self.summed)

    @property
    def options(self) -> dict[str, Any]:
        """Arguments, besides name and values, that make the same component again; plain data."""
        return {}

    @classmethod
    def from_plain(cls, name: str | None, options: Mapping[str, Any]) -> Component:
        """Make a component from what a stored model says of it: its name and its `options`."""
        return cls(name=name, **options)

    def check_storable(self) -> None:
        """Refuse to be stored, where plain data can't say what the component is.

        Raises
        ------
        ValueError
            Saying what to do.
        """

    @property
    def free_parameters(self) -> tuple[Parameter, ...]:
        """Parameters that a fit may change."""
        return tuple(p for p in self.parameters if p.free)

    def set_parameters_free(
        self, names: Iterable[str] | None = None, *, only_linear: bool = False, only_nonlinear: bool = False
    ) -> None:
        """Free parameters.

        Parameters
        ----------
        names : iterable of str, optional
            Which; all by default. Tied ones are left as they are.
        only_linear, only_nonlinear : bool
            Of those, only the linear or the other ones.
        """
        for parameter in self._selected(names, only_linear, only_nonlinear):
            if not parameter.is_tied:
                parameter.free = True

    def set_parameters_not_free(
        self, names: Iterable[str] | None = None, *, only_linear: bool = False, only_nonlinear: bool = False
    ) -> None:
        """Fix parameters; arguments as in `set_parameters_free`."""
        for parameter in self._selected(names, only_linear, only_nonlinear):
            parameter.free = False

    def _selected(self, names: Iterable[str] | None, only_linear: bool, only_nonlinear: bool) -> list[Parameter]:
        if only_linear and only_nonlinear:
            raise ValueError("only_linear and only_nonlinear exclude each other; set one of them")
        if isinstance(names, str):
            raise TypeError(f"names={names!r} must be a list of names, such as [{names!r}]")
        chosen = list(self.parameters) if names is None else [self[name] for name in names]
        return [p for p in chosen if not (only_linear and not p.linear) and not (only_nonlinear and p.linear)]

    def check_reach(self, values: Mapping[str, float], *coordinates: np.ndarray) -> None:
        """Refuse a fit at whose start the component is not known in the channels; those that
        are given by a table say more.

        Parameters
        ----------
        values : mapping of str to float
            The parameters.
        *coordinates : float64 (n_channels,)
            Its coordinates, in the channels that are used.

        Raises
        ------
        ValueError
            Says which range is known, and what can be done.
        """

    # --- start values

    def estimate(
        self,
        da: xr.DataArray,
        range: tuple[float, float] | None = None,
        *,
        dim: Hashable | None = None,
        binned: bool | None = None,
        where: xr.DataArray | None = None,
    ) -> xr.Dataset:
        """Estimate the free parameters from data, of one spectrum or of every spectrum of a map.

        Where a bound, or a parameter that is fixed or tied, makes the shape another than the one that was found, the
        amplitudes are fitted to the data for the shape that is used.

        From one spectrum the component's own values are set too. Maps change nothing; they can be start values of a
        fit: ``start=dict(peak.estimate(da))``.

        Parameters
        ----------
        da : DataArray
            Data of any real dtype; with dask chunks and navigation dimensions the result is lazy.
        range : (float, float), optional
            Part of the signal coordinate to use, both ends included; by default all of it.
        dim : hashable, optional
            Signal dimension; by default the last one.
        binned : bool, optional
            Whether data are integrals over channels; by default the attribute ``is_binned`` of the coordinate.
        where : boolean DataArray, optional
            What to use: channels, pixels or both. Channels whose data are not finite are left out in any case.

        Returns
        -------
        Dataset
            A variable over the navigation dimensions for each free parameter, by full name ("Fe.centre"); inside of the
            parameter's bounds. All are NaN where the data do not tell, and a single spectrum that does not tell leaves
            the values as they are, with a warning.

        Raises
        ------
        TypeError, ValueError
            For a component that has no estimator, a range without enough channels, or nothing free.

        Examples
        --------
        >>> import numpy as np, xarray as xr
        >>> from xfit.components import Offset
        >>> bg = Offset(name="bg")
        >>> _ = bg.estimate(xr.DataArray([2.0, 4.0, 9.0], dims="x"), range=(0, 1))
        >>> bg.offset.value
        3.0
        """
        result: xr.Dataset = _PROVIDED["estimate"](self, da, range, dim=dim, binned=binned, where=where)
        return result

    # --- access

    def __getitem__(self, name: str) -> Parameter:
        if name not in self._by_name:
            raise KeyError(f"{cleaned(self.name)} has no parameter {name!r}; it has {', '.join(self._by_name)}")
        return self._by_name[name]

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self.parameters)

    def __contains__(self, item: object) -> bool:
        return any(item is parameter or item == key for key, parameter in self._by_name.items())

    def __getattr__(self, name: str) -> Any:
        by_name = self.__dict__.get("_by_name", {})
        if name in by_name:
            return by_name[name]
        if name in type(self).derived:
            from xfit.modeling.derived import value_of

            return value_of(self, name)
        if name.startswith("__"):
            raise AttributeError(name)
        close = difflib.get_close_matches(name, by_name, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise AttributeError(
            f"{type(self).__name__} has no parameter or attribute {name!r}; {hint}parameters: {', '.join(by_name)}"
        )

    def __setattr__(self, name: str, value: object) -> None:
        if name in self.__dict__.get("_by_name", {}):
            raise AttributeError(f"{name} is a parameter: set its value with .{name}.value = {value!r}")
        if name not in ("name", "active", "convolved"):
            close = difflib.get_close_matches(name, self._by_name, 1)
            hint = f"did you mean .{close[0]}.value? " if close else ""
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r} to set; {hint}'name', 'active' and 'convolved' can "
                "be set"
            )
        object.__setattr__(self, name, value)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._by_name, *self.derived]

    # --- composition, copies, comparison

    def __add__(self, other: Component | Model) -> Model:
        joined: Model = _PROVIDED["join"](self, other)
        return joined

    def copy(self) -> Component:
        """Return a copy that is in no model; its ties stay as formulas."""
        new = type(self).__new__(type(self))
        new.__dict__.update(self.__dict__)
        set_ = object.__setattr__
        set_(new, "model", None)
        set_(new, "_by_name", {key: parameter.copy() for key, parameter in self._by_name.items()})
        set_(new, "parameters", tuple(new._by_name.values()))
        mine = dict(zip(map(id, self.parameters), new.parameters, strict=True))
        for old, parameter in zip(self.parameters, new.parameters, strict=True):
            parameter._component = new
            if old.is_tied and (value := known_value(old)) is not None:
                parameter._value = value
            if old._twin is not None:
                # A twin within the component follows the copy; one elsewhere becomes a formula by name.
                parameter._twin = mine.get(id(old._twin))
                parameter._tie = None if parameter._twin is not None else old.tie_formula
        return new

    def __copy__(self) -> Component:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Component:
        if self.model is None or id(self.model) not in memo:
            # A copy of the component alone: it must not drag a copy of its model along.
            memo[id(self)] = new = self.copy()
            return new
        memo[id(self)] = new = type(self).__new__(type(self))
        # The others are numbers, text and what nobody changes.
        new.__dict__.update(self.__dict__, model=copy.deepcopy(self.model, memo))
        by_name = {key: copy.deepcopy(parameter, memo) for key, parameter in self._by_name.items()}
        new.__dict__.update(_by_name=by_name, parameters=tuple(by_name.values()))
        return new

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Component):
            return NotImplemented
        return (
            type(self) is type(other)
            and (self.name, self.active, self.convolved) == (other.name, other.active, other.convolved)
            and self.kernel == other.kernel
            and (self.parameters, self.options) == (other.parameters, other.options)
        )

    def __repr__(self) -> str:
        from xfit.modeling.tables import component_text

        return component_text(self)

    def _repr_html_(self) -> str:
        from xfit.modeling.tables import component_html

        return component_html(self)


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a component's name must be text, not {shown(name)}")
    if not name.strip() or any(ch in name for ch in ".`\n"):
        raise ValueError(f"a component's name must not be empty nor hold dots, backticks or line ends: {shown(name)}")
    return checked_length(name, "a component's name")


def provide(**functions: Callable[..., Any]) -> None:
    """Say what ``estimate`` and ``join`` (components and models added up) do."""
    _PROVIDED.update(functions)
