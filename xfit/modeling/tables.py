"""Models, components and parameters as tables: text that fits a terminal, and HTML for notebooks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from xfit.display import (
    html_code,
    html_lines,
    html_page,
    html_section,
    html_table,
    shortened,
    terminal_width,
    text_table,
)
from xfit.formulas.kernel_spec import FormulaKernel
from xfit.modeling.ties import known_value, known_values

if TYPE_CHECKING:
    from xfit.modeling.component import Component
    from xfit.modeling.model import Model
    from xfit.modeling.parameter import Parameter

_HEAD = ("parameter", "value", "min", "max", "", "units")

#: Components up to which all of a model are unfolded.
_FEW = 4

#: Columns that a table of parameters always has; units and descriptions where there are any.
_ALWAYS = 5


# --- text ----------------------------------------------------------------------------------------------------------


def parameter_text(parameter: Parameter) -> str:
    """A parameter in a line."""
    value = known_value(parameter)
    low, high = parameter.min, parameter.max
    numbers = "" if value is None else f": {value:.6g} {shortened(parameter.units or '', 12)}".rstrip()
    if low > -math.inf or high < math.inf:
        numbers += f" in [{low:g}, {high:g}]" + (" (outside!)" if _is_outside(parameter, value) else "")
    left = terminal_width() - len("<Parameter >") - len(numbers)
    state = f", tied to {parameter.tie_formula}" if parameter.is_tied else "" if parameter.free else ", fixed"
    name = shortened(parameter.full_name, max(left - min(len(state), 24), 8))
    return f"<Parameter {name}{numbers}{shortened(state, max(left - len(name), 8))}>"


def component_text(component: Component) -> str:
    """A component in a line."""
    kind, off = type(component).__name__, "" if component.active else ", inactive"
    if component.name == kind:
        return f"<{kind} component{off}>"
    about = f" ({shortened(kind, 30)} component{off})"
    return f"<{shortened(component.name, terminal_width() - len(about) - 2)}{about}>"


def model_text(model: Model, *, only_free: bool = False, only_active: bool = False) -> str:
    """Table of a model's parameters."""
    rows = []
    known = _known(model.parameters)
    for component, parameters in _listed(model, only_free, only_active):
        label = component.name + ("" if component.active else " (inactive)")
        rows += [(label if k == 0 else "", *_row(p, known[id(p)])) for k, p in enumerate(parameters)]
    return text_table(("component", *_HEAD), rows, width=terminal_width())


def model_summary(model: Model) -> str:
    """Short table of a model's components."""
    width = terminal_width()
    count = f": {counted(len(model.free_parameters), 'free parameter')}>"
    title = "Model" if model.name is None else f"Model {shortened(repr(model.name), width - len(count) - 7)}"
    if not len(model):
        return f"<{title}: no components>"
    response = model.response is not None
    rows = [
        (
            str(k),
            c.name,
            type(c).__name__,
            "yes" if c.active else "no",
            *(["yes" if c.convolved else "no"] if response else []),
            ", ".join(p.name for p in c.parameters if p.free) or "-",
        )
        for k, c in enumerate(model)
    ]
    head = ("#", "name", "type", "active", *(["convolved"] if response else []), "free parameters")
    return f"<{title}{count}\n" + text_table(head, rows, width=width)


def _listed(model: Model, only_free: bool, only_active: bool) -> list[tuple[Component, list[Parameter]]]:
    found = []
    for component in model:
        if only_active and not component.active:
            continue
        parameters = [p for p in component.parameters if p.free or not only_free]
        if parameters:
            found.append((component, parameters))
    return found


def _known(parameters: Sequence[Parameter]) -> dict[int, float | None]:
    """Values by the parameters' ids, those of tied ones worked out together."""
    return dict(zip(map(id, parameters), known_values(parameters), strict=True))


def _row(parameter: Parameter, value: float | None) -> tuple[str, ...]:
    state = f"= {parameter.tie_formula}" if parameter.is_tied else "free" if parameter.free else "fixed"
    state = shortened(state, 28) + (" (outside!)" if _is_outside(parameter, value) else "")
    low, high = (_number(each) if math.isfinite(each) else "" for each in (parameter.min, parameter.max))
    return (parameter.name, _number(value), low, high, state, parameter.units or "")


