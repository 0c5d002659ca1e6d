"""Components of HyperSpy and eXSpy, as plain dictionaries, to those of xfit."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from xfit.arrays.channel_widths import is_binned, widths_of
from xfit.components import TYPES, EELSCLEdge, Expression, Gaussian2D, PESVoigt, Polynomial, ScalableFixedPattern
from xfit.components import Vignetting as VignettingComponent
from xfit.display import cleaned
from xfit.files.signals import signal_to_array
from xfit.formulas import parser
from xfit.hyperspy.sympy_syntax import respelt
from xfit.modeling.component import Component

#: HyperSpy's components that are not convolved unless told to be.
_NOT_CONVOLVED = ("PowerLaw", "HeavisideStep", "Offset", "ScalableFixedPattern")

#: Parameters that no derivative tells anything about; HyperSpy has some of them free.
_NEVER_FREE = {("PowerLaw", "left_cutoff"), ("DoublePowerLaw", "left_cutoff"), ("HeavisideStep", "n")}

#: Bounds beyond which the function means nothing, which HyperSpy does not have.
_NATURAL = {("Doniach", "alpha", "max"): 1.0, ("PESVoigt", "gamma", "min"): 0.0}

#: Parameter of HyperSpy that is a list: coefficients of splines, over the intensity.
FINE_STRUCTURE = "fine_structure_coeff"

_BEAM = "Acquisition_instrument.TEM.beam_energy"
_CONVERGENCE = "Acquisition_instrument.TEM.convergence_angle"
_COLLECTION = "Acquisition_instrument.TEM.Detector.EELS.collection_angle"


@dataclass(frozen=True)
class Converted:
    """A component of xfit and how it goes with that of HyperSpy.

    Attributes
    ----------
    component : Component
        With values and bounds.
    names : mapping of str to str
        Parameters of the component by HyperSpy's names; one that is missing has no counterpart.
    scales : mapping of str to float
        What HyperSpy's value is multiplied with, by HyperSpy's name; 1 for those not named.
    notes : tuple of str
        What is different.
    warnings : tuple of str
        What makes the curve another one than HyperSpy's.
    coefficients : tuple of str
        Parameters of the component that are the entries of HyperSpy's `FINE_STRUCTURE`, each times the intensity.
    """

    component: Component
    names: Mapping[str, str]
    scales: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    coefficients: tuple[str, ...] = ()

    def scale(self, name: str) -> float:
        """What HyperSpy's value of a parameter is multiplied with."""
        return self.scales.get(name, 1.0)


def converted(item: Mapping[str, Any], name: str, da: xr.DataArray, dims: tuple[Any, ...]) -> Converted:
    """Convert a component.

    Parameters
    ----------
    item : mapping
        The component as HyperSpy's ``as_dictionary`` gives it, or `xfit.hyperspy.as_dictionary`.
    name : str
        Name of the new component.
    da : DataArray
        The data: their signal coordinate and attributes.
    dims : tuple
        Signal dimensions.

    Raises
    ------
    ValueError
        For a component that xfit has not, and for options that it lacks, by name.
    """
    kind = str(item["_id_name"])
    check_kind(item)
    make = _RECIPES.get(kind)
    found = _plain(item, kind, name) if make is None else make(item, name, da, dims)
    component, notes = found.component, list(found.notes)
    component.convolved = bool(item.get("convolved", kind not in _NOT_CONVOLVED))
    for parameter in item["parameters"]:
        own = str(parameter["_id_name"])
        if own in found.names:
            notes += _set(kind, component, found.names[own], parameter, found.scale(own))
    for parameter in item["parameters"]:
        if found.coefficients and str(parameter["_id_name"]) == FINE_STRUCTURE:
            _set_coefficients(component, found.coefficients, parameter)
    return replace(found, notes=tuple(notes))


def check_kind(item: Mapping[str, Any]) -> None:
    """Refuse a component that xfit does not know, or whose code lies in the file."""
    kind, name, package = str(item["_id_name"]), item.get("name"), item.get("package", "hyperspy")
    known = sorted(k for k in TYPES if k != "Function")
    if "_class_dump" in item or package not in ("hyperspy", "exspy") or kind not in TYPES:
        whose = (
            "a class of its own, whose code xfit never reads from a file"
            if "_class_dump" in item
            else f"{kind}, of {package}"
        )
        raise ValueError(
            f"component {name!r} is {whose}; xfit has no such component. Make it an Expression (formula) in HyperSpy, "
            "or build the model in xfit with a component of your own (xfit.components.Function, @xfit.component). "
            f"xfit has: {', '.join(known)}"
        )
    for key, flags in dict(item.get("_whitelist", {})).items():
        if isinstance(flags, str) and "fn" in flags.replace(" ", "").split(","):
            raise ValueError(
                f"component {name!r} ({kind}): its {key!r} is a pickled Python function, which xfit never runs; make "
                "the component an Expression"
            )


