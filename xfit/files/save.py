"""`save`: results and data into files, by the extension; a file is whole or not there."""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xfit.arrays.atomic_write import foreign_key, refuse_foreign, refuse_link, replace
from xfit.display import is_url, local_path, without_secrets
from xfit.engine.pixel.status import MEANINGS
from xfit.files.chunking import chunked
from xfit.files.csv_tables import as_csv
from xfit.files.hyperspy_files import write_hspy, write_zspy
from xfit.files.result_tables import maps_of, tables_of
from xfit.files.signals import array_to_signal
from xfit.results.fit_result import FitResult

#: Types that netCDF has numbers of.
_NETCDF_KINDS = "biufSUO"

#: Files without which a folder is no zarr store; see `xfit.fitting.stored.model_store.GROUP` for the other.
_ROOT = frozenset(("zarr.json", ".zgroup", ".zattrs", ".zmetadata"))
_MODELS = "xfit_models"


def save(
    data: xr.Dataset | xr.DataArray,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> None:
    """Save a result or data.

    Parameters
    ----------
    data : Dataset or DataArray
        The result of a fit, or data, or a map. What is lazy is computed while it is written, chunk by chunk for zarr,
        netCDF and csv.
    path : str or path
        ====================
        ================================================================================================ ``.zarr``,
        ``.nc`` everything, for `open` and xarray; the only ones from which a result knows its model. Zarr may
                              be a URL
        ``.hspy``, ``.zspy`` for HyperSpy. Of a result one signal for each map: every parameter ("Fe.centre", with the
        square
                              of its error as noise variance, as HyperSpy's ``parameter.as_signal`` has it), its
                              standard error ("Fe.centre.stderr"), whether it is at a bound ("Fe.centre.at_bound"),
                              "chisq" and all others
        ``.csv`` of a result one row for each pixel: coordinates, then the same maps by the same names, and the
                              word for the status; of data one row for each value
        ====================
        ================================================================================================
    overwrite : bool, optional
        Whether what is there may be replaced.
    storage_options : mapping, optional
        What the file system of a URL needs.

    Raises
    ------
    FileExistsError
        If there is something, without ``overwrite``; for a link, and for a folder with something in it that is no part
        of a zarr store, or with models that `xfit.models` keeps there, whatever ``overwrite`` says.
    TypeError, ValueError
        For another extension, with the list; for what the format can't hold.

    Notes
    -----
    Files and folders are written under another name beside their own, brought to the disk, and put there in one step: a
    failure, or a loss of power, leaves what was there before, or the new. At a URL all is written under another name
    too, and then copied by the server, the description of the store last: until then nothing is found there, and what
    was written lies whole under the other name, which begins with a dot and has ``.partial`` in it. Covariances go to
    zarr and netCDF only.

    Examples
    --------
    >>> import numpy as np, tempfile, xarray as xr, xfit
    >>> path = tempfile.mkdtemp() + "/map.csv"
    >>> xfit.save(xr.DataArray([1.5, 2.5], dims="x", coords={"x": [10, 20]}, name="height"), path)
    >>> print(open(path).read().split())
    ['x,height', '10,1.5', '20,2.5']
    """
    if not isinstance(data, xr.Dataset | xr.DataArray):
        raise TypeError(f"data must be a result (Dataset) or a DataArray, not {type(data).__name__}")
    if not isinstance(overwrite, bool):
        raise TypeError(f"overwrite={overwrite!r} must be True or False")
    text = os.fspath(path)
    suffix = Path(text.rstrip("/")).suffix.lower()
    if suffix not in _WRITERS:
        raise ValueError(
            f"nobody writes {suffix or 'files without extension'} ({without_secrets(text)!r}); use one of "
            f"{', '.join(_WRITERS)}"
        )
    if suffix in (".hspy", ".zspy", ".csv") and isinstance(data, xr.Dataset):
        FitResult(data).dataset  # noqa: B018  refuses what is none
    if is_url(text):
        _save_url(data, text, suffix, overwrite, storage_options)
        return
    if storage_options:
        raise TypeError(
            f"storage_options go with a URL such as s3://bucket/fit.zarr; {without_secrets(text)!r} is a path"
        )
    target = local_path(text)
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(target.absolute().parent)!r}")
    refuse_link(target)
    if target.exists() and not overwrite:
        raise FileExistsError(f"{without_secrets(text)!r} is there already; overwrite=True replaces it")
    refuse_foreign(target, is_folder=suffix in (".zarr", ".zspy"))
    _refuse_models(text, (target / _MODELS).is_dir() and any(each.is_dir() for each in (target / _MODELS).iterdir()))
    replace(target, lambda part: _WRITERS[suffix](data, part))


