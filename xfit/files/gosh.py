"""Tables of generalised oscillator strengths from GOSH (HDF5) files, as published for many elements."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import xarray as xr

from xfit.components.core_loss.gos import checked_gos
from xfit.display import local_path
from xfit.files.hdf5_chunks import check_packed
from xfit.files.hdf5_header import check_hdf5
from xfit.fitting.stored.reader_errors import telling


def read_gos(path: str | os.PathLike[str], edge: str) -> xr.DataArray:
    """Read the oscillator strengths of an edge from a GOSH file.

    In such a file the group of an element and table holds ``data`` (over q and energy), ``q`` (in 1/m) and
    ``free_energies`` (in eV); ``metadata/edges_info`` says which table an edge is in, and which part of its electrons
    are its own.

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
    for name in ("data", "q", "free_energies"):
        check_packed(group[name])
    values = np.squeeze(np.asarray(group["data"], np.float64).T) * float(attributes["occupancy_ratio"])
    q, energy = np.asarray(group["q"], np.float64), np.asarray(group["free_energies"], np.float64)
    if values.shape != (energy.size, q.size):
        raise ValueError(
            f"{path}: the table {stem!r} has shape {values.shape}, but {energy.size} energies and {q.size} values of q"
        )
    found = xr.DataArray(values, dims=("energy", "q"), coords={"energy": energy - energy.min(), "q": q}, name=edge)
    return checked_gos(found)
