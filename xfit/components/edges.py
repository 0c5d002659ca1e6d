"""Edges of inner-shell ionisation in electron energy-loss spectra."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from xfit.component import Component, Spec
from xfit.edges import (
    ANGLES,
    MAX_BEAM_ENERGY,
    SHIFT,
    EdgeTable,
    edge_of,
    effective_angle,
    hydrogenic_tables,
    l_exponent,
    tabulated,
)
from xfit.gos import checked_gos
from xfit.kernel_description import FormulaKernel, Lookup
from xfit.plain_data import number_array


class EELSCLEdge(Component):
    r"""Core-loss edge: differential cross-section of inner-shell ionisation.

    .. math:: f(E) = \mathrm{intensity}\; \frac{d\sigma}{dE}\bigg(E - \Delta, \mathrm{effective\_angle}\bigg), \quad
        \Delta = \mathrm{onset\_energy} - E_0

    From hydrogenic wave functions (R. F. Egerton's SIGMAK and SIGMAL), or from a table of generalised oscillator strengths; see
    `xfit.edges`. Far above the edge a power law goes on. Values are looked up in a table, to 0.03 %.

    Parameters
    ----------
    edge : str
        Such as "C_K" or "Fe_L3"; the hydrogenic one of L3 is that of all L electrons.
    beam_energy : float
        In keV.
    collection_angle : float
        Semi-angle of the collection aperture, in mrad.
    convergence_angle : float
        Semi-angle of the convergent beam, in mrad; with it the effective angle is computed (Egerton's CONCOR2).
    gos : DataArray or mapping, optional
        Generalised oscillator strengths, as `xfit.gos.read_gos` reads them; or plain data as `options` gives them. By default
        hydrogenic ones.
    name : str, optional
        Name of the component; by default that of the edge.
    intensity : float
        Factor: the areal density of the atoms per barn, times the counts of the incident beam; at least zero by default.
    onset_energy : float
        Energy of the edge, in eV as x must be; fixed by default at the tabulated one.
    effective_angle : float
        Effective collection angle in mrad, from 1 to 150; fixed by default.
    onset_width : float
        Energy in eV over which the edge rises, in a straight line; fixed by default at 1. With that of a channel the edge is
        what falls into each channel, and can be shifted by parts of one.

    Raises
    ------
    TypeError, ValueError
        For an edge that is not known, and for energies and angles that can't be.

    Notes
    -----
    Parameterised as eXSpy's EELSCLEdge but for ``onset_width``: there an edge rises at once, and its fine structure is part of the
    component. eXSpy integrates to 0.1 % (rounded constants) and interpolates in straight lines.

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
        **values: Any,
    ) -> None:
        known = edge_of(edge)
        angles = {"collection_angle": collection_angle, "convergence_angle": convergence_angle}
        _check_number("beam_energy", beam_energy, 1.0, MAX_BEAM_ENERGY, "keV")
        _check_number("collection_angle", collection_angle, 1e-3, 1e3, "mrad")
        _check_number("convergence_angle", convergence_angle, 0.0, 1e3, "mrad")
        angle = min(
            max(effective_angle(beam_energy, known.onset, convergence_angle, collection_angle), ANGLES[0]), ANGLES[1]
        )
        made = {"onset_energy": known.onset, "effective_angle": angle}
        specs = {key: replace(spec, value=made.get(key, spec.value)) for key, spec in self.specs.items()}
        table = None if gos is None else _gos_of(gos)
        self._begin(edge if name is None else name, {key: spec.make(key) for key, spec in specs.items()}, values)
        stored = {"edge": edge, "beam_energy": float(beam_energy), **{key: float(a) for key, a in angles.items()}}
        object.__setattr__(self, "_options", stored | {"gos": None if table is None else _plain(table)})
        if table is None:
            tables = hydrogenic_tables(known, float(beam_energy))
            exponent = None if known.is_k else l_exponent(known.number)
        else:
            tables, exponent = (tabulated(table, known.onset, float(beam_energy)),), None
        parameters = tuple(self._by_name)
        kernel = _kernel_of(tables, parameters, known.onset, known.second, known.number, exponent, angle)
        object.__setattr__(self, "_kernel", kernel)

    @property
    def options(self) -> dict[str, Any]:
        """Edge, beam, angles, and the oscillator strengths if they were given."""
        return dict(self._options)

    @property
    def kernel(self) -> FormulaKernel:
        """The cross-section, looked up."""
        return self._kernel


def _kernel_of(
    tables: tuple[EdgeTable, ...],
    parameters: tuple[str, ...],
    onset: float,
    second: float,
    number: int,
    exponent: float | None,
    angle: float,
) -> FormulaKernel:
    """Write the formula: tables up to their end, a power law beyond it, the factor for L shells, and the rise."""
    last, scale = tables[0].last, tables[0].scale
    excess = f"minimum(maximum(x - onset_energy, 0), {last!r})"
    arguments = (f"log(1 + {excess}/{scale!r})", "log(effective_angle)")
    names = ("first", "second")[: len(tables)]
    value = "exp(first)" if len(tables) == 1 else f"where(x - onset_energy > {second!r}, exp(second), exp(first))"
    if exponent is not None:
        value += f"*((maximum(x - onset_energy, 0) + {SHIFT!r})/{1.8 * number**2!r})**{exponent!r}"
    falls = _exponent_at_the_end(tables[-1], onset, angle)
    beyond = f"maximum((x - onset_energy + {onset!r})/{onset + last!r}, 1)**({-falls!r})"
    text = f"intensity*minimum(maximum((x - onset_energy)/onset_width + 1/2, 0), 1)*{value}*{beyond}"
    lookups = tuple(Lookup(name, each.table, arguments) for name, each in zip(names, tables, strict=True))
    constants = tuple(name for name in parameters if name != "intensity")
    return FormulaKernel(text, ("x",), parameters, constants, lookups=lookups)


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
