"""Models as plain data and back: every key checked, what is left out taken from the defaults, nothing evaluated."""

from __future__ import annotations

import difflib
import json
import math
import numbers
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from xfit.formulas.parser import FormulaError
from xfit.modeling.component import Component, kinds
from xfit.modeling.parameter import Parameter
from xfit.modeling.response import response_from_dict, response_to_dict
from xfit.modeling.text_limits import MOST_COMPONENTS, check_json, shown
from xfit.modeling.ties import TieGraph

if TYPE_CHECKING:
    import xarray as xr

    from xfit.modeling.model import Model

M = TypeVar("M", bound="Model")

FORMAT = "xfit-model"
VERSION = 1

#: Most letters of a model as JSON.
LARGEST_JSON = 1 << 25

_PARAMETER_KEYS = {"value", "min", "max", "free", "units", "tie"}
_COMPONENT_KEYS = {"type", "name", "active", "convolved", "options", "parameters"}
_MODEL_KEYS = {"format", "version", "name", "components", "response"}
_RESPONSE_KEYS = {"dim", "coordinate", "values"}


class ModelFormatError(ValueError):
    """A stored model that can't be read; the message names the place."""


def model_to_dict(model: Model) -> dict[str, Any]:
    """Return a model as dictionaries, lists, numbers and text.

    Raises
    ------
    ValueError
        For a component made of a Python function that is not registered.
    """
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": model.name,
        "components": [_component_to_dict(component) for component in model],
        "response": None if model.response is None else response_to_dict(model.response),
    }


def _component_to_dict(component: Component) -> dict[str, Any]:
    component.check_storable()
    return {
        "type": type(component).__name__,
        "name": component.name,
        "active": component.active,
        "convolved": component.convolved,
        "options": component.options,
        "parameters": {parameter.name: _parameter_to_dict(parameter) for parameter in component.parameters},
    }


def _parameter_to_dict(parameter: Parameter) -> dict[str, Any]:
    return {
        "value": None if parameter.is_tied else parameter.value,
        "min": None if parameter.min == -math.inf else parameter.min,
        "max": None if parameter.max == math.inf else parameter.max,
        "free": parameter._free,
        "units": parameter.units,
        "tie": parameter.tie_formula,
    }


def read_json(text: str) -> Mapping[str, Any]:
    """Parse JSON into a mapping.

    Raises
    ------
    ModelFormatError
        For what is no JSON, NaN and infinities among it, and for what is longer, deeper or has longer numbers than a
        model.
    """
    if len(text) > LARGEST_JSON:
        raise ModelFormatError(f"not a stored model: {len(text)} letters, and a model has at most {LARGEST_JSON}")
    try:
        check_json(text)
    except ValueError as error:
        raise ModelFormatError(f"not a stored model: {error}") from None
    try:
        data = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"not a stored model: the text is not JSON ({error})") from None
    return _mapping(data, "the model")


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON; null stands for a bound that is not there")


def model_from_dict(data: Mapping[str, Any], kind: type[M]) -> M:
    """Make a model from plain data.

    Parameters
    ----------
    data : mapping
        As `model_to_dict` returns it. All but ``components`` and their ``type`` may be left out: a component then has
        the name, the options and the parameters that it has when it is made without arguments. A parameter may be a
        number, its value.
    kind : type
        `xfit.Model`, or a class made from it.

    Raises
    ------
    ModelFormatError
        Naming the place that is wrong, such as ``components[1].parameters.A.min``.

    Examples
    --------
    >>> import xfit
    >>> iron = {"type": "Gaussian", "name": "Fe", "parameters": {"centre": 708, "sigma": {"max": 5}}}
    >>> m = xfit.Model.from_dict({"components": [iron]})
    >>> m["Fe"].centre, m["Fe"].sigma.max
    (<Parameter Fe.centre: 708>, 5.0)
    """
    data = _mapping(data, "the model")
    _keys(data, _MODEL_KEYS, "the model", optional=_MODEL_KEYS - {"components"})
    if data.get("format", FORMAT) != FORMAT:
        raise ModelFormatError(f"format is {shown(data['format'])}, not {FORMAT!r}: this is no stored model")
    version = data.get("version", VERSION)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ModelFormatError(f"version must be a whole number of at least 1, not {shown(version)}")
    if version > VERSION:
        raise ModelFormatError(f"version {shown(version)} is newer than this xfit reads ({VERSION}); update xfit")
    if not isinstance(data["components"], list):
        raise ModelFormatError(f"components must be a list, not {type(data['components']).__name__}")
    if len(data["components"]) > MOST_COMPONENTS:
        raise ModelFormatError(
            f"components has {len(data['components'])} entries; a model has at most {MOST_COMPONENTS}"
        )
    name = data.get("name")
    if name is not None and not isinstance(name, str):
        raise ModelFormatError(f"name must be text or null, not {shown(name)}")
    try:
        model = kind(name=name, response=_response(data.get("response")))
    except ValueError as error:
        raise ModelFormatError(str(error)) from None
    pending: list[tuple[str, Parameter, str]] = []
    for k, item in enumerate(data["components"]):
        component = _component(item, f"components[{k}]", pending)
        if component.name in model and "name" in item:
            raise ModelFormatError(f"components[{k}].name: {component.name!r} is the name of two components")
        model.append(component)
    _tie(pending)
    return model


def _tie(pending: Sequence[tuple[str, Parameter, str]]) -> None:
    """Tie the parameters of a model that has no ties yet."""
    graph = TieGraph()
    for place, parameter, text in pending:
        try:
            graph.tie(parameter, text)
        except ValueError as error:
            raise ModelFormatError(f"{place}.tie: {error}") from None
    try:
        graph.order(parameter for _, parameter, _ in pending)
    except ValueError as error:
        raise ModelFormatError(f"{pending[-1][0]}.tie: {error}") from None


