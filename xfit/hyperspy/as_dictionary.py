"""Live models of HyperSpy as plain dictionaries: those that files have, with what files leave out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What a component's class keeps as attributes and does not save.
_ATTRIBUTES = (
    "side_vignetting",
    "spin_orbit_splitting",
    "spin_orbit_branching_ratio",
    "spin_orbit_splitting_energy",
    "E0",
    "collection_angle",
    "convergence_angle",
)

_PARAMETER_KEYS = ("value", "free", "units", "map", "_bounds", "ext_force_positive", "twin_function_expr")


def plain_model(m: Any) -> dict[str, Any]:
    """Return a model as HyperSpy's ``as_dictionary`` does, without copies and pickles.

    Raises
    ------
    TypeError
        For what is no model.
    """
    if not all(hasattr(m, name) for name in ("_channel_switches", "signal", "active_components")):
        raise TypeError(f"m must be a HyperSpy model, as made by s.create_model(), not {type(m).__name__}")
    response = m._signal_to_convolve if _is_convolved(m) else None
    return {
        "components": [_plain_component(component) for component in m],
        "_channel_switches": m._channel_switches,
        "chisq.data": m.chisq.data,
        "dof.data": m.dof.data,
        "_convolved": response is not None,
        "low_loss": None if response is None else _plain_signal(response),
    }


def _is_convolved(m: Any) -> bool:
    try:
        return bool(m.convolved)
    except NotImplementedError:  # of models that can't be
        return False


def _plain_signal(signal: Any) -> dict[str, Any]:
    return signal._to_dictionary(add_learning_results=False, add_models=False)


def _plain_component(component: Any) -> dict[str, Any]:
    """Return a component: its constructor's arguments, its attributes, its parameters."""
    item: dict[str, Any] = {"package": type(component).__module__.split(".")[0]}
    for key, flagged in component._whitelist.items():
        flags, value = ("", None) if flagged is None else flagged
        given = value if "init" in flags else getattr(component, key)
        item[key] = _plain_signal(given) if "sig" in flags and hasattr(given, "_to_dictionary") else given
    item["convolved"] = component.convolved
    for name in _ATTRIBUTES:
        if hasattr(component, name):
            item[name] = getattr(component, name)
    if component._id_name == "PESVoigt":
        item["shirley_active"] = component.shirley_background.active
    if component._id_name == "ScalableFixedPattern":
        item["degree"] = component.f.k
    _as_expression(component, item)
    item["parameters"] = [_plain_parameter(parameter) for parameter in component.parameters]
    return item


def _as_expression(component: Any, item: dict[str, Any]) -> None:
    """Classes of others that are made of a formula are treated as that formula."""
    text = getattr(component, "_str_expression", None)
    if text is None or item["package"] in ("hyperspy", "exspy"):
        return
    position = component._position
    item |= {
        "_id_name": "Expression",
        "package": "hyperspy",
        "expression": text,
        "position": None if position is None else position.name,
        "rename_pars": component._rename_pars,
        "add_rotation": component._add_rotation,
    }


def _plain_parameter(parameter: Any) -> Mapping[str, Any]:
    """Return a parameter; the others of its ties by their identity."""
    item = {key: getattr(parameter, key) for key in _PARAMETER_KEYS}
    called = parameter._twin_function is not None and not parameter.twin_function_expr
    return item | {
        "_id_name": parameter.name,
        "self": id(parameter),
        "_twins": [id(other) for other in parameter._twins],
        "twin_function": (None, "a Python function") if called else None,
    }