def _refuse_models(text: str, there: bool) -> None:
    """Refuse to remove models with their signal."""
    if there:
        raise FileExistsError(
            f"{text!r} has models beside its signal, which would be lost; remove them by xfit.models({text!r}), or "
            "give another name"
        )


def _save_url(data: Any, text: str, suffix: str, overwrite: bool, options: Mapping[str, Any] | None) -> None:
    """Save to a URL."""
    if suffix != ".zarr":
        raise ValueError(f"{without_secrets(text)!r}: to URLs only zarr is written (.zarr)")
    import fsspec

    from xfit.fitting.stored.archive import Archive

    files, root = fsspec.core.url_to_fs(text, **(options or {}))
    root = root.rstrip("/")
    old = _keys(files, root)
    if old and not overwrite:
        raise FileExistsError(f"{without_secrets(text)!r} is there already; overwrite=True replaces it")
    strange = foreign_key(old)
    if strange is not None:
        raise FileExistsError(
            f"{without_secrets(text)!r} is not replaced, for {strange!r} in it is no part of a zarr store; move it, or "
            "give another name"
        )
    _refuse_models(text, any(key.startswith(f"{_MODELS}/") and key.count("/") > 1 for key in old))
    folder, _, name = text.rstrip("/").rpartition("/")
    part = f"{folder}/.{name.removesuffix(suffix)}.{uuid.uuid4().hex}.partial{suffix}"
    place = files._strip_protocol(part).rstrip("/")
    try:
        _write_zarr(data, Archive(part, options).store, "w-")
    except BaseException:
        if _keys(files, place):
            files.rm(place, recursive=True)
        raise
    _move(files, place, root, old)


def _keys(files: Any, root: str) -> list[str]:
    """All files below a place, by their paths from there."""
    files.invalidate_cache()
    found = files.find(root) if files.exists(root) else []
    return [str(each).rstrip("/").removeprefix(root).lstrip("/") for each in found]


def _move(files: Any, place: str, root: str, old: list[str]) -> None:
    """Put a store where another may be: what says that there is one goes first and comes last."""
    new = _keys(files, place)
    for keys in ([key for key in old if key in _ROOT], [key for key in old if key not in _ROOT]):
        if keys:
            files.rm([f"{root}/{key}" for key in keys])
    for keys in ([key for key in new if key not in _ROOT], [key for key in new if key in _ROOT]):
        files.copy([f"{place}/{key}" for key in keys], [f"{root}/{key}" for key in keys])
    files.rm(place, recursive=True)


def _storable(data: Any) -> Any:
    """Data without what their own file said of how they were stored, in even chunks, with
    attributes that files can hold.
    """
    data = data.drop_encoding()
    ds = data if isinstance(data, xr.Dataset) else data._to_temp_dataset()
    uneven = {
        d: max(sizes)
        for d, sizes in ds.unify_chunks().chunksizes.items()
        if len(set(sizes[:-1])) > 1 or sizes[-1] > sizes[0]
    }
    return _plain(chunked(data, uneven) if uneven else data)


