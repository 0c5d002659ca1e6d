"""Data and results in zarr and netCDF, by xarray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from xfit.display import without_secrets
from xfit.files.chunking import has_many_chunks, in_pieces
from xfit.files.hdf5_header import check_netcdf, check_variable
from xfit.files.signals import signal_to_array
from xfit.fitting.stored import unread
from xfit.fitting.stored.codecs import MOST_ARRAYS, RefusedFileError, checked
from xfit.fitting.stored.reader_errors import telling

#: Extensions that are read here.
NETCDF = (".nc", ".nc4", ".cdf")


def open_netcdf(path: Path) -> xr.Dataset | list[xr.DataArray]:
    """Open a netCDF file lazily: a result of a fit as a Dataset, data as DataArrays."""
    ds = netcdf(path)
    with telling(path, "netCDF"):
        return _sorted(_in_pieces(ds), str(path))


def netcdf(path: str | Path, **options: Any) -> xr.Dataset:
    """Open a netCDF file with xarray, after a look at what it claims; everything in xfit that opens
    one goes through this function.

    Parameters
    ----------
    path : str or Path
    **options
        Of ``xarray.open_dataset``.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is nothing, or nothing that xarray can read; names the file.
    """
    with telling(path, "netCDF"):
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no file {str(path)!r}")
        check_netcdf(Path(path))
        ds = xr.open_dataset(path, decode_times=unread.Dates(), **options)
        return unread.named(ds, str(path), partial(check_variable, str(path)))


def _in_pieces(ds: xr.Dataset, coords: bool = False) -> xr.Dataset:
    """Data, and coordinates, that are read lazily; without chunks of its own a variable
    would be one chunk, however large.
    """
    ds = ds.assign({each.name: in_pieces(each) for each in _arrays(ds)})
    lazy = {name: in_pieces(each) for name, each in ds.coords.items() if coords and name not in ds.indexes}
    return ds.assign_coords(lazy)


def _arrays(ds: xr.Dataset) -> Iterator[xr.DataArray]:
    """Data variables with their coordinates; ``ds[name]`` looks at all variables for each."""
    coords = ds.coords.to_dataset()
    return (coords.assign({name: ds.variables[name]})[name] for name in ds.data_vars)


def open_zarr(path: str, options: Mapping[str, Any] | None = None) -> xr.Dataset | list[xr.DataArray]:
    """Open a zarr store lazily; see `open_netcdf`. An array by itself is taken too.

    Parameters
    ----------
    path : str
        Folder, zip file or URL.
    options : mapping, optional
        What the file system of a URL needs.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is nothing, or nothing that xarray can read.
    """
    import zarr
    from zarr.core.sync import collect_aiterator

    from xfit.fitting.stored.archive import Archive

    archive = None
    with telling(path, "zarr"):
        if path.endswith(".zip") or (Path(path).is_file() and "://" not in path):
            store: Any = checked(zarr.storage.ZipStore(path, mode="r"))
        else:
            archive = Archive(path, options)
            if not archive.exists:
                raise FileNotFoundError(f"there is nothing at {without_secrets(path)}")
            store = archive.store
        try:
            node = zarr.open(store=store, mode="r")
        except (FileNotFoundError, KeyError) as error:
            raise ValueError(
                f"{without_secrets(path)} holds neither an array nor a group of zarr ({without_secrets(error)})"
            ) from error
        if isinstance(node, zarr.Array):
            import dask.array

            names: Any = getattr(node.metadata, "dimension_names", None) or node.attrs.get("_ARRAY_DIMENSIONS") or ()
            axes: list[dict[str, Any]] = [{"name": name} for name in names] or [{} for _ in range(node.ndim)]
            return [signal_to_array({"data": dask.array.from_zarr(node), "axes": axes, "metadata": {}})]
        if archive is not None and archive.manifest():
            return archive.open()
        count = len(collect_aiterator(store.list_dir("")))
        if count > MOST_ARRAYS:
            raise RefusedFileError(
                f"{without_secrets(path)} has {count} entries; the most that are opened together are {MOST_ARRAYS}"
            )
        try:
            bundled = node.metadata.consolidated_metadata is not None
            many = "xfit_model" not in node.attrs and any(map(has_many_chunks, node.array_values()))
            ds = unread.open_zarr(store, chunks=None if many else {}, consolidated=bundled)
        except KeyError as error:
            raise ValueError(
                f"it is a group that xarray can't read ({without_secrets(error)}); its arrays need dimension names"
            ) from error
        return _sorted(_in_pieces(ds, coords=True) if many else ds, path)


def _sorted(ds: xr.Dataset, path: str) -> xr.Dataset | list[xr.DataArray]:
    """Tell results from data."""
    if "xfit_model" in ds.attrs:
        return ds
    arrays = list(_arrays(ds))
    if not arrays:
        raise ValueError(
            f"{without_secrets(path)} holds no data variable, only coordinates: {list(map(str, ds.coords))}"
        )
    # What to_netcdf and to_zarr call an array without a name.
    arrays = [a.rename(None) if a.name == "__xarray_dataarray_variable__" else a for a in arrays]
    return [a.assign_attrs({**ds.attrs, **a.attrs}) if len(arrays) == 1 else a for a in arrays]
