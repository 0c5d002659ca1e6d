"""Model: an ordered set of components with unique names; a description, without data."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from xfit.modeling import model_files, serialization, tables, ties
from xfit.modeling.component import Component, provide
from xfit.modeling.component_list import ComponentList, unique_name
from xfit.modeling.parameter import Parameter
from xfit.modeling.response import checked_response
from xfit.modeling.text_limits import checked_length

if TYPE_CHECKING:
    import xarray as xr


class Model(ComponentList):
    """An ordered set of components, added up.

    It behaves as a list of components and as a mapping by their names; ``m.Fe`` is ``m["Fe"]``, and ``m["Fe.A"]`` a
    parameter.

    Parameters
    ----------
    components : iterable of Component, optional
        Components, which then belong to this model.
    name : str, optional
        Name of the model.
    response : DataArray, optional
        What the components are convolved with whose ``convolved`` is set (all but backgrounds, by default): the
        response of an instrument, or a low-loss spectrum. Its dimension is the signal's, with a coordinate in the same
        steps that says by how much each of its points shifts the component; it may have navigation dimensions too, for
        one per pixel. The components are evaluated beyond the data, as far as it reaches, and multiplied by its values
        as they are: those of a response that keeps areas add up to one.

    Examples
    --------
    >>> import xfit
    >>> from xfit.components import Gaussian, PowerLaw
    >>> m = xfit.Model([PowerLaw(name="bg"), Gaussian(name="Fe", centre=708, sigma=3)])
    >>> m["Fe"].centre.set(min=700, max=715)
    <Parameter Fe.centre: 708 in [700, 715]>
    >>> [c.name for c in m]
    ['bg', 'Fe']
    """

    name: str | None
    response: xr.DataArray | None

    def __init__(
        self,
        components: Iterable[Component] = (),
        name: str | None = None,
        *,
        response: xr.DataArray | None = None,
    ) -> None:
        self.name = name
        self.response = response
        super().__init__(components)

    def __setattr__(self, name: str, value: object) -> None:
        if name == "response":
            object.__setattr__(self, name, checked_response(value))
            return
        if name != "name":
            raise AttributeError(
                f"a model has no attribute {name!r} to set but 'name' and 'response'; add components with append()"
            )
        if value is not None and not isinstance(value, str):
            raise TypeError(f"a model's name must be text or None, not {value!r}")
        if value is not None:
            checked_length(value, "a model's name")
        object.__setattr__(self, name, value)

    # --- parameters

    def resolve_ties(self) -> dict[str, str]:
        """Return the ties as a program: formulas in an order in which they can be evaluated.

        Returns
        -------
        dict of str to str
            Full name of each tied parameter and its formula, which names parameters that are not tied, or stand before
            it.

        Raises
        ------
        ValueError
            For a tie to a parameter that is not in the model, or in a circle.
        """
        return ties.resolve(self)

    @property
    def signal_dimension(self) -> int:
        """Number of signal dimensions, 1 or 2.

        Raises
        ------
        ValueError
            Where components of one and of two dimensions are mixed.
        """
        found = {component.signal_dimension for component in self._components}
        if len(found) > 1:
            one = [c.name for c in self._components if c.signal_dimension == 1]
            raise ValueError(f"the model mixes components of one dimension ({one}) and of two; a sum needs the same")
        return found.pop() if found else 1

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the coordinates that the components use."""
        return tuple(dict.fromkeys(name for component in self._components for name in component.coordinates))

    def set(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Set parameters by full name, to values or to mappings of attributes.

        Parameters
        ----------
        values : mapping, optional
            Such as ``{"Fe.A": 5.0, "Fe.centre": {"min": 700, "max": 715}}``.
        **more
            The same as keywords.
        """
        given = [(self.parameter(name), value) for name, value in [*(values or {}).items(), *more.items()]]
        for parameter, value in given:
            parameter.assign(value)

    def assign(self, values: Mapping[str, float]) -> None:
        """Set values by full name; tied parameters are skipped, for they follow."""
        for parameter, value in [(self.parameter(name), value) for name, value in values.items()]:
            if not parameter.is_tied:
                parameter.value = float(value)

    def set_parameters_value(
        self, name: str, value: float, components: Iterable[Component | str | int] | None = None
    ) -> None:
        """Set all parameters of a name, in all components that have it or in those given."""
        for parameter in self._chosen(components, [name]):
            parameter.value = value

    def set_parameters_free(
        self,
        components: Iterable[Component | str | int] | None = None,
        names: Iterable[str] | None = None,
        *,
        only_linear: bool = False,
        only_nonlinear: bool = False,
    ) -> None:
        """Free parameters; see `Component.set_parameters_free`."""
        self._set_free(True, components, names, only_linear, only_nonlinear)

    def set_parameters_not_free(
        self,
        components: Iterable[Component | str | int] | None = None,
        names: Iterable[str] | None = None,
        *,
        only_linear: bool = False,
        only_nonlinear: bool = False,
    ) -> None:
        """Fix parameters; see `Component.set_parameters_not_free`."""
        self._set_free(False, components, names, only_linear, only_nonlinear)

    def _set_free(
        self,
        free: bool,
        components: Iterable[Component | str | int] | None,
        names: Iterable[str] | None,
        only_linear: bool,
        only_nonlinear: bool,
    ) -> None:
        if only_linear and only_nonlinear:
            raise ValueError("only_linear and only_nonlinear exclude each other; set one of them")
        for parameter in self._chosen(components, names):
            if (only_linear and not parameter.linear) or (only_nonlinear and parameter.linear) or parameter.is_tied:
                continue
            parameter.free = free

    def _chosen(
        self, components: Iterable[Component | str | int] | None, names: Iterable[str] | None
    ) -> list[Parameter]:
        if isinstance(names, str):
            raise TypeError(f"names={names!r} must be a list of names, such as [{names!r}]")
        among = self._among(components)
        wanted = None if names is None else list(names)
        chosen = [p for c in among for p in c.parameters if wanted is None or p.name in wanted]
        missing = [n for n in wanted or [] if n not in {p.name for p in chosen}]
        if missing:
            raise ValueError(
                f"no component has the parameter(s) {missing}; there are {sorted({p.name for c in among for p in c})}"
            )
        return chosen

    def set_active(self, value: bool, components: Iterable[Component | str | int] | None = None) -> None:
        """Switch components on or off; all by default."""
        for component in self._among(components):
            component.active = value

    def _among(self, components: Iterable[Component | str | int] | None) -> list[Component]:
        if isinstance(components, str | Component | int):
            raise TypeError("components must be a list of components, names or positions")
        return list(self._components) if components is None else [self._component(c) for c in components]

    def ensure_in_bounds(self) -> None:
        """Move values that lie outside of their bounds to the nearer bound."""
        for parameter in self.parameters:
            if not parameter.is_tied:
                parameter.value = min(max(parameter.value, parameter.min), parameter.max)

    # --- composition, copies, comparison

    @classmethod
    def _joined(cls, *parts: Component | Model) -> Model:
        """Model of all components; those that are in a model already are copied."""
        model = cls()
        for part in parts:
            if isinstance(part, Model):
                copied = part.copy()
                if copied.response is not None:
                    if not (model.response is None or _same_response(model.response, copied.response)):
                        raise ValueError("models with different responses can't be added; set one response to None")
                    model.response = copied.response
                for component in copied:
                    # Renamed while still in its model, where the ties to it follow.
                    others = {c.name for c in (*model, *copied) if c is not component}
                    component.name = unique_name(component.name, others)
                model.extend(copied._released())
            elif isinstance(part, Component):
                model.append(part if part.model is None else part.copy())
            else:
                raise TypeError(f"only components and models can be added, not {type(part).__name__}")
        return model

    def _released(self) -> list[Component]:
        # Twins of copies are known by name until they are asked for, and names are about to change.
        ties.resolve(self)
        components, self._components[:] = list(self._components), []
        for component in components:
            object.__setattr__(component, "model", None)
        return components

    def __add__(self, other: Component | Model) -> Model:
        return Model._joined(self, other)

    def copy(self) -> Model:
        """Return an independent copy, ties included."""
        # The response may be large, and is not changed by anybody.
        return copy.deepcopy(self, {id(self.response): self.response})

    def __copy__(self) -> Model:
        return self.copy()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Model):
            return NotImplemented
        same = self.name == other.name and self._components == other._components
        return same and _same_response(self.response, other.response)

    # --- storage

    def to_dict(self) -> dict[str, Any]:
        """Return the model as plain data; `from_dict` reads them."""
        return serialization.model_to_dict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make a model from plain data; nothing in it is ever evaluated.

        Raises
        ------
        xfit.modeling.serialization.ModelFormatError
            Naming the place that is wrong.
        """
        return serialization.model_from_dict(data, cls)

    def to_json(self, indent: int | None = None) -> str:
        """Return the model as JSON."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Make a model from JSON; see `from_dict`."""
        return cls.from_dict(serialization.read_json(text))

    def to_file(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the model to a TOML or JSON file.

        Parameters
        ----------
        path : str or path
            Ends in ``.toml`` or ``.json``.
        overwrite : bool, optional
            Whether a file that is there is replaced.

        Raises
        ------
        FileExistsError
            Where there is a file, and ``overwrite`` is False.
        ValueError
            For another ending, or a model that can't be stored.
        """
        model_files.write_model(self, path, overwrite=overwrite)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read a model from a TOML or JSON file; see `from_dict` for what may be left out.

        Raises
        ------
        xfit.modeling.serialization.ModelFormatError
            Naming the file and the key, or the line, that is wrong.
        """
        return model_files.read_model(path, cls)

    # --- display

    def table(self, *, only_free: bool = False, only_active: bool = False) -> str:
        """Return the parameters as a text table.

        Parameters
        ----------
        only_free, only_active : bool
            Leave out what is not free, or not active.
        """
        return tables.model_text(self, only_free=only_free, only_active=only_active)

    def __repr__(self) -> str:
        return tables.model_summary(self)

    def _repr_html_(self) -> str:
        return tables.model_html(self)


def _same_response(one: xr.DataArray | None, other: xr.DataArray | None) -> bool:
    if one is None or other is None:
        return one is other
    return one is other or one.identical(other)


provide(join=Model._joined)