def _is_outside(parameter: Parameter, value: float | None) -> bool:
    return value is not None and not parameter.min <= value <= parameter.max


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def counted(count: int, what: str) -> str:
    """Say how many there are of what can be counted."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


# --- HTML ----------------------------------------------------------------------------------------------------------


def parameter_html(parameter: Parameter) -> str:
    """A parameter as HTML."""
    return html_page("Parameter", parameter.full_name, "", parameters_table([parameter], _known([parameter])))


def component_html(component: Component) -> str:
    """A component as HTML."""
    return html_page(
        type(component).__name__, component.name, _about(component), *_inside(component, _known(component.parameters))
    )


def model_html(model: Model) -> str:
    """A model as HTML: a section for each component."""
    return html_page("Model", model.name or "", model_about(model), *model_sections(model))


def model_about(model: Model) -> str:
    """What a model is, in a line."""
    try:
        signal = f"{model.signal_dimension}-D signal"
    except ValueError:
        signal = "components of 1-D and of 2-D signals, which can't be added"
    response = "" if model.response is None else ", with a response"
    free = counted(len(model.free_parameters), "free parameter")
    return f"{signal}, {counted(len(model), 'component')}, {free}{response}"


def model_sections(model: Model, *, opened: bool = True) -> list[str]:
    """HTML of a model's components and its response; sections of a few components are open, if any are to be."""
    opened = opened and len(model) <= _FEW
    known = _known(model.parameters)
    parts = [
        html_section(c.name, f"{type(c).__name__}, {_about(c)}", *_inside(c, known), opened=opened and c.active)
        for c in model
    ]
    if model.response is not None:
        parts.append(html_section("response", _sizes(model), html_lines(_convolved(model))))
    return parts


def parameters_table(parameters: Sequence[Parameter], known: Mapping[int, float | None]) -> str:
    """Table of parameters as HTML, with their values by their ids."""
    head = ("parameter", "value", "min", "max", "state", "units", "description")
    rows = [_cells(parameter, known[id(parameter)]) for parameter in parameters]
    kept = [k for k in range(len(head)) if k < _ALWAYS or any(row[k] for row in rows)]
    return html_table([head[k] for k in kept], [[row[k] for k in kept] for row in rows])


def _cells(parameter: Parameter, value: float | None) -> tuple[str, ...]:
    state = f"tied to {parameter.tie_formula}" if parameter.is_tied else "free" if parameter.free else "fixed"
    if _is_outside(parameter, value):
        state += " (outside of its bounds!)"
    low, high = (_number(each).replace("inf", "∞") for each in (parameter.min, parameter.max))
    return (parameter.name, _number(value), low, high, state, parameter.units or "", parameter.description)


def _about(component: Component) -> str:
    """What is to be said of a component in short."""
    words = [f"{len(component.free_parameters)} of {counted(len(component.parameters), 'parameter')} free"]
    if component.model is not None and component.model.response is not None:
        words.append("convolved" if component.convolved else "not convolved")
    return ", ".join(words + ([] if component.active else ["inactive"]))


def _inside(component: Component, known: Mapping[int, float | None]) -> list[str]:
    """HTML of a component's formula, parameters and derived quantities."""
    parts = [html_code(*formula_of(component)), parameters_table(component.parameters, known)]
    if component.derived:
        rows = [
            (name, _derived(component, name), quantity.formula, quantity.description)
            for name, quantity in component.derived.items()
        ]
        table = html_table(("derived", "value", "formula", "description"), rows)
        parts.append(html_section("derived quantities", ", ".join(component.derived), table))
    return parts


def formula_of(component: Component) -> tuple[str, str]:
    """What a component is, as a label and a formula or the name of a function."""
    kernel = component.kernel
    arguments = ", ".join(component.coordinates)
    if isinstance(kernel, FormulaKernel):
        # The formula that was given, where the kernel's is another one, along rotated axes.
        text = str(component.options.get("expression") or kernel.expression)
        looked_up = [f"{each.name}({', '.join(each.arguments)})" for each in kernel.lookups]
        note = f", from tables: {', '.join(looked_up)}" if looked_up else ""
        note += f", splines: {kernel.splines.name}({kernel.splines.argument})" if kernel.splines is not None else ""
        return f"f({arguments}){note} =", text
    return "Python function", f"{kernel.function.__name__}({', '.join((*kernel.coordinates, *kernel.parameters))})"


def _derived(component: Component, name: str) -> str:
    """Value of a derived quantity as text."""
    try:
        return f"{getattr(component, name):.6g}"
    except Exception:
        # A tie without value, or a user's formula that has none here, is no reason to show nothing at all.
        return ""


def _sizes(model: Model) -> str:
    response = model.response
    return "" if response is None else ", ".join(f"{d}: {n}" for d, n in response.sizes.items())


def _convolved(model: Model) -> str:
    names = [component.name for component in model if component.convolved]
    return f"convolved with it: {', '.join(names) or 'nothing'}"
