"""Edges of inner-shell ionisation in electron energy-loss spectra."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import xarray as xr

from xfit.components.core_loss.cross_sections import (
    ANGLES,
    MAX_BEAM_ENERGY,
    SHIFT,
    Edge,
    EdgeTable,
    check_edge,
    edge_of,
    effective_angle,
    hydrogenic_tables,
    l_exponent,
    tabulated,
)
from xfit.components.core_loss.fine_structure import FineStructure, fine_structure_of
from xfit.components.core_loss.gos import checked_gos
from xfit.formulas.kernel_spec import FormulaKernel, Lookup
from xfit.modeling.component import Component, Spec, library
from xfit.modeling.number_arrays import number_array


@library
class EELSCLEdge(Component):
    r"""Core-loss edge: differential cross-section of inner-shell ionisation.

    .. math:: f(E) = \mathrm{intensity}\; \frac{d\sigma}{dE}\bigg(E - \Delta, \mathrm{effective\_angle}\bigg), \quad
        \Delta = \mathrm{onset\_energy} - E_0

    From hydrogenic wave functions (R. F. Egerton's SIGMAK and SIGMAL), or from a table of generalised oscillator
    strengths; see `xfit.components.core_loss.cross_sections`. Far above the edge a power law goes on. Values are looked
    up in a table, to 0.03 %.

    Parameters
    ----------
    edge : str
        Such as "C_K" or "Fe_L3"; the hydrogenic one of L3 is that of all L electrons. Edges other than K and L3 need
        ``gos``.
    beam_energy : float
        In keV.
    collection_angle : float
        Semi-angle of the collection aperture, in mrad.
    convergence_angle : float
        Semi-angle of the convergent beam, in mrad; with it the effective angle is computed (Egerton's CONCOR2).
    gos : DataArray or mapping, optional
        Generalised oscillator strengths, as `xfit.read_gos` reads them; or plain data as `options` gives them. By
        default hydrogenic ones.
    name : str, optional
        Name of the component; by default that of the edge.
    fine_structure_width : float, optional
        Energy in eV above ``onset_energy`` below which fine structure takes the place of the cross-section; by default
        there is none. It needs ``fine_structure_coefficients``.
    fine_structure_onset : float, optional
        Energy in eV above ``onset_energy`` where the fine structure begins; below it there is nothing.
    fine_structure_coefficients : int, optional
        Number of cubic B-splines that make up the fine structure: 4 is a cubic, and about one for each three channels
        follows white lines. Zero for nothing, where peaks of their own stand for it.
    intensity : float
        Factor: the areal density of the atoms per barn, times the counts of the incident beam; at least zero by
        default.
    onset_energy : float
        Energy of the edge, in eV as x must be; fixed by default at the tabulated one.
    effective_angle : float
        Effective collection angle in mrad, from 1 to 150; fixed by default.
    onset_width : float
        Energy in eV over which the edge rises, in a straight line; fixed by default at 1. With that of a channel the
        edge is what falls into each channel, and can be shifted by parts of one.
    fine_structure_0, fine_structure_1, ... : float
        Coefficients of the B-splines, in units of the data; with leading zeros from ten of them on.

    Raises
    ------
    TypeError, ValueError
        For an edge that is not known, for energies and angles that can't be, and for a ``fine_structure_width`` without
        coefficients.

    Notes
    -----
    Parameterised as eXSpy's EELSCLEdge but for ``onset_width``, for there an edge rises at once, and for the fine
    structure: the splines are the same, eXSpy's coefficients are these over the intensity. Here all amplitudes are
    linear, and with the others fixed the fit is. eXSpy integrates to 0.1 % (rounded constants) and interpolates in
    straight lines.

    Examples
    --------
    >>> from xfit.components import EELSCLEdge
    >>> carbon = EELSCLEdge("C_K", beam_energy=200, collection_angle=20)
    >>> carbon.onset_energy
    <Parameter C_K.onset_energy: 284, fixed>
    """

    specs = {
        "intensity": Spec(
            1.0, min=0.0, linear=True, dimension={"data": 1.0}, description="factor of the cross-section"
        ),
        "onset_energy": Spec(0.0, free=False, dimension={"x": 1.0}, description="energy of the edge"),
        "effective_angle": Spec(
            10.0,
            min=ANGLES[0],
            max=ANGLES[1],
            free=False,
            dimension={},
            description="effective collection angle in mrad",
        ),
        "onset_width": Spec(
            1.0, min=1e-6, free=False, dimension={"x": 1.0}, description="energy over which the edge rises"
        ),
    }
    position = "onset_energy"
    _options: dict[str, Any]
    _kernel: FormulaKernel

    def __init__(
        self,
        edge: str,
        beam_energy: float,
        collection_angle: float,
        convergence_angle: float = 0.0,
        gos: xr.DataArray | Mapping[str, Any] | None = None,
        name: str | None = None,
        *,
        fine_structure_width: float | None = None,
        fine_structure_onset: float = 0.0,
        fine_structure_coefficients: int | None = None,
        **values: Any,
    ) -> None:
        known = edge_of(edge)
        angles = {"collection_angle": collection_angle, "convergence_angle": convergence_angle}
        _check_number("beam_energy", beam_energy, 1.0, MAX_BEAM_ENERGY, "keV")
        _check_number("collection_angle", collection_angle, 1e-3, 1e3, "mrad")
        _check_number("convergence_angle", convergence_angle, 0.0, 1e3, "mrad")
        check_edge(known, beam_energy, hydrogenic=gos is None)
        angle = min(
            max(effective_angle(beam_energy, known.onset, convergence_angle, collection_angle), ANGLES[0]), ANGLES[1]
        )
        table = None if gos is None else _gos_of(gos)
        fine = fine_structure_of(fine_structure_width, fine_structure_onset, fine_structure_coefficients)
        specs = self._specs(known, angle, fine)
        self._begin(edge if name is None else name, {key: spec.make(key) for key, spec in specs.items()}, values)
        stored = {"edge": edge, "beam_energy": float(beam_energy), **{key: float(a) for key, a in angles.items()}}
        stored |= {"gos": None if table is None else _plain(table)}
        if fine is not None:
            stored |= {f"fine_structure_{key}": value for key, value in asdict(fine).items()}
        object.__setattr__(
            self, "correlated", tuple((key, "intensity") for key in ([] if fine is None else fine.names()))
        )
        object.__setattr__(self, "_options", stored)
        object.__setattr__(self, "_kernel", _kernel_of(known, table, float(beam_energy), tuple(specs), angle, fine))

    def _specs(self, edge: Edge, angle: float, fine: FineStructure | None) -> dict[str, Spec]:
        """What its parameters are."""
        made = {"onset_energy": edge.onset, "effective_angle": angle}
        specs = {key: replace(spec, value=made.get(key, spec.value)) for key, spec in self.specs.items()}
        coefficient = Spec(0.0, linear=True, dimension={"data": 1.0}, description="coefficient of the fine structure")
        return specs | dict.fromkeys([] if fine is None else fine.names(), coefficient)

    @property
    def options(self) -> dict[str, Any]:
        """Edge, beam, angles, and the oscillator strengths and what is said of a fine structure if they were given."""
        return dict(self._options)

    def check_reach(self, values: Mapping[str, float], *coordinates: np.ndarray) -> None:
        """Refuse collection angles that the tables don't have; energies beyond them follow a power law."""
        low, high = ANGLES
        angle = self["effective_angle"]
        ends = (angle.min, angle.max) if angle.free else ()
        if not all(low <= each <= high for each in (values["effective_angle"], *ends)):
            raise ValueError(
                f"component {self.name!r}: the tables of cross-sections are of effective angles from {low:g} to "
                f"{high:g} mrad; the value {values['effective_angle']:g}{' or a bound' if ends else ''} lies beyond"
            )

    @property
    def kernel(self) -> FormulaKernel:
        """The cross-section, looked up."""
        return self._kernel


def _kernel_of(
    edge: Edge,
    gos: xr.DataArray | None,
    beam_energy: float,
    parameters: tuple[str, ...],
    angle: float,
    fine: FineStructure | None,
) -> FormulaKernel:
    """Write the formula: the cross-section, its rise, and the fine structure in its place below."""
    value, lookups = _cross_section(edge, gos, beam_energy, angle)
    begins, splines = (0.0, None) if fine is None else (fine.width, None)
    text = f"intensity*{_rise(begins)}*{value}"
    if fine is not None and fine.coefficients:
        splines = fine.splines("fine_structure")
        text += f" + {_rise(fine.onset)}*(1 - {_rise(begins)})*fine_structure"
    amplitudes = ("intensity", *([] if fine is None else fine.names()))
    constants = tuple(name for name in parameters if name not in amplitudes)
    return FormulaKernel(text, ("x",), parameters, constants, lookups=lookups, splines=splines)


def _rise(begins: float) -> str:
    """Formula of a straight rise from zero to one, so far above the edge."""
    beyond = f" - {begins!r}" if begins else ""
    return f"minimum(maximum((x - onset_energy{beyond})/onset_width + 1/2, 0), 1)"


def _cross_section(
    edge: Edge, gos: xr.DataArray | None, beam_energy: float, angle: float
) -> tuple[str, tuple[Lookup, ...]]:
    """Write the cross-section: tables up to their end, a power law beyond it, and the factor for L shells."""
    tables = hydrogenic_tables(edge, beam_energy) if gos is None else (tabulated(gos, edge.onset, beam_energy),)
    last, scale = tables[0].last, tables[0].scale
    excess = f"minimum(maximum(x - onset_energy, 0), {last!r})"
    arguments = (f"log(1 + {excess}/{scale!r})", "log(effective_angle)")
    names = ("first", "second")[: len(tables)]
    value = "exp(first)"
    if len(tables) == 2:
        value = f"where(x - onset_energy > {edge.second!r}, exp(second), exp(first))"
    if gos is None and not edge.is_k:
        exponent = l_exponent(edge.number)
        value += f"*((maximum(x - onset_energy, 0) + {SHIFT!r})/{1.8 * edge.number**2!r})**{exponent!r}"
    falls = _exponent_at_the_end(tables[-1], edge.onset, angle)
    value += f"*maximum((x - onset_energy + {edge.onset!r})/{edge.onset + last!r}, 1)**({-falls!r})"
    return value, tuple(Lookup(name, each.table, arguments) for name, each in zip(names, tables, strict=True))


def _exponent_at_the_end(table: EdgeTable, onset: float, angle: float) -> float:
    """Exponent of the power law through the last two energies of a table."""
    u, v = table.table.points
    column = int(np.abs(v - math.log(angle)).argmin())
    energies = onset + table.scale * np.expm1(u[-2:])
    return float(-np.diff(table.table.values[-2:, column])[0] / np.diff(np.log(energies))[0])


def _check_number(name: str, value: Any, low: float, high: float, units: str) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}={value!r} must be a number, in {units}")
    if not low <= float(value) <= high:
        raise ValueError(f"{name}={value!r} must lie between {low:g} and {high:g} {units}")


def _gos_of(gos: Any) -> xr.DataArray:
    """Check oscillator strengths, given as an array or as plain data."""
    if not isinstance(gos, Mapping):
        return checked_gos(gos)
    if set(gos) != {"energy", "q", "values"}:
        raise ValueError(f"gos has the entries {sorted(map(str, gos))}; it must have 'energy', 'q' and 'values'")
    if not isinstance(gos["values"], list):
        raise TypeError("gos: values must be a list of rows")
    energy, q = number_array(gos["energy"], "gos: energy"), number_array(gos["q"], "gos: q")
    rows = [number_array(row, "gos: a row of values") for row in gos["values"]]
    if [row.size for row in rows] != [q.size] * energy.size:
        raise ValueError(f"gos: values must be {energy.size} rows of {q.size} numbers")
    return checked_gos(xr.DataArray(np.array(rows), dims=("energy", "q"), coords={"energy": energy, "q": q}))


def _plain(gos: xr.DataArray) -> dict[str, Any]:
    """Oscillator strengths as plain data."""
    return {"energy": gos["energy"].values.tolist(), "q": gos["q"].values.tolist(), "values": gos.values.tolist()}
