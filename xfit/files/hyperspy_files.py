"""The layout of HyperSpy's files, written: .hspy in HDF5, .zspy in zarr."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

#: Version of the layout, that of RosettaSciIO 0.15.
_VERSION = "3.3"

#: Size of a piece of an array in the file, in bytes.
_PIECE = 1 << 20


def write_hspy(path: Path, signals: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Write signals into an HDF5 file.

    Parameters
    ----------
    path : Path
        Which must not be there.
    signals : iterable of (str, mapping)
        Names, no two alike, and dictionaries as of `xfit.files.signals.array_to_signal`.
    """
    import h5py

    with h5py.File(path, "x") as file:
        file.attrs.update(file_format="HyperSpy", file_format_version=_VERSION)
        # In the order of writing, which HDF5 forgets otherwise.
        _write_experiments(_Hdf5(), file.create_group("Experiments", track_order=True), signals)


def write_zspy(path: Path, signals: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Write signals into a folder in zarr's format 2, which all programs that know .zspy read; see `write_hspy`."""
    import zarr

    root = zarr.open_group(str(path), mode="w-", zarr_format=2)
    root.attrs.update({"file_format": "ZSpy", "file_format_version": _VERSION})
    _write_experiments(_Zarr(), root.create_group("Experiments"), signals)


class _Hdf5:
    """Arrays in HDF5."""

    def numbers(self, group: Any, name: str, data: Any, pieces: tuple[int, ...]) -> None:
        packed: dict[str, Any] = {"chunks": pieces, "compression": "gzip", "shuffle": True} if pieces else {}
        target = group.create_dataset(name, data.shape, data.dtype, **packed)
        _fill(target, data, True)

    def words(self, group: Any, name: str, words: list[str]) -> None:
        import h5py

        group.create_dataset(name, data=np.array(words, object), dtype=h5py.string_dtype())


class _Zarr:
    """Arrays in zarr's format 2."""

    def numbers(self, group: Any, name: str, data: Any, pieces: tuple[int, ...]) -> None:
        separated = {"name": "v2", "separator": "/"}
        target = group.create_array(
            name, shape=data.shape, dtype=data.dtype, chunks=pieces or "auto", chunk_key_encoding=separated
        )
        _fill(target, data, False)

    def words(self, group: Any, name: str, words: list[str]) -> None:
        separated = {"name": "v2", "separator": "/"}
        target = group.create_array(name, shape=(len(words),), dtype=str, chunk_key_encoding=separated)
        target[:] = np.array(words, object)


def _fill(target: Any, data: Any, lock: bool) -> None:
    """Write an array, block by block if it is lazy."""
    if isinstance(data, np.ndarray):
        target[...] = data
    else:
        import dask.array

        dask.array.store(data, target, lock=lock)


def _write_experiments(arrays: Any, group: Any, signals: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    for name, signal in signals:
        _write_signal(arrays, group.create_group(name.replace("/", "-") or "__unnamed__"), signal)


def _write_signal(arrays: Any, group: Any, signal: Mapping[str, Any]) -> None:
    """Write one signal."""
    group.attrs.update({"package": "", "package_version": ""})
    for k, axis in enumerate(signal["axes"]):
        _write_tree(arrays, group.create_group(f"axis-{k}"), axis)
    of_signal = [k for k, axis in enumerate(signal["axes"]) if not axis["navigate"]]
    data = signal["data"]
    pieces = _pieces(data, of_signal)
    if not isinstance(data, np.ndarray):
        # A piece is written by one task only.
        data = data.rechunk(
            {
                k: -(-max(sizes) // piece) * piece
                for k, (sizes, piece) in enumerate(zip(data.chunks, pieces, strict=True))
            }
        )
    arrays.numbers(group, "data", data, pieces)
    _write_tree(arrays, group.create_group("metadata"), signal["metadata"])
    _write_tree(arrays, group.create_group("original_metadata"), signal["original_metadata"])
    _write_tree(arrays, group.create_group("attributes"), signal["attributes"])
    group.create_group("learning_results")


def _pieces(data: Any, of_signal: list[int]) -> tuple[int, ...]:
    """Sizes of pieces that hold whole spectra or images, as many as fit; of dask arrays at most their chunks."""
    limits = list(data.shape) if isinstance(data, np.ndarray) else [sizes[0] for sizes in data.chunks]
    left = max(_PIECE // data.dtype.itemsize, 1)
    pieces = [1] * data.ndim
    for k in [*of_signal, *(k for k in reversed(range(data.ndim)) if k not in of_signal)]:
        pieces[k] = max(min(limits[k], left), 1)
        left = max(left // pieces[k], 1)
    return tuple(pieces)


def _write_tree(arrays: Any, group: Any, tree: Mapping[str, Any]) -> None:
    """Write a tree of metadata: values as attributes, lists and arrays as arrays, with
    names that say what they were.
    """
    for raw, value in tree.items():
        key = str(raw).replace("/", "_")
        if key.startswith("_sig_"):
            _write_signal(arrays, group.create_group(key), value)
        elif isinstance(value, Mapping):
            _write_tree(arrays, group.create_group(key), value)
        elif isinstance(value, np.ndarray):
            arrays.numbers(group, key, value, ())
        elif isinstance(value, list):
            _write_list(arrays, group, key, value)
        else:
            group.attrs[key] = "_None_" if value is None else value


def _write_list(arrays: Any, group: Any, key: str, values: list[Any]) -> None:
    if not values:
        group.attrs[f"_list_empty_{key}"] = "_None_"
    elif all(isinstance(v, str) for v in values):
        arrays.words(group, f"_list_{key}", values)
    elif all(isinstance(v, bool | int | float) for v in values):
        arrays.numbers(group, f"_list_{key}", np.array(values), ())
    else:
        branch = group.create_group(f"_list_{len(values)}_{key}")
        _write_tree(arrays, branch, {str(k): v for k, v in enumerate(values)})
