"""The engine: numba functions on plain arrays, without dask, xarray or models."""
