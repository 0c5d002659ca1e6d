"""Tables of generalised oscillator strengths, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr


def checked_gos(gos: Any) -> xr.DataArray:
    """Return a table of oscillator strengths, with both coordinates rising.

    Raises
    ------
    TypeError, ValueError
        For anything but finite numbers of zero and above over ``energy`` (from zero, in eV) and ``q`` (above zero, in
        1/m).
    """
    if not isinstance(gos, xr.DataArray):
        raise TypeError(f"gos must be an xarray.DataArray over 'energy' and 'q', not {type(gos).__name__}")
    if set(gos.dims) != {"energy", "q"} or not {"energy", "q"} <= set(gos.coords):
        raise ValueError(f"gos has dimensions {list(gos.dims)}; it must have 'energy' and 'q', with coordinates")
    gos = gos.astype(np.float64).sortby(["energy", "q"]).transpose("energy", "q")
    if gos.sizes["energy"] < 2 or gos.sizes["q"] < 2:
        raise ValueError(f"gos has shape {gos.shape}; it needs at least two energies and two values of q")
    energy, q = gos["energy"].values, gos["q"].values
    if not (np.isfinite(gos.values).all() and np.isfinite(energy).all() and np.isfinite(q).all()):
        raise ValueError("gos is not finite everywhere")
    if (gos.values < 0).any():
        raise ValueError(f"gos has {int((gos.values < 0).sum())} values below zero; oscillator strengths are not")
    if energy[0] != 0 or not (np.diff(energy) > 0).all():
        raise ValueError("gos: the energies must begin at zero (they are counted from the edge), each of them once")
    if q[0] <= 0 or not (np.diff(q) > 0).all():
        raise ValueError("gos: the values of q must be above zero, each of them once")
    return gos
