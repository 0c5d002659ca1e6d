"""`open`: data of instruments and other programs, and results, by the extension of the file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from xfit.display import is_url, local_path, without_secrets
from xfit.files import datasets
from xfit.files.chunking import rechunked
from xfit.files.collection import Signals
from xfit.files.readers import reader_for
from xfit.files.readers import readers as known_readers
from xfit.fitting.stored.codecs import RefusedFileError
from xfit.fitting.stored.reader_errors import telling


def open(
    path: str | os.PathLike[str],
    *,
    signal: str | int | None = None,
    chunks: Any = None,
    reader: str | None = None,
    original_metadata: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.DataArray | xr.Dataset | Signals:
    """Open a file lazily, where its format allows.

    Parameters
    ----------
    path : str or path
        zarr (``.zarr``, also a URL such as ``s3://bucket/map.zarr``), netCDF (``.nc``), FITS (``.fits``: images, cubes,
        spectra in tables), or any format that RosettaSciIO reads: HyperSpy's ``.hspy`` and ``.zspy``, ``.dm3``,
        ``.dm4``, ``.emd``, ``.bcf``, ``.ser``, ``.emi``, ``.msa``, ``.wdf``, ``.xml`` of Jobin Yvon, ``.tvips``,
        ``.nxs``, ``.blo`` and others.
    signal : str or int, optional
        Name or position of the one to take, of a file with several.
    chunks : optional
        Chunks as of ``DataArray.chunk``. By default those of the file, put together and with whole spectra in them,
        where that costs little memory; "file" leaves them as they are. Formats that can only be read as a whole give
        NumPy arrays, which ``chunks`` turns into dask arrays.
    reader : str, optional
        Name of a reader of xfit ("netCDF", "FITS"), of an installed package (see ``xfit.files.readers``) or of
        RosettaSciIO, such as "Renishaw", where the extension does not tell, or tells wrong.
    original_metadata : bool, optional
        Whether all that the instrument wrote is kept, as JSON in the attribute ``original_metadata``.
    storage_options : mapping, optional
        What the file system of a URL needs.

    Returns
    -------
    DataArray, Signals or Dataset
        A DataArray where there is one signal or one was chosen: what nearly every file holds can be fitted at once. A
        file with several gives a `Signals`, a mapping of names to DataArrays: they may share no dimension, so that a
        Dataset can't hold them, and have no order of rank, so that taking the first would be a guess. A result of a fit
        is the Dataset that it was.

        Signal dimensions come last, so that ``da.fit.multifit(model)`` needs no ``dim``. Coordinates have ``units``,
        those of signal dimensions ``is_binned``; a noise variance is the coordinate ``variance``, for
        ``multifit(variance=da.variance)``. Metadata are attributes with names such as
        "Acquisition_instrument.TEM.beam_energy".

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    ValueError
        For a format that nobody reads, with the list of those that are; for a file that can't be read, with what its
        readers said.
    KeyError
        For a ``signal`` that is not there.
    ImportError
        If the library for the format is missing; says what to install.

    Examples
    --------
    >>> import numpy as np, tempfile, xarray as xr, xfit
    >>> path = tempfile.mkdtemp() + "/map.nc"
    >>> xfit.save(xr.DataArray(np.ones((2, 3)), dims=("x", "energy"), attrs={"units": "counts"}), path)
    >>> xfit.open(path).sizes
    Frozen({'x': 2, 'energy': 3})
    """
    text = os.fspath(path)
    url = is_url(text)
    if storage_options and not url:
        raise TypeError(
            f"storage_options go with a URL such as s3://bucket/map.zarr; {without_secrets(text)!r} is a path"
        )
    if not url:
        text = str(local_path(text))
        if not Path(text).exists():
            raise FileNotFoundError(f"there is no file {without_secrets(text)!r}")
    found = _read(text, url, reader, original_metadata, storage_options)
    if isinstance(found, xr.Dataset):
        if signal is not None:
            raise ValueError(f"{without_secrets(text)} holds the result of a fit, in which signal= chooses nothing")
        return found if chunks is None or (isinstance(chunks, str) and chunks == "file") else found.chunk(chunks)
    signals = Signals(text, found)
    if signal is None and len(signals) > 1:
        return Signals(text, [rechunked(each, _of(each, chunks)) for each in found])
    chosen = signals[0 if signal is None else signal]
    return rechunked(chosen, chunks)


def _of(da: xr.DataArray, chunks: Any) -> Any:
    """Chunks for one of several signals: dimensions that it lacks do not matter."""
    return {d: size for d, size in chunks.items() if d in da.dims} if isinstance(chunks, Mapping) else chunks


def _read(
    text: str, url: bool, reader: str | None, original_metadata: bool, options: Any
) -> xr.Dataset | list[xr.DataArray]:
    """Read by what knows the format."""
    name = text.lower().rstrip("/")
    if reader is None and (name.endswith((".zarr", ".zarr.zip")) or (url and not Path(name).suffix)):
        return datasets.open_zarr(text, options)
    if url:
        raise ValueError(f"{without_secrets(text)!r}: of URLs only zarr is read (.zarr)")
    known = reader_for(Path(text), reader)
    if known is not None:
        with telling(text, known.name):
            return known.read(Path(text), original_metadata)
    if reader is None and Path(text).is_dir() and _is_zarr(Path(text)) and not name.endswith(".zspy"):
        return datasets.open_zarr(text)
    from xfit.files.instruments import plugins, read_signals, readers_for

    readers = readers_for(Path(text), reader)
    if not readers:
        table = [(plugin["name"], sorted({e.lower() for e in plugin["file_extensions"]})) for plugin in plugins()]
        table += [
            ("zarr", ["zarr"]),
            *((each.name, [end.removeprefix(".") for end in each.extensions]) for each in known_readers()),
        ]
        formats = ", ".join(f"{name} ({' '.join(endings)})" for name, endings in table)
        what = Path(text).suffix or "files without extension"
        raise ValueError(
            f"nobody reads {what} ({without_secrets(text)!r}); there are {formats}. Where the extension is wrong, name "
            "a reader="
        )
    try:
        return read_signals(Path(text), readers, original_metadata)
    except RefusedFileError:
        raise
    except ValueError as error:
        if not name.endswith((".h5", ".hdf5")):
            raise
        # Files of netCDF that go by the name of what they are made of.
        try:
            return datasets.open_netcdf(Path(text))
        except (OSError, ValueError) as second:
            raise ValueError(f"{error}; nor as netCDF ({second})") from error


def _is_zarr(path: Path) -> bool:
    return any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zarray"))