def _set(kind: str, component: Component, name: str, item: Mapping[str, Any], scale: float) -> list[str]:
    """Give a parameter HyperSpy's value, bounds and state; return what is different."""
    parameter, own = component[name], str(item["_id_name"])
    value, free = float(item["value"]) * scale, bool(item["free"])
    low, high = (None if bound is None else float(bound) * scale for bound in item["_bounds"])
    if item.get("ext_force_positive"):
        low = max(0.0, low or 0.0)
    natural_low, natural_high = _NATURAL.get((kind, own, "min")), _NATURAL.get((kind, own, "max"))
    if low is None and natural_low is not None and value >= natural_low:
        low = natural_low
    if high is None and natural_high is not None and value <= natural_high:
        high = natural_high
    notes = []
    if free and (kind, own) in _NEVER_FREE:
        free = False
        notes.append(f"{cleaned(parameter.full_name)} is fixed, for it has no derivative")
    parameter.set(min=None, max=None)
    parameter.set(value=value, min=low, max=high, free=free, units=str(item.get("units") or "") or None)
    return notes


def _set_coefficients(component: Component, names: Sequence[str], item: Mapping[str, Any]) -> None:
    """Give the coefficients of a fine structure HyperSpy's values times the intensity, and their bounds,
    where these are none or zero.
    """
    intensity = float(component["intensity"].value)
    rows = zip(names, item["value"], item["_bounds"], strict=True)
    for name, value, (low, high) in rows:
        if low not in (None, 0.0) or high not in (None, 0.0):
            raise ValueError(
                f"{cleaned(component.name)}.{FINE_STRUCTURE} has the bounds {low} and {high}; xfit's coefficients are "
                "those times the intensity, which keeps only a bound at zero: set bmin and bmax to None or 0"
            )
        component[name].set(value=float(value) * intensity, min=low, max=high, free=bool(item["free"]))


def _names(item: Mapping[str, Any]) -> list[str]:
    return [str(parameter["_id_name"]) for parameter in item["parameters"]]


def _plain(item: Mapping[str, Any], kind: str, name: str) -> Converted:
    """Convert a component whose parameters are the same in both."""
    return _same(TYPES[kind](name=name), item)


def _same(component: Component, item: Mapping[str, Any]) -> Converted:
    """Pair parameters of equal names, which all must have one."""
    names = _names(item)
    own = [parameter.name for parameter in component.parameters]
    missing = [n for n in names if n not in own]
    if missing or [n for n in own if n not in names]:
        raise ValueError(
            f"component {item.get('name')!r} ({item['_id_name']}) has the parameters {names}, not {own}: it was "
            "stored by another version of HyperSpy; open and store it with the present one"
        )
    return Converted(component, {n: n for n in names})


# --- those that are made from more than values


def _polynomial(item: Mapping[str, Any], name: str, da: xr.DataArray, dims: tuple[Any, ...]) -> Converted:
    if _names(item) == ["coefficients"]:
        raise ValueError(
            f"component {item.get('name')!r} is a Polynomial of HyperSpy before 1.5; open and store it with the "
            "present HyperSpy"
        )
    return _same(Polynomial(order=len(item["parameters"]) - 1, name=name), item)


def _gaussian2d(item: Mapping[str, Any], name: str, da: xr.DataArray, dims: tuple[Any, ...]) -> Converted:
    rotated = "rotation_angle" in _names(item)
    found = _same(Gaussian2D(add_rotation=rotated, name=name), item)
    return Converted(found.component, found.names, warnings=_rotation_warnings(name) if rotated else ())


def _rotation_warnings(name: str) -> tuple[str, ...]:
    return (f"{name} rotates; HyperSpy's rotation_angle shears, for it replaces x before it replaces y",)


