"""Function: a component from a Python function that numba can compile."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

from xfit.formulas.function_kernel import FunctionKernel, kernel_of
from xfit.modeling.component import Component, library
from xfit.modeling.parameter import Parameter

#: Attributes of a component, and arguments that are no values, which no parameter can be called.
_RESERVED = ("model", "parameters", "function", "gradient", "linear", "registered")

_registered: dict[str, FunctionComponent] = {}


@library
class Function(Component):
    """Component from a Python function.

    Parameters
    ----------
    function : callable
        Of numbers, the coordinate(s) first: ``def f(x, height, width): ...``; defaults become values. It must be
        compilable by numba: arithmetic, `math` and `numpy` functions, conditions, loops.
    name : str, optional
        Name of the component; by default that of the function.
    gradient : callable, optional
        Of the same arguments; returns a tuple of the derivatives with respect to the parameters, in their order. By
        default they are taken by central differences.
    coordinates : sequence of str, optional
        Names of the first arguments that are coordinates; by default ``x``, or ``x, y``.
    linear : sequence of str, optional
        Parameters in which the function is jointly linear.
    registered : str, optional
        Name under which `component` has registered it; only such components can be stored.
    **values
        Values of the parameters.
    """

    def __init__(
        self,
        function: Callable[..., float],
        name: str | None = None,
        *,
        gradient: Callable[..., tuple[float, ...]] | None = None,
        coordinates: Sequence[str] | None = None,
        linear: Sequence[str] = (),
        registered: str | None = None,
        **values: Any,
    ) -> None:
        if not callable(function):
            raise TypeError(f"function must be callable, not {type(function).__name__}")
        arguments = inspect.signature(getattr(function, "py_func", function)).parameters
        bad = [a.name for a in arguments.values() if a.kind not in (a.POSITIONAL_ONLY, a.POSITIONAL_OR_KEYWORD)]
        if bad:
            raise TypeError(f"the function must take plain arguments only; {', '.join(bad)} is not one")
        for argument, given in (("coordinates", coordinates), ("linear", linear)):
            if isinstance(given, str):
                raise TypeError(f"{argument}={given!r} must be a sequence of names, such as ({given!r},)")
        names = list(arguments)
        axes = tuple(coordinates) if coordinates is not None else ("x", "y") if names[:2] == ["x", "y"] else ("x",)
        if not axes or tuple(names[: len(axes)]) != axes:
            raise ValueError(
                f"the function's arguments {names} must begin with the coordinate(s) {list(axes)}; "
                f"name others with coordinates="
            )
        parameters = names[len(axes) :]
        unknown = [n for n in linear if n not in parameters]
        if unknown:
            raise ValueError(f"linear={list(linear)!r}: no parameter {unknown}; the function has {parameters}")
        if gradient is not None:
            count = len(inspect.signature(getattr(gradient, "py_func", gradient)).parameters)
            if count != len(names):
                raise ValueError(f"gradient takes {count} arguments, the function {len(names)}; they must be the same")
        made = {}
        for n in parameters:
            if hasattr(Function, n) or n.startswith("_") or n in _RESERVED:
                raise ValueError(f"{n!r} can't be a parameter's name, for components have it already")
            default = arguments[n].default
            made[n] = Parameter(n, 1.0 if default is inspect.Parameter.empty else default, linear=n in linear)
        set_ = object.__setattr__
        set_(self, "coordinates", axes)
        set_(self, "function", function)
        set_(self, "gradient", gradient)
        set_(self, "registered", registered)
        self._begin(name or getattr(function, "__name__", None), made, values)

    function: Callable[..., float]
    gradient: Callable[..., tuple[float, ...]] | None
    registered: str | None

    @property
    def options(self) -> dict[str, Any]:
        """Name under which the function is registered; the function itself is never stored."""
        return {"registered": self.registered}

    @property
    def kernel(self) -> FunctionKernel:
        """The function and its gradient, as they are now with all that they read."""
        return kernel_of(self.function, self.gradient, self.coordinates, tuple(self._by_name))

    def _use(self, kernel: FunctionKernel) -> None:
        """Take the functions of a kernel instead of those registered."""
        object.__setattr__(self, "function", kernel.function)
        object.__setattr__(self, "gradient", kernel.gradient)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if self.registered is not None:
            # In its module the function's name stands for what the decorator made, and only that can be pickled.
            del state["function"], state["gradient"]
            state["maker"] = _registered[self.registered]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        maker = state.get("maker")
        if maker is not None:
            functions = {"function": maker.function, "gradient": maker.options.get("gradient")}
            state = {key: value for key, value in state.items() if key != "maker"} | functions
        self.__dict__.update(state)

    @classmethod
    def from_plain(cls, name: str | None, options: Mapping[str, Any]) -> Function:
        """See `xfit.Component.from_plain`; only a registered function can be meant, nothing is evaluated."""
        return cls.from_registered(name=name, **options)

    def check_storable(self) -> None:
        """See `xfit.Component.check_storable`."""
        if self.registered is None:
            raise ValueError(
                f"component {self.name!r} is made of a Python function, which is never stored; "
                f"register it by name with the decorator @xfit.component"
            )

    @classmethod
    def from_registered(cls, registered: str, name: str | None = None) -> Function:
        """Make a component from a registered function.

        Raises
        ------
        ValueError
            Where none of that name is registered.
        """
        if registered not in _registered:
            known = ", ".join(_registered) or "none"
            raise ValueError(
                f"no function {registered!r} is registered (known: {known}); "
                f"import the module that defines it with @xfit.component"
            )
        return _registered[registered](name=name)


class FunctionComponent:
    """Makes components from one registered function; what `component` returns."""

    def __init__(self, function: Callable[..., float], options: dict[str, Any]) -> None:
        self.function = function
        self.options = options
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__

    @property
    def source_file(self) -> str:
        """File that the function is defined in."""
        return str(getattr(self.function, "py_func", self.function).__code__.co_filename)

    def __reduce__(self) -> str:
        return self.__qualname__

    def __call__(self, name: str | None = None, **values: Any) -> Function:
        """Make a component, with the values given."""
        return Function(self.function, name, registered=self.__name__, **self.options, **values)


@overload
def component(function: Callable[..., float]) -> FunctionComponent: ...


@overload
def component(
    *,
    gradient: Callable[..., tuple[float, ...]] | None = None,
    coordinates: Sequence[str] | None = None,
    linear: Sequence[str] = (),
) -> Callable[[Callable[..., float]], FunctionComponent]: ...


def component(function: Callable[..., float] | None = None, **options: Any) -> Any:
    """Register a Python function as a component (decorator).

    Parameters
    ----------
    function : callable
        See `Function`.
    gradient, coordinates, linear
        See `Function`.

    Returns
    -------
    FunctionComponent
        Called with values, it makes components, which can be stored by the function's name.

    Examples
    --------
    >>> import xfit
    >>> @xfit.component(linear=("height",))
    ... def triangle(x, height=1.0, width=2.0):
    ...     return height * max(0.0, 1 - abs(x) / width)
    >>> triangle(height=3.0)
    <triangle (Function component)>
    """
    unknown = set(options) - {"gradient", "coordinates", "linear"}
    if unknown:
        raise TypeError(f"unknown option(s) {sorted(unknown)}; known: gradient, coordinates, linear")
    if function is None:
        return lambda decorated: component_of(decorated, options)
    return component_of(function, options)


def component_of(function: Callable[..., float], options: dict[str, Any]) -> FunctionComponent:
    """Register a function with its options."""
    made = FunctionComponent(function, options)
    made()
    other = _registered.get(made.__name__, made)
    # A cell run again, or a script that is imported too, defines the same function once more.
    same_place = other.__module__ == made.__module__ or other.source_file == made.source_file
    if other.__qualname__ != made.__qualname__ or not same_place:
        raise ValueError(
            f"the name {made.__name__!r} is registered already, by {other.__module__}.{other.__qualname__}; "
            f"stored models know functions by this name: choose another"
        )
    _registered[made.__name__] = made
    return made
