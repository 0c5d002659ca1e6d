"""Components in an order, with unique names: a list, and a mapping by names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, overload

from xfit.display import cleaned
from xfit.modeling.component import Component
from xfit.modeling.parameter import Parameter
from xfit.modeling.text_limits import LONGEST_NAME, MOST_COMPONENTS


class ComponentList:
    """Components in an order, with unique names; what a `Model` is made of.

    Parameters
    ----------
    components : iterable of Component, optional
        Components, which then belong to this.
    """

    _components: list[Component]

    def __init__(self, components: Iterable[Component] = ()) -> None:
        if isinstance(components, Component):
            raise TypeError("components must be a list: Model([component])")
        object.__setattr__(self, "_components", [])
        self.extend(components)

    def append(self, component: Component) -> None:
        """Add a component at the end.

        A name that is taken gets a number: Gaussian, Gaussian_0, Gaussian_1.

        Raises
        ------
        TypeError
            For what is no component.
        ValueError
            For a component that is in this or another model.
        """
        self.extend([component])

    def extend(self, components: Iterable[Component]) -> None:
        """Add several components, all or, if one of them can't be added, none; see `append`."""
        added = list(components)
        for k, component in enumerate(added):
            if not isinstance(component, Component):
                raise TypeError(f"only components can be added to a model, not {type(component).__name__}")
            if component.model is self or any(component is other for other in added[:k]):
                raise ValueError(f"component {component.name!r} is in the model already")
            if component.model is not None:
                raise ValueError(f"component {component.name!r} is in another model; add component.copy()")
        if len(self._components) + len(added) > MOST_COMPONENTS:
            raise ValueError(
                f"a model has at most {MOST_COMPONENTS} components, not {len(self._components) + len(added)}"
            )
        for component in added:
            component.name = unique_name(component.name, {other.name for other in self._components})
            object.__setattr__(component, "model", self)
            self._components.append(component)

    def remove(self, which: Component | str | int | Iterable[Component | str | int]) -> None:
        """Take components out, by object, name or position.

        Raises
        ------
        ValueError
            Where a remaining parameter is tied to one of them.
        """
        many = isinstance(which, Iterable) and not isinstance(which, str | Component)
        chosen = [self._component(w) for w in which] if many else [self._component(which)]  # type: ignore[union-attr, arg-type]
        leaving = {p.full_name for component in chosen for p in component.parameters}
        for parameter in self.parameters:
            used = set(_names(parameter.tie_formula))
            if parameter.full_name not in leaving and used & leaving:
                raise ValueError(
                    f"{cleaned(parameter.full_name)} is tied to {parameter.tie_formula!r}; untie it before removing "
                    "its source"
                )
        # All are untied while the others are still there to give the values that stay.
        for component in chosen:
            own = {p.full_name for p in component.parameters}
            for parameter in component.parameters:
                if set(_names(parameter.tie_formula)) - own:
                    parameter.untie()
        for component in chosen:
            self._components[:] = [c for c in self._components if c is not component]
            object.__setattr__(component, "model", None)

    def clear(self) -> None:
        """Take all components out."""
        self.remove(list(self._components))

    def __len__(self) -> int:
        return len(self._components)

    def __iter__(self) -> Iterator[Component]:
        return iter(self._components)

    def __contains__(self, item: object) -> bool:
        if isinstance(item, str) and "." in item:
            return item in {parameter.full_name for parameter in self.parameters}
        return any(item is c or item == c.name for c in self._components)

    @overload
    def __getitem__(self, key: int) -> Component: ...
    @overload
    def __getitem__(self, key: slice) -> list[Component]: ...
    @overload
    def __getitem__(self, key: str) -> Any: ...
    def __getitem__(self, key: int | slice | str) -> Any:
        if isinstance(key, slice):
            return self._components[key]
        if isinstance(key, str) and "." in key:
            return self.parameter(key)
        return self._component(key)

    def __delitem__(self, key: int | slice | str) -> None:
        self.remove(self._components[key] if isinstance(key, slice) else key)

    def _component(self, which: Component | str | int) -> Component:
        if isinstance(which, bool) or not isinstance(which, Component | str | int):
            raise TypeError(f"{which!r} is no component, name or position")
        if isinstance(which, int):
            if not -len(self) <= which < len(self):
                raise IndexError(f"no component at {which}; the model has {len(self)}")
            return self._components[which]
        for component in self._components:
            if component is which or component.name == which:
                return component
        label = which if isinstance(which, str) else which.name
        names = [c.name for c in self._components]
        close = difflib.get_close_matches(label, names, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise KeyError(f"no component {label!r}; {hint}the model has {names}")

    def __getattr__(self, name: str) -> Component:
        components: Sequence[Component] = self.__dict__.get("_components", ())
        for label in (lambda c: c.name, lambda c: _slug(c.name)):
            for component in components:
                if name == label(component):
                    return component
        if name.startswith("__"):
            raise AttributeError(name)
        names = [component.name for component in components]
        raise AttributeError(f"the model has no component or attribute {name!r}; components: {names}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(_slug(component.name) for component in self._components)]

    @property
    def components(self) -> tuple[Component, ...]:
        """All components."""
        return tuple(self._components)

    @property
    def active_components(self) -> tuple[Component, ...]:
        """Components that take part."""
        return tuple(component for component in self._components if component.active)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Parameters of all components, in the engine's order."""
        return tuple(parameter for component in self._components for parameter in component.parameters)

    @property
    def free_parameters(self) -> tuple[Parameter, ...]:
        """Parameters of active components that a fit may change."""
        return tuple(p for component in self.active_components for p in component.free_parameters)

    def parameter(self, full_name: str) -> Parameter:
        """Return a parameter by its full name, such as "Fe.A"."""
        component, dot, parameter = full_name.rpartition(".")
        if not dot:
            raise KeyError(f"{full_name!r} names no parameter; write component and parameter, as in 'Fe.A'")
        return self._component(component)[parameter]


def unique_name(name: str, taken: Collection[str]) -> str:
    """Name that is not taken: Gaussian, Gaussian_0, Gaussian_1."""
    found, number = name, 0
    while found in taken:
        ending = f"_{number}"
        found, number = name[: LONGEST_NAME - len(ending)] + ending, number + 1
    return found


def _slug(name: str) -> str:
    """Name as an identifier."""
    slug = re.sub(r"\W", "_", name)
    return slug if slug.isidentifier() else f"_{slug}"


def _names(text: str | None) -> tuple[str, ...]:
    from xfit.formulas import parser

    return () if text is None else parser.names(text)