def _expression(item: Mapping[str, Any], name: str, da: xr.DataArray, dims: tuple[Any, ...]) -> Converted:
    renamed = {str(k): str(v) for k, v in dict(item.get("rename_pars") or {}).items()}
    text = expression_text(str(item["expression"]))
    used = parser.names(text)
    changes = {n: _allowed(renamed.get(n, n)) for n in used if n not in ("x", "y")}
    changes = {old: new for old, new in changes.items() if old != new}
    names = {renamed.get(n, n): changes.get(n, n) for n in used if n not in ("x", "y")}
    rotation = bool(item.get("add_rotation")) and "y" in used
    position = _position(item.get("position"), changes)
    center = item.get("rotation_center")
    component = Expression(
        text,
        name=name,
        position=position,
        add_rotation=rotation,
        rotation_center=None if center is None or not rotation else [_place(c, changes) for c in center],
        rename_pars=changes or None,
    )
    if rotation:
        names["rotation_angle"] = "rotation_angle"
    return Converted(component, names, warnings=_rotation_warnings(name) if rotation else ())


def _position(given: Any, changes: Mapping[str, str]) -> Any:
    """Parameter(s) that say where an expression is, by their new names."""
    if given is None or (not isinstance(given, str) and any(not isinstance(each, str) for each in given)):
        return None
    return _place(given, changes) if isinstance(given, str) else tuple(_place(each, changes) for each in given)


def _place(given: Any, changes: Mapping[str, str]) -> Any:
    return changes.get(given, given) if isinstance(given, str) else float(given)


def _allowed(name: str) -> str:
    """Name that a parameter of xfit may have."""
    taken = hasattr(Component, name) or keyword.iskeyword(name)
    taken = taken or name in ("model", "parameters", "expression", "rotation_center") or name in parser.FUNCTIONS
    plain = name.strip("_") or "p"
    return plain if plain != name else f"{name}_" if taken and name != "gamma" else name


def expression_text(text: str) -> str:
    """Formula that sympy reads, in the words of xfit's parser: powers and functions spelt its way,
    substitutions as HyperSpy makes them.

    Those are made one after the other, so that one which nothing before it needs is none, and a name that has been
    replaced stays a parameter where a later one brings it back.

    Raises
    ------
    FormulaError
        For what the parser does not know, and for names that are brought back.
    """
    text = re.sub(r"\bln\s*\(", "log(", text.replace("^", "**"))
    first, *rest = [part.strip() for part in text.split(";")]
    first = respelt(first)
    needed, replaced, kept = set(parser.names(first)), set(), [first]
    for part in filter(None, rest):
        name, sign, value = (each.strip() for each in part.partition("="))
        if not sign:
            raise parser.FormulaError(f"formula {text!r}: {part!r} is no substitution, such as a = 2*b")
        if name not in needed:
            continue
        replaced.add(name)
        value = respelt(value)
        needed |= set(parser.names(value))
        back = sorted(replaced & set(parser.names(value)))
        if back:
            raise parser.FormulaError(
                f"formula {text!r}: {part!r} brings back {back}, replaced before; HyperSpy makes them parameters: give "
                "these other names"
            )
        kept.append(f"{name} = {value}")
    found = "; ".join(kept)
    parser.parse(found)
    return found


def _pattern(item: Mapping[str, Any], name: str, da: xr.DataArray, dims: tuple[Any, ...]) -> Converted:
    if item.get("degree", 3) != 3:
        raise ValueError(
            f"component {item.get('name')!r} interpolates with splines of degree {item['degree']}; xfit's are cubic: "
            "call prepare_interpolator()"
        )
    pattern = signal_to_array(item["signal1D"]).reset_coords(drop=True).squeeze(drop=True)
    interpolate = bool(item.get("interpolate", True))
    if not interpolate:
        # HyperSpy then takes the values as they are, wherever the pattern's own axis lies.
        (dim,) = dims
        if pattern.size != da.sizes[dim]:
            raise ValueError(
                f"component {item.get('name')!r} has a pattern of {pattern.size} channels and interpolate=False, the "
                f"data have {da.sizes[dim]}"
            )
        if is_binned(pattern[pattern.dims[0]]):
            pattern = pattern / widths_of(pattern[pattern.dims[0]], "a pattern that is binned")
        pattern = xr.DataArray(pattern.values, dims=(dim,), coords={dim: da[dim].values})
    component = ScalableFixedPattern(pattern, interpolate=interpolate, name=name)
    names = _names(item) if interpolate else ["yscale"]
    return Converted(component, {n: n for n in names})


