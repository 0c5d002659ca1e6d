"""Blocks of chunked arrays: taken as dask hands them over, and laid out as pixels x channels."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np


def only(block: Any) -> Any:
    """Take the one block out of the lists that blockwise wraps around contracted dimensions."""
    while isinstance(block, list):
        (block,) = block
    return block


def spread(
    array: np.ndarray, dims: tuple[Hashable, ...], wanted: tuple[Hashable, ...], shape: tuple[int, ...]
) -> np.ndarray:
    """View an array over some of the wanted dimensions as one over all of them."""
    at = tuple(slice(None) if d in dims else None for d in wanted)
    ordered = array.transpose([dims.index(d) for d in wanted if d in dims])
    view = ordered[at]
    # What needs no broadcasting stays writeable, which the engine takes without a copy.
    return view if view.shape == tuple(shape) else np.broadcast_to(view, shape)


def flat(
    array: np.ndarray,
    dims: tuple[Hashable, ...],
    navigation: tuple[Hashable, ...],
    signal: tuple[Hashable, ...],
    shape: tuple[int, ...],
) -> np.ndarray:
    """Pixels x channels of an array over some of the navigation and signal dimensions; one
    row where all pixels share it.

    ``shape`` is that of all of these dimensions.
    """
    n = len(navigation)
    if not set(dims) & set(navigation):
        return spread(array, dims, signal, shape[n:]).reshape(1, -1)
    return spread(array, dims, navigation + signal, shape).reshape(int(np.prod(shape[:n])), -1)