def _response(item: Any) -> xr.DataArray | None:
    if item is None:
        return None
    # Without any entry: one that varies over the map, whose values are not stored.
    _keys(_mapping(item, "response"), _RESPONSE_KEYS, "response", optional={"coordinate"} if item else _RESPONSE_KEYS)
    try:
        return response_from_dict({key: item.get(key) for key in _RESPONSE_KEYS})
    except (TypeError, ValueError) as error:
        raise ModelFormatError(f"response: {error}") from None


def _component(item: Any, place: str, pending: list[tuple[str, Parameter, str]]) -> Component:
    item = _mapping(item, place)
    _keys(item, _COMPONENT_KEYS, place, optional=_COMPONENT_KEYS - {"type"})
    kind, known = item["type"], kinds()
    if not isinstance(kind, str) or kind not in known:
        close = difflib.get_close_matches(str(kind), known, 1)
        hint = f"did you mean {close[0]}? " if close else "one of your own must be defined, or imported, first; "
        raise ModelFormatError(
            f"{place}.type: unknown component {shown(kind)}; {hint}known: {', '.join(sorted(known))}"
        )
    if "name" in item and not isinstance(item["name"], str):
        raise ModelFormatError(f"{place}.name must be text, not {shown(item['name'])}")
    component = _made(known[kind], item.get("name"), _mapping(item.get("options", {}), f"{place}.options"), place)
    component.active = _flag(item, "active", True, place)
    component.convolved = _flag(item, "convolved", component.convolved, place)
    parameters = _mapping(item.get("parameters", {}), f"{place}.parameters")
    names = {p.name for p in component.parameters}
    _keys(parameters, names, f"{place}.parameters", optional=names)
    for parameter in component.parameters:
        if parameter.name in parameters:
            _set_parameter(parameter, parameters[parameter.name], f"{place}.parameters.{parameter.name}", pending)
    return component


def _made(kind: type[Component], name: str | None, options: Mapping[str, Any], place: str) -> Component:
    """Make a component from its options."""
    try:
        component = kind.from_plain(name, options)
    except (FormulaError, OverflowError, TypeError, ValueError) as error:
        raise ModelFormatError(f"{place}: {error}") from None
    known = set(component.options)
    _keys(options, known, f"{place}.options", optional=known)
    return component


def _flag(item: Mapping[str, Any], key: str, default: bool, place: str) -> bool:
    value = item.get(key, default)
    if not isinstance(value, bool):
        raise ModelFormatError(f"{place}.{key} must be true or false, not {shown(value)}")
    return value


def _set_parameter(parameter: Parameter, item: Any, place: str, pending: list[tuple[str, Parameter, str]]) -> None:
    if isinstance(item, numbers.Real) and not isinstance(item, bool):
        item = {"value": item}
    if not isinstance(item, Mapping):
        raise ModelFormatError(
            f"{place} must be an object with named entries, or a number, not {_shown(item)}; "
            f"entries: {', '.join(sorted(_PARAMETER_KEYS))}"
        )
    _keys(item, _PARAMETER_KEYS, place, optional=_PARAMETER_KEYS)
    tie = item.get("tie")
    if tie is not None and not isinstance(tie, str):
        raise ModelFormatError(f"{place}.tie must be text or null, not {shown(tie)}")
    if tie is not None and item.get("value") is not None:
        raise ModelFormatError(
            f"{place}.value must be null, or left out, where there is a tie; it is {shown(item['value'])}"
        )
    if tie is None and item.get("value", 0.0) is None:
        raise ModelFormatError(f"{place}.value must be a number, or null where there is a tie; it is None")
    # Bounds one after the other: the class's own bounds must not stand in the way of the stored ones.
    values = {"min": parameter.min, "max": parameter.max} | {key: item[key] for key in ("min", "max") if key in item}
    parameter.set(min=None, max=None)
    values |= {key: item[key] for key in ("free", "units") if key in item}
    if tie is not None:
        pending.append((place, parameter, tie))
    elif "value" in item:
        values["value"] = item["value"]
    for key, value in values.items():
        try:
            parameter.set(**{key: value})
        except (TypeError, ValueError) as error:
            given = key if key in item else "min"
            raise ModelFormatError(f"{place}.{given}: {error}") from None


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ModelFormatError(f"{place} must be an object with named entries, not {type(value).__name__}")
    return value


def _keys(data: Mapping[str, Any], wanted: set[str], place: str, optional: Collection[str] = ()) -> None:
    unknown = sorted(set(data) - wanted, key=str)
    missing = sorted(wanted - set(data) - set(optional))
    if unknown or missing:
        words = [f"unknown {shown(unknown)}{_hint(unknown[:5], wanted)}"] if unknown else []
        words += [f"missing {missing}"] if missing else []
        raise ModelFormatError(f"{place}: {' and '.join(words)}; it has {', '.join(sorted(wanted))}")


def _hint(unknown: list[Any], wanted: set[str]) -> str:
    """What was meant by keys that are not known, where that can be guessed."""
    close = [found[0] for key in unknown if (found := difflib.get_close_matches(str(key), wanted, 1))]
    return f" (did you mean {', '.join(map(repr, close))}?)" if close else ""


def _shown(value: Any) -> str:
    """A value for a message: what it is if it is short, or its type."""
    return repr(value) if isinstance(value, str | bool) and len(repr(value)) < 40 else type(value).__name__