def _core_line(item: Mapping[str, Any], name: str, da: xr.DataArray, dims: tuple[Any, ...]) -> Converted:
    """Their FWHM is half of the full width."""
    shirley = bool(item.get("Shirley", False))
    names = {n: n for n in _names(item) if n != "shirley" or shirley}
    return Converted(TYPES["PESCoreLineShape"](name=name), names, {"FWHM": 2.0})


def _pes_voigt(item: Mapping[str, Any], name: str, da: xr.DataArray, dims: tuple[Any, ...]) -> Converted:
    splitting = bool(item.get("spin_orbit_splitting", False))
    component = PESVoigt(spin_orbit_splitting=splitting, name=name)
    if splitting:
        for key in ("spin_orbit_branching_ratio", "spin_orbit_splitting_energy"):
            component[key].value = float(item[key])
    shirley = bool(item.get("shirley_active", False))
    return Converted(component, {n: n for n in _names(item) if n != "shirley_background" or shirley})


def _vignetting(item: Mapping[str, Any], name: str, da: xr.DataArray, dims: tuple[Any, ...]) -> Converted:
    sides = bool(item.get("side_vignetting", False))
    component = VignettingComponent(side_vignetting=sides, name=name)
    return Converted(component, {p.name: p.name for p in component.parameters})


def _edge(item: Mapping[str, Any], name: str, da: xr.DataArray, dims: tuple[Any, ...]) -> Converted:
    given = item["element_subshell"]
    gos = None
    if isinstance(given, Mapping):
        edge = f"{given['element']}_{given['subshell']}"
        gos = xr.DataArray(
            np.asarray(given["gos_array"], np.float64) * float(given.get("subshell_factor", 1.0)),
            dims=("energy", "q"),
            coords={
                "energy": np.asarray(given["rel_energy_axis"], np.float64),
                "q": np.asarray(given["qaxis"], np.float64),
            },
        )
    else:
        edge = str(given)
    if gos is None and item.get("GOS", "hydrogenic") != "hydrogenic":
        raise ValueError(
            f"component {item.get('name')!r}: its oscillator strengths ({item['GOS']}) are not stored with it"
        )
    settings = {
        "beam_energy": item.get("E0", da.attrs.get(_BEAM)),
        "collection_angle": item.get("collection_angle", da.attrs.get(_COLLECTION)),
        "convergence_angle": item.get("convergence_angle", da.attrs.get(_CONVERGENCE, 0.0)),
    }
    missing = [key for key, value in settings.items() if value is None]
    if missing:
        raise ValueError(
            f"component {item.get('name')!r} needs {', '.join(missing)}: call s.set_microscope_parameters(...)"
        )
    (dim,) = dims
    energies = da[dim].values
    width = float(abs(energies[-1] - energies[0]) / (energies.size - 1)) if energies.size > 1 else 1.0
    settings = {key: float(value) for key, value in settings.items()}
    fine = _fine_structure(item)
    component = EELSCLEdge(edge, gos=gos, name=name, onset_width=width, **settings, **fine)
    names = {n: n for n in ("intensity", "onset_energy", "effective_angle")}
    notes = [f"{name}: xfit integrates the cross-section anew, to 0.1 % of eXSpy's, and rises over one channel"]
    notes += [f"{name}: coefficients of the fine structure are eXSpy's times the intensity"] * bool(fine)
    coefficients = tuple(p.name for p in component.parameters if p.name.startswith("fine_structure_"))
    return Converted(component, names, notes=tuple(notes), coefficients=coefficients)


def _fine_structure(item: Mapping[str, Any]) -> dict[str, Any]:
    """What an edge's fine structure is made of, in xfit's words; nothing where it is not active."""
    if not item.get("fine_structure_active"):
        return {}
    (coefficients,) = [p for p in item["parameters"] if str(p["_id_name"]) == FINE_STRUCTURE]
    count = np.size(coefficients["value"]) if item.get("fine_structure_spline_active", True) else 0
    return {
        "fine_structure_width": float(item["fine_structure_width"]),
        "fine_structure_onset": float(item.get("fine_structure_spline_onset", 0.0)),
        "fine_structure_coefficients": int(count),
    }


_RECIPES: dict[str, Callable[[Mapping[str, Any], str, xr.DataArray, tuple[Any, ...]], Converted]] = {
    "EELSCLEdge": _edge,
    "Expression": _expression,
    "Gaussian2D": _gaussian2d,
    "PESCoreLineShape": _core_line,
    "PESVoigt": _pes_voigt,
    "Polynomial": _polynomial,
    "ScalableFixedPattern": _pattern,
    "Vignetting": _vignetting,
}
