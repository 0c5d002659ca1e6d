"""What a stored run is of, in words and numbers that are the same in every process, and
what differs between two of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
from dask.base import tokenize

from xfit.display import cleaned
from xfit.engine.losses import Loss
from xfit.fitting.planning.fit_spec import table_of
from xfit.fitting.planning.plan import Plan
from xfit.fitting.running.chunk_grid import ChunkGrid
from xfit.fitting.running.worker_watch import computed
from xfit.fitting.stored.description import FORMAT
from xfit.results.assembly import SCHEMA_VERSION
from xfit.results.component_digests import digests_of

#: Options by the name that stored runs have for them, where it is another.
_STORED_AS = {"optimizer_options": "further"}

#: Chunks of a lazy array that its fingerprint reads: a whole one would be read twice otherwise.
_SAMPLES = 3


def manifest_of(plan: Plan, grid: ChunkGrid, inner: Mapping[str, int]) -> dict[str, Any]:
    """Describe a run.

    Returns
    -------
    dict
        JSON: format versions, shapes, chunks, coordinates, fingerprints of the arrays' content, the model and the
        options.
    """
    options = plan.fit_spec.options
    settings = plan.fit_spec.settings
    roles = ["data", *(f"{role} {name}".strip() for role, name, _ in plan.fit_spec.roles)]
    arrays = [plan.da, *plan.extra]
    return {
        "format": FORMAT,
        "schema": SCHEMA_VERSION,
        "shape": {str(d): int(n) for d, n in plan.da.sizes.items()},
        "dtype": str(plan.da.dtype),
        "chunks": {str(d): list(sizes) for d, sizes in zip(plan.axes.navigation, grid.chunks, strict=True)},
        "name": None if plan.da.name is None else str(plan.da.name),
        "attributes": {str(name): _attribute(value) for name, value in plan.da.attrs.items()},
        "labels": {str(name): _labels(c) for name, c in plan.da.coords.items()},
        "coordinates": tokenize(table_of(plan.axes), plan.axes.names),
        "content": {role: _fingerprint(array) for role, array in zip(roles, arrays, strict=True)},
        "model": plan.model.to_json(),
        "start": settings.start.tolist(),
        "lower": _numbers(settings.lower),
        "upper": _numbers(settings.upper),
        "free": settings.free.tolist(),
        "active": settings.active.tolist(),
        "variance": plan.fit_spec.variance,
        "options": {
            _STORED_AS.get(name, name): _plain(getattr(options, name)) for name in options.__dataclass_fields__
        },
        "estimates": tokenize(plan.fit_spec.estimations),
        "path": plan.fit_spec.path,
        "layout": dict(inner),
        **({"component": digests} if (digests := digests_of(plan.model, plan.fit_spec.program.kernels)) else {}),
    }


def _attribute(value: Any) -> Any:
    """An attribute of the data as JSON has it, the same in every process."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str | int | float | bool | None):
        return value if value == value else "nan"
    if isinstance(value, np.ndarray):
        return digest_of(value)
    if isinstance(value, Mapping):
        return [[str(name), _attribute(each)] for name, each in value.items()]
    return list(map(_attribute, value)) if isinstance(value, list | tuple) else type(value).__name__


def _labels(coordinate: xr.DataArray) -> dict[str, Any]:
    """What a coordinate says: its dimensions, a digest of its values, its attributes."""
    return {
        "dims": list(map(str, coordinate.dims)),
        "values": digest_of(coordinate.values),
        **({"attributes": {str(k): _attribute(v) for k, v in coordinate.attrs.items()}} if coordinate.attrs else {}),
    }


def digest_of(values: np.ndarray) -> str:
    """A digest of type, shape and content; of objects by their words."""
    found = hashlib.sha256()
    values = np.asarray(values)
    add_content(found, values if values.dtype.kind not in "OT" else np.array([str(v) for v in values.ravel()]))
    return found.hexdigest()


def _numbers(values: np.ndarray) -> list[Any]:
    return [float(v) if np.isfinite(v) else repr(float(v)) for v in values]


def _plain(value: Any) -> Any:
    """An option as JSON has it."""
    if isinstance(value, Loss):
        return {"name": value.name, "scale": value.scale, "rest": tokenize(value)}
    return value if isinstance(value, str | int | float | bool | None) else tokenize(value)


def _fingerprint(array: xr.DataArray) -> str:
    """Of the content: of all numbers in memory; of lazy ones of a few chunks, for all would
    be as long a read as the run.
    """
    found = hashlib.sha256()
    for block in [array.values] if array.chunks is None else _sample(array.data):
        add_content(found, block)
    return found.hexdigest()


def add_content(found: Any, block: np.ndarray) -> None:
    """Add the type, shape and numbers of an array to a hash."""
    found.update(f"{block.dtype} {block.shape}".encode())
    found.update(np.ascontiguousarray(block).tobytes())


def _sample(lazy: Any) -> Iterator[np.ndarray]:
    """A few blocks of a dask array, read one after the other."""
    for place in np.unique(np.linspace(0, lazy.npartitions - 1, _SAMPLES).astype(int)):
        yield np.asarray(computed(lazy.blocks[np.unravel_index(place, lazy.numblocks)])[0])


#: Of what is by name: how the names are said.
_OF = {
    "content": "content of ",
    "component": "the function or formula of component ",
    "labels": "coordinate ",
    "attributes": "attribute ",
}


def differences(stored: Mapping[str, Any], given: Mapping[str, Any], within: str = "") -> list[str]:
    """In what two runs differ, with both values where these are short words or numbers."""
    found = []
    # What a stored run knows besides is not what it is of.
    for key in {**stored, **given} if within else given:
        old, new = stored.get(key), given.get(key)
        if old == new:
            continue
        name = f"{within}{key}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{name}: " if within else _OF.get(key, f"{name}: "))
        elif any(isinstance(value, Mapping) or (isinstance(value, str) and len(value) > 20) for value in (old, new)):
            found.append(cleaned(name))
        else:
            found.append(f"{cleaned(name)} (stored {_short(old)}, given {_short(new)})")
    return found


def _short(value: Any) -> str:
    text = cleaned(repr(value))
    return text if len(text) <= 40 else f"{text[:37]}..."
