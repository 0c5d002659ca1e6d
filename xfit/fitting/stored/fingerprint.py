"""The signal that a fit is of: found among the variables of a Dataset, told by its
fingerprint, compared with what it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import dask
import numpy as np
import xarray as xr

from xfit.display import cleaned, without_secrets
from xfit.fitting.running.worker_watch import computed
from xfit.fitting.stored.manifest import differences, digest_of
from xfit.results.fit_result import FitResult

#: Bytes up to which all of a signal is read for its fingerprint.
WHOLE = 512 * 2**20

#: Chunks that are read of a larger one.
_SAMPLES = 32


def signal_of(arrays: Mapping[Any, xr.DataArray], fit: xr.Dataset, variable: str | None, place: object) -> xr.DataArray:
    """Find the array that was fitted: the one that has the dimensions of the fit.

    Parameters
    ----------
    arrays : mapping of str to DataArray
        Where to look.
    fit : Dataset
        The result.
    variable : str or None
        Which, where several have them.
    place : object
        What these are called in messages.

    Raises
    ------
    ValueError
        If no variable, or more than one, can be it.
    """
    result = FitResult(fit)
    wanted = {*map(str, result.navigation_dims), *result.signal_dims}
    fitting = [str(name) for name, each in arrays.items() if set(map(str, each.dims)) == wanted]
    fitting.sort()
    if variable is None and len(fitting) == 1:
        variable = fitting[0]
    if variable not in fitting:
        there = {str(name): each.dims for name, each in arrays.items()}
        chosen = "" if variable is None else f"variable {variable!r} is not among them; "
        raise ValueError(
            f"{chosen}{without_secrets(place)} has the variables {there}, of which {fitting or 'none'} have the "
            f"dimensions of the fit, {sorted(wanted)}; name one"
        )
    return arrays[variable]


def check_belongs(fit: xr.Dataset, da: xr.DataArray) -> None:
    """Refuse a fit that can't be of a signal, or a part of it.

    Raises
    ------
    ValueError
        Naming the dimension along which the fit has labels, or positions, that the signal lacks.
    """
    for d in da.dims:
        size = fit.sizes.get(d)
        there = fit[d].values if d in fit.coords else np.arange(size or 0)
        missing = there[~np.isin(there, da[d].values)]
        if missing.size:
            raise ValueError(
                f"the fit is not of {da.name!r}: along {d!r} it has {_few(missing)} which the signal has not; it must "
                "be a fit of the signal, or of a part of it"
            )


def _few(values: np.ndarray) -> str:
    words = cleaned(", ".join(map(str, values[:3].tolist())))
    return words if values.size <= 3 else f"{words} and {values.size - 3} more,"


def fingerprint_of(da: xr.DataArray) -> dict[str, Any]:
    """Describe a signal by words, numbers and digests.

    Returns
    -------
    dict
        JSON: name, sizes, type, chunks, a digest of each coordinate along a dimension, and of the content: of all of it
        up to `WHOLE` bytes, of chunks evenly spread over a larger one.
    """
    return {
        "variable": str(da.name),
        "shape": {str(d): int(n) for d, n in da.sizes.items()},
        "dtype": str(da.dtype),
        "chunks": None if da.chunks is None else [list(sizes) for sizes in da.chunks],
        "coordinates": {str(d): digest_of(da[d].values) for d in da.dims if d in da.coords},
        "content": _content(da),
    }


def changes(stored: Mapping[str, Any], da: xr.DataArray) -> list[str]:
    """In what a signal differs from what it was when its fingerprint was made."""
    now = fingerprint_of(da)
    for key in ("shape", "coordinates"):
        now[key] = {**dict.fromkeys(stored[key]), **now[key]}
    found = differences(stored, now)
    # The digests of other chunks are others, whatever they hold.
    return [each for each in found if each != "content"] if stored["chunks"] != now["chunks"] else found


def _content(da: xr.DataArray) -> str:
    if da.chunks is None:
        return digest_of(da.values)
    blocks = da.data.to_delayed().ravel()
    if da.nbytes > WHOLE:
        blocks = blocks[np.unique(np.linspace(0, blocks.size - 1, _SAMPLES).astype(int))]
    digest = dask.delayed(digest_of)
    # By the tasks that read them: what comes back is a word for each chunk.
    digests = computed(*[digest(block) for block in blocks])
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()
