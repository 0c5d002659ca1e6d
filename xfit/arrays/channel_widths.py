"""Widths of channels: whether data are integrals over them, as their coordinate says, and how wide they are."""

from __future__ import annotations

import numpy as np
import xarray as xr

#: Where one step is this many times that before or after it, and the steps about it do not change likewise, half of
#: both is no width of a channel: one that is missing makes a step of twice the length, and channels of another width
#: begin so too.
_JUMP = 1.5

#: Part of the change, in logarithms, that one beside it must have where steps grow smoothly: those of squares, 1, 3, 5,
#: do so by 3 and 5/3.
_SMOOTH = 0.4


def is_binned(values: xr.DataArray) -> bool:
    """What the attribute ``is_binned`` of a coordinate says; a file may hold it as a number."""
    flag = np.asarray(values.attrs.get("is_binned", False))
    if flag.size != 1 or flag.dtype.kind not in "biuf" or float(flag.item()) not in (0.0, 1.0):
        raise ValueError(
            f"the attribute is_binned={values.attrs['is_binned']!r} of the coordinate {values.name!r} must be True or "
            "False (1 or 0)"
        )
    return bool(flag.item())


def widths_of(values: xr.DataArray, what: str = "binned=True") -> np.ndarray:
    """Widths of the channels along one dimension, by central differences.

    Parameters
    ----------
    values : DataArray
        Coordinate of the channels, of one dimension.
    what : str
        What asks for them, for messages.

    Returns
    -------
    float64 (n_channels,)

    Raises
    ------
    ValueError
        For a single channel, and for a coordinate that does not rise or fall throughout, or whose steps jump: where
        channels end is then not known.
    """
    name, d = values.name, values.dims[0]
    if values.size < 2:
        raise ValueError(f"{what} needs at least two channels along {d!r} to tell their width")
    x = np.asarray(values.values, np.float64)
    steps = np.diff(x)
    way_out = "or divide the data by the width of their channels, and fit with binned=False"
    if not ((steps > 0).all() or (steps < 0).all()):
        raise ValueError(
            f"{what} needs a coordinate {name!r} that rises or falls throughout, which tells where channels end; sort "
            f"channels that are out of order, da.sortby({name!r}), add up those that are there twice, {way_out}"
        )
    k = _jump(np.abs(steps))
    if k is not None:
        raise ValueError(
            f"{what} takes the width of channels from the steps of the coordinate {name!r}, which change from "
            f"{abs(steps[k]):g} to {abs(steps[k + 1]):g} at {x[k + 1]:g}: where channels end there is not known. Give "
            f"channels that are missing as NaN (for instance da.reindex), fit the parts by themselves, {way_out}"
        )
    return np.abs(np.gradient(x))


def _jump(steps: np.ndarray) -> int | None:
    """Number of the first step from which to the next one lengths jump; None where there is none."""
    change = np.log(steps[1:] / steps[:-1])
    around = np.concatenate([[0.0], change, [0.0]])
    # In the direction of the change itself.
    beside = np.maximum(np.sign(change) * around[:-2], np.sign(change) * around[2:])
    found = np.flatnonzero((np.abs(change) > np.log(_JUMP)) & (beside < _SMOOTH * np.abs(change)))
    return int(found[0]) if found.size else None
