"""Tables of generalised oscillator strengths from files: GOSH (HDF5) files, as published for many elements, and any xarray array."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import xarray as xr

from xfit.addresses import local_path
from xfit.files.telling import telling


def read_gos(path: str | os.PathLike[str], edge: str) -> xr.DataArray:
    """Read the oscillator strengths of an edge from a GOSH file.

    In such a file the group of an element and table holds ``data`` (over q and energy), ``q`` (in 1/m) and ``free_energies``
    (in eV); ``metadata/edges_info`` says which table an edge is in, and which part of its electrons are its own.

    Parameters
    ----------
    path : path-like
        The file.
    edge : str
        Such as "Fe_L3".

    Returns
    -------
    DataArray
        Per eV and atom, over ``energy`` (above the edge, in eV) and ``q`` (in 1/m).

    Raises
    ------
    ImportError
        Without h5py.
    FileNotFoundError, ValueError
        Where there is no such file, or it has no such edge, or is no GOSH file.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError("reading a GOSH file needs h5py: install it with `pip install xfit[io]`") from error
    from xfit.files.hdf5_claims import check_hdf5

    place = local_path(path)
    with telling(place, "a GOSH file"):
        if not place.is_file():
            raise FileNotFoundError(f"there is no file {str(place)!r}")
        check_hdf5(place)
        with h5py.File(place, "r") as file:
            return _gos_in(file, edge, str(place))


def _gos_in(file: Any, edge: str, path: str) -> xr.DataArray:
    """The oscillator strengths of an edge in an open file."""
    element, _, shell = edge.partition("_")
    if "metadata/edges_info" not in file:
        raise ValueError(f"{path} has no group 'metadata/edges_info': it is no GOSH file")
    shells = file["metadata/edges_info"]
    if shell not in shells:
        raise ValueError(f"{path} has no edge {edge!r}; its shells are {sorted(shells)}")
    attributes = shells[shell].attrs
    stem = f"{element}/{attributes['table']}"
    if stem not in file:
        elements = sorted(name for name in file if name != "metadata")
        raise ValueError(f"{path} has no table {stem!r} for {edge!r}; its elements are {elements}")
    group = file[stem]
    missing = [name for name in ("data", "q", "free_energies") if name not in group]
    if missing:
        raise ValueError(f"{path}: the table {stem!r} lacks {missing}")
    values = np.squeeze(np.asarray(group["data"], np.float64).T) * float(attributes["occupancy_ratio"])
    q, energy = np.asarray(group["q"], np.float64), np.asarray(group["free_energies"], np.float64)
    if values.shape != (energy.size, q.size):
        raise ValueError(
            f"{path}: the table {stem!r} has shape {values.shape}, but {energy.size} energies and {q.size} values of q"
        )
    found = xr.DataArray(values, dims=("energy", "q"), coords={"energy": energy - energy.min(), "q": q}, name=edge)
    return checked_gos(found)


def checked_gos(gos: Any) -> xr.DataArray:
    """Return a table of oscillator strengths, with both coordinates rising.

    Raises
    ------
    TypeError, ValueError
        For anything but finite numbers of zero and above over ``energy`` (from zero, in eV) and ``q`` (above zero, in 1/m).
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
