"""Lazy arrays whose file its reader opens again for every piece, where the reader's own hold it open
and can't go to other processes.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np


class ReaderArray:
    """The data of a signal in a file.

    Parameters
    ----------
    path : str
        The file.
    api : str
        Module of the reader, such as "rsciio.tiff".
    number : int
        Which of the signals that the reader finds.
    data : dask array
        The reader's own lazy data, whose shape and type are remembered.
    """

    def __init__(self, path: str, api: str, number: int, data: Any) -> None:
        self.path, self.api, self.number = path, api, number
        self.shape, self.dtype, self.ndim = data.shape, data.dtype, data.ndim

    def __getitem__(self, key: Any) -> np.ndarray:
        signals = import_module(self.api).file_reader(self.path, lazy=True)
        return np.asarray(signals[self.number]["data"][key].compute(scheduler="synchronous"))


def reopened(path: Path, api: str, number: int, data: Any) -> Any:
    """Return lazy data, in the same chunks, that hold no file open."""
    import dask.array

    mark = dask.base.tokenize(str(path.absolute()), path.stat().st_mtime_ns, number)
    array = ReaderArray(str(path), api, number, data)
    return dask.array.from_array(array, chunks=data.chunks, name=f"{path.name}-{mark}", asarray=False)