def _plain(data: Any) -> Any:
    """Attributes with numbers for booleans, which netCDF lacks, on a copy."""
    data = data.copy(deep=False)
    parts = [data, *data.coords.values(), *(data.data_vars.values() if isinstance(data, xr.Dataset) else ())]
    for part in parts:
        part.attrs = {
            key: int(value) if isinstance(value, bool | np.bool_) else value for key, value in part.attrs.items()
        }
    return data


def _write_zarr(data: Any, store: Any, mode: Any) -> None:
    with warnings.catch_warnings():
        # Descriptions in one place, as xarray writes and expects them; zarr warns that its standard does not have them
        # yet.
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part", UserWarning)
        _storable(data).to_zarr(store, mode=mode)


def _to_zarr(data: Any, path: Path) -> None:
    _write_zarr(data, path, "w-")


def _with_plain_text(data: Any) -> Any:
    """Text as Python has it, where it has the type that zarr reads it into."""
    texts = {name: coord.astype(object) for name, coord in data.coords.items() if coord.dtype.kind == "T"}
    data = data.assign_coords(texts)
    if isinstance(data, xr.Dataset):
        data = data.assign(
            {name: each.astype(object) for name, each in data.data_vars.items() if each.dtype.kind == "T"}
        )
    return data


def _to_netcdf(data: Any, path: Path) -> None:
    data = _with_plain_text(data)
    parts = (
        data.variables.items() if isinstance(data, xr.Dataset) else [(data.name or "data", data), *data.coords.items()]
    )
    for name, variable in parts:
        if variable.dtype.kind not in _NETCDF_KINDS + "Mm":
            raise TypeError(f"{name!r} has dtype {variable.dtype}, which netCDF does not know; save .zarr instead")
    _storable(data).to_netcdf(path)


def _signals(data: Any) -> list[tuple[str, dict[str, Any]]]:
    """Signals for HyperSpy."""
    if isinstance(data, xr.DataArray):
        signal = array_to_signal(data)
        return [(str(signal["metadata"]["General"]["title"]), signal)]
    # At once, or every map of a lazy result would fit all pixels again.
    maps = maps_of(data.drop_vars([n for n in ("covariance", "pair_covariance") if n in data]).compute())
    found = []
    for name, array in maps.items():
        if f"{name}.stderr" in maps and array.ndim:
            array = array.assign_coords(variance=(array.dims, maps[f"{name}.stderr"].values ** 2))
        found.append((name, array_to_signal(_kept(array).rename(name), signal_dims=list(array.dims[-2:]))))
    return found


def _kept(array: xr.DataArray) -> xr.DataArray:
    """A map without coordinates that a signal has no place for."""
    return array.drop_vars([c for c in array.coords if c not in array.dims and c != "variance"])


def _to_hspy(data: Any, path: Path) -> None:
    try:
        write_hspy(path, _signals(data))
    except ImportError as error:
        raise ImportError(f"writing .hspy needs h5py ({error}); install it with: pip install 'xfit[io]'") from error


def _to_zspy(data: Any, path: Path) -> None:
    write_zspy(path, _signals(data))


def _to_csv(data: Any, path: Path) -> None:
    if isinstance(data, xr.DataArray):
        taken = {None, *data.dims, *data.coords}
        columns = {"value" if data.name in taken else str(data.name): data}
    else:
        columns = maps_of(data)
    with path.open("x", encoding="utf-8", newline="") as file:
        for k, table in enumerate(tables_of(columns)):
            if isinstance(data, xr.Dataset):
                table["status_word"] = np.array(MEANINGS, object)[table["status"].to_numpy()]
            file.write(as_csv(table, header=k == 0))


_WRITERS: dict[str, Callable[[Any, Path], None]] = {
    ".zarr": _to_zarr,
    ".nc": _to_netcdf,
    ".nc4": _to_netcdf,
    ".hspy": _to_hspy,
    ".zspy": _to_zspy,
    ".csv": _to_csv,
}

#: Extensions that `save` writes.
FORMATS = tuple(_WRITERS)
