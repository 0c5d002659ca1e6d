"""Models as plain data and back: every key checked, nothing evaluated."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from xfit.component import Component, kinds
from xfit.components.function import Function
from xfit.formula import FormulaError
from xfit.model import Model
from xfit.parameters import Parameter
from xfit.response import response_from_dict, response_to_dict

if TYPE_CHECKING:
    import xarray as xr

FORMAT = "xfit-model"
VERSION = 1

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
    if isinstance(component, Function) and component.registered is None:
        raise ValueError(
            f"component {component.name!r} is made of a Python function, which is never stored; "
            f"register it by name with the decorator @xfit.component"
        )
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
    """Parse JSON into a mapping."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"not a stored model: the text is not JSON ({error})") from None
    return _mapping(data, "the model")


def model_from_dict(data: Mapping[str, Any]) -> Model:
    """Make a model from plain data.

    Raises
    ------
    ModelFormatError
        Naming the place that is wrong, such as ``components[1].parameters.A.min``.
    """
    data = _mapping(data, "the model")
    _keys(data, _MODEL_KEYS, "the model", optional={"name", "response"})
    if data["format"] != FORMAT:
        raise ModelFormatError(f"format is {data['format']!r}, not {FORMAT!r}: this is no stored model")
    version = data["version"]
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ModelFormatError(f"version must be a whole number of at least 1, not {version!r}")
    if version > VERSION:
        raise ModelFormatError(f"version {version} is newer than this xfit reads ({VERSION}); update xfit")
    if not isinstance(data["components"], list):
        raise ModelFormatError(f"components must be a list, not {type(data['components']).__name__}")
    name = data.get("name")
    if name is not None and not isinstance(name, str):
        raise ModelFormatError(f"name must be text or null, not {name!r}")
    model = Model(name=name, response=_response(data.get("response")))
    pending: list[tuple[str, Parameter, str]] = []
    for k, item in enumerate(data["components"]):
        component = _component(item, f"components[{k}]", pending)
        if component.name in model:
            raise ModelFormatError(f"components[{k}].name: {component.name!r} is the name of two components")
        model.append(component)
    for place, parameter, text in pending:
        try:
            parameter.tie(text)
        except ValueError as error:
            raise ModelFormatError(f"{place}.tie: {error}") from None
    return model


def _response(item: Any) -> xr.DataArray | None:
    if item is None:
        return None
    _keys(_mapping(item, "response"), _RESPONSE_KEYS, "response")
    try:
        return response_from_dict(item)
    except (TypeError, ValueError) as error:
        raise ModelFormatError(f"response: {error}") from None


def _component(item: Any, place: str, pending: list[tuple[str, Parameter, str]]) -> Component:
    item = _mapping(item, place)
    _keys(item, _COMPONENT_KEYS, place, optional={"convolved"})
    kind, known = item["type"], kinds()
    if not isinstance(kind, str) or kind not in known:
        close = difflib.get_close_matches(str(kind), known, 1)
        hint = f"did you mean {close[0]}? " if close else "one of your own must be defined, or imported, first; "
        raise ModelFormatError(f"{place}.type: unknown component {kind!r}; {hint}known: {', '.join(sorted(known))}")
    if not isinstance(item["name"], str):
        raise ModelFormatError(f"{place}.name must be text, not {item['name']!r}")
    options = _mapping(item["options"], f"{place}.options")
    try:
        if known[kind] is Function:
            component: Component = Function.from_registered(name=item["name"], **options)
        else:
            component = known[kind](name=item["name"], **options)
    except (FormulaError, TypeError, ValueError) as error:
        raise ModelFormatError(f"{place}: {error}") from None
    _keys(options, set(component.options), f"{place}.options")
    if not isinstance(item["active"], bool):
        raise ModelFormatError(f"{place}.active must be true or false, not {item['active']!r}")
    component.active = item["active"]
    convolved = item.get("convolved", component.convolved)
    if not isinstance(convolved, bool):
        raise ModelFormatError(f"{place}.convolved must be true or false, not {convolved!r}")
    component.convolved = convolved
    parameters = _mapping(item["parameters"], f"{place}.parameters")
    _keys(parameters, {p.name for p in component.parameters}, f"{place}.parameters")
    for parameter in component.parameters:
        at = f"{place}.parameters.{parameter.name}"
        _set_parameter(parameter, _mapping(parameters[parameter.name], at), at, pending)
    return component


def _set_parameter(
    parameter: Parameter, item: Mapping[str, Any], place: str, pending: list[tuple[str, Parameter, str]]
) -> None:
    _keys(item, _PARAMETER_KEYS, place)
    tie = item["tie"]
    if tie is not None and not isinstance(tie, str):
        raise ModelFormatError(f"{place}.tie must be text or null, not {tie!r}")
    if (item["value"] is None) != (tie is not None):
        raise ModelFormatError(f"{place}.value must be a number, or null where there is a tie; it is {item['value']!r}")
    values = {key: item[key] for key in ("min", "max", "free", "units")}
    if tie is None:
        values["value"] = item["value"]
    else:
        pending.append((place, parameter, tie))
    for key, value in values.items():
        try:
            # Bounds one after the other: the class's own bounds must not stand in the way of the stored ones.
            if key == "min":
                parameter.set(max=None)
            parameter.set(**{key: value})
        except (TypeError, ValueError) as error:
            raise ModelFormatError(f"{place}.{key}: {error}") from None


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ModelFormatError(f"{place} must be an object with named entries, not {type(value).__name__}")
    return value


def _keys(data: Mapping[str, Any], wanted: set[str], place: str, optional: Collection[str] = ()) -> None:
    unknown = sorted(set(data) - wanted, key=str)
    missing = sorted(wanted - set(data) - set(optional))
    if unknown or missing:
        words = [f"unknown {unknown}"] if unknown else []
        words += [f"missing {missing}"] if missing else []
        raise ModelFormatError(f"{place}: {' and '.join(words)}; it has {', '.join(sorted(wanted))}")
