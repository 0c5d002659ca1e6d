"""Lazy arrays of HDF5 files that open the file when a piece is read: for processes elsewhere,
and so that no file stays open.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from xfit.files.hdf5_chunks import check_packed
from xfit.fitting.stored.unread import telling_part


class Hdf5Array:
    """An array in an HDF5 file.

    Parameters
    ----------
    dataset : h5py.Dataset
        Whose file, path and type are remembered; itself it is not kept.
    """

    def __init__(self, dataset: Any) -> None:
        self.path, self.name = str(dataset.file.filename), str(dataset.name)
        self.shape, self.dtype, self.ndim = dataset.shape, dataset.dtype, dataset.ndim

    def __getitem__(self, key: Any) -> np.ndarray:
        import h5py

        key = key if isinstance(key, tuple) else (key,)
        with telling_part(self.path, self.name, key), h5py.File(self.path, "r") as file:
            check_packed(file[self.name], key)
            return np.asarray(file[self.name][key])


def reopening(array: Any, files: dict[str, Any]) -> Any:
    """Return a dask array that reads from its files by opening them, where it would hold them open.

    Parameters
    ----------
    array : NumPy or dask array
    files : dict
        Gets the open files, by their names, which can be closed then.
    """
    h5py = sys.modules.get("h5py")
    if isinstance(array, np.ndarray) or h5py is None:
        return array
    layers: dict[str, Any] = {}
    for name, layer in array.dask.layers.items():
        layers[name] = layer
        if isinstance(layer, MaterializedLayer) and any(isinstance(value, h5py.Dataset) for value in layer.values()):
            datasets = {key: value for key, value in layer.items() if isinstance(value, h5py.Dataset)}
            files |= {value.file.filename: value.file for value in datasets.values()}
            layers[name] = MaterializedLayer({**layer, **{key: Hdf5Array(value) for key, value in datasets.items()}})
    graph = HighLevelGraph(layers, dict(array.dask.dependencies))
    return type(array)(graph, array.name, array.chunks, meta=array._meta)


def close(files: Iterable[Any]) -> None:
    """Close files that nothing reads from any more."""
    for file in files:
        file.close()
