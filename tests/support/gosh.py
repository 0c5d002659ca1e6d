"""Tables of oscillator strengths, and files that hold them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import xarray as xr

from xfit.components.core_loss.cross_sections import (
    BOHR_RADIUS,
    edge_of,
    strength_k,
    strength_l,
)


def table_of(name: str) -> xr.DataArray:
    """Hydrogenic strengths as a user's table."""
    edge = edge_of(name)
    excess, q = np.concatenate([[0.0], np.geomspace(0.5, 3000, 400)]), np.geomspace(1e8, 1e13, 400)
    energy, q2 = (edge.onset + excess)[:, None], (q * BOHR_RADIUS)[None, :] ** 2
    values = strength_k(edge.number, energy, q2) if edge.is_k else strength_l(edge.number, energy, q2, False)
    return xr.DataArray(values, dims=("energy", "q"), coords={"energy": excess, "q": q})


def gosh(path: Path, gos: xr.DataArray, ratio: float = 1.0, edge: str = "C_K", **leave_out: bool) -> Path:
    """Write a table into a GOSH file, beside those that it has."""
    element, shell = edge.split("_")
    with h5py.File(path, "a") as file:
        info = file.create_group(f"metadata/edges_info/{shell}")
        info.attrs["table"], info.attrs["occupancy_ratio"] = f"{shell}1", ratio
        file.require_group("metadata/data_ref").attrs["data_doi"] = "none"
        group = file.create_group(f"{element}/{shell}1")
        group["data"] = gos.values.T[None]
        group["free_energies"] = gos["energy"].values + 0.01
        if not leave_out.get("q"):
            group["q"] = gos["q"].values[: -1 if leave_out.get("one") else None]
    return path
