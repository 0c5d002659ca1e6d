"""What images and columns of FITS files are: data, their noise, flags of bad data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xfit.arrays.roles import NOISE, role_of_name


def role_of(name: str, header: Any) -> str:
    """Tell what an image or column is by its name in capitals or its header: "science", "flags", or how a variance
    follows from it.
    """
    declared = str(header.get("HDUCLAS3", "")).upper()
    if str(header.get("HDUCLAS2", "")).upper() == "ERROR" and declared in NOISE:
        return NOISE[declared]
    if str(header.get("HDUCLAS2", "")).upper() == "QUALITY":
        return "flags"
    return role_of_name(name)


def owner_of(label: str, shape: tuple[int, ...], science: Sequence[tuple[Any, str, tuple[int, ...]]]) -> Any:
    """Which of the data noise or flags are of: those of their shape whose name is part of theirs,
    else the first of their shape.

    Parameters
    ----------
    label : str
        Name of the noise or flags, in capitals.
    shape : tuple of int
        Their shape.
    science : sequence of tuple
        Of data what is returned, their name in capitals, their shape.
    """
    alike = [each for each in science if each[2] == shape]
    named = [each for each in alike if each[1] in label.replace("-", "_").split("_")]
    return (named or alike)[0][0] if alike else None


def variance_of(data: Any, role: str) -> Any:
    """Make a variance out of what a file holds; NaN where an inverse says that nothing is known."""
    if role == "variance":
        return data
    if role == "deviation":
        return data * data
    if isinstance(data, np.ndarray):
        return np.where(data > 0, 1 / np.where(data > 0, data, 1), np.nan)
    return data.map_blocks(variance_of, role, dtype=np.result_type(data.dtype, np.float32))
