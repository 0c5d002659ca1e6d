"""What a .npy file claims, checked against its size."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from xfit.fitting.stored.codecs import RefusedFileError
from xfit.modeling.text_limits import amount

#: Most bytes of a header; NumPy reads 10,000 letters of one that it does not trust.
_LONGEST_HEADER = 10_000


def check_npy(path: Path) -> None:
    """Refuse a .npy file that holds Python objects, or fewer numbers than it claims.

    Raises
    ------
    RefusedFileError
        With the figures.
    ValueError
        For what is no .npy file.
    """
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise RefusedFileError(f"{path}: version {version} of .npy is not read")
        shape, _, dtype = read(file, max_header_size=_LONGEST_HEADER)
        there = path.stat().st_size - file.tell()
    if dtype.hasobject:
        raise RefusedFileError(f"{path} holds pickled Python objects, which are not read")
    if any(n < 0 for n in shape):
        raise RefusedFileError(f"{path} claims a shape of {shape}")
    claimed = math.prod(shape) * dtype.itemsize
    if claimed > there:
        raise RefusedFileError(f"{path} claims a shape of {shape} of {dtype}, {amount(claimed)} bytes; it has {there}")
