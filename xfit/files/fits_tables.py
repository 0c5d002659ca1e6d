"""Spectra in tables of FITS files: a spectrum in each row, or a channel in each row."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xfit.display import cleaned
from xfit.files.fits_axes import without_repeated_cards
from xfit.files.fits_header import is_packed
from xfit.files.fits_roles import owner_of, role_of, variance_of

#: Names of columns with the coordinate of spectra, and what xfit calls it.
_SPECTRAL = {
    **dict.fromkeys(("WAVE", "WAVELENGTH", "LAMBDA", "LAM", "WL", "LOGLAM"), "wavelength"),
    **dict.fromkeys(("FREQ", "FREQUENCY"), "frequency"),
    **dict.fromkeys(("ENERGY", "ENERG"), "energy"),
    **dict.fromkeys(("WAVENUMBER", "WAVENUM"), "wavenumber"),
    **dict.fromkeys(("VELOCITY", "VEL", "VRAD"), "velocity"),
    **dict.fromkeys(("CHANNEL", "SPECTRAL_AXIS"), "channel"),
}

#: Size of a chunk in bytes.
_CHUNK = 16 << 20


class _Column:
    """A column of vectors that is read some rows at a time, in any process."""

    def __init__(self, path: str, number: int, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.path, self.number, self.name = path, number, name
        self.shape, self.dtype, self.ndim = shape, dtype, len(shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        from astropy.io import fits

        rows, *within = key if isinstance(key, tuple) else (key,)
        with fits.open(self.path, memmap=True) as file:
            part = file[self.number].data[rows][self.name]
            return np.array(part[(slice(None), *within)] if part.ndim > 1 else part[tuple(within)], self.dtype)


def open_tables(path: Path, original_metadata: bool) -> list[xr.DataArray]:
    """Open the spectra in a file's tables.

    Of a table with vectors in its cells each row is a spectrum, and they are read when they are needed; numbers and
    words of a row are coordinates along ``spectrum``. Of a table with numbers only each row is a channel. The
    coordinate is a column that is called so (WAVE, LOGLAM, FREQUENCY, ENERGY, ...), or the only one in units of a
    wavelength, frequency or energy. Columns with noise become ``variance``, such with flags ``dq``, as of images; of
    the others each is a DataArray.

    Parameters
    ----------
    path : Path
    original_metadata : bool
        Whether the table's header is kept, as JSON in the attribute of this name.

    Raises
    ------
    ValueError
        If there are no spectra; names the tables and their columns.
    """
    from astropy.io import fits

    with fits.open(path) as file:
        tables = [
            _Table(path, n, hdu, file[0].header)
            for n, hdu in enumerate(file)
            if isinstance(hdu, fits.BinTableHDU | fits.TableHDU) and hdu.columns.names and len(hdu.data)
        ]
        usable = [table for table in tables if table.axis is not None] or [table for table in tables if table.size > 1]
        found = [array for table in usable for array in table.arrays(len(usable) > 1, original_metadata)]
    if not found:
        held = "; ".join(f"{table.title}: {', '.join(table.columns)}" for table in tables) or "nothing but headers"
        raise ValueError(
            f"{cleaned(str(path))} holds no image, and no table with spectra: with vectors in its cells, or with a "
            f"column of wavelengths such as {list(_SPECTRAL)[:3]}. There are {cleaned(held)}"
        )
    return found


class _Table:
    """A table: what its columns are.

    Attributes
    ----------
    columns : dict of str to tuple
        Type and shape of a cell, of the columns of numbers and words; those with vectors of different lengths are left
        out.
    axis : str or None
        The column with the coordinate of spectra.
    size : int
        Values in a cell of the spectra; 1 where each row is a channel.
    """

    def __init__(self, path: Path, number: int, hdu: Any, first: Any) -> None:
        self.first = first
        self.path, self.number, self.data = path, number, hdu.data
        self.header = without_repeated_cards(hdu.header, path)
        self.title = hdu.name or str(number)
        self.units = {c.name: str(c.unit or "") for c in hdu.columns}
        fields = {name: hdu.data[name] for name in hdu.columns.names}
        self.columns = {
            name: (each.dtype, each.shape[1:]) for name, each in fields.items() if each.dtype.kind in "biufcUS"
        }
        numbers = [name for name, (dtype, shape) in self.columns.items() if dtype.kind in "iuf" and len(shape) < 2]
        self.axis = self._spectral(numbers)
        longest = max((self.columns[name][1] for name in numbers), default=())
        self.cell = self.columns[self.axis][1] if self.axis else longest
        self.size = int(np.prod(self.cell))
        self.spectra = [name for name in numbers if self.columns[name][1] == self.cell and name != self.axis]

    def _spectral(self, numbers: list[str]) -> str | None:
        """Name of the column with the coordinate, by its name or else its unit."""
        from astropy import units

        named = [name for name in numbers if name.upper() in _SPECTRAL]
        if named:
            return named[0]
        alike = []
        for name in numbers:
            unit = _unit_of(self.units[name])
            # Rates are no frequencies.
            spectral = unit.is_equivalent(units.m, units.spectral()) and (
                unit.physical_type != "frequency" or "Hz" in str(unit)
            )
            if role_of(name.upper(), {}) == "science" and spectral:
                alike.append(name)
        return alike[0] if len(alike) == 1 else None

    def arrays(self, several: bool, original_metadata: bool) -> list[xr.DataArray]:
        """Spectra of each column that is no noise, flags or coordinate; names tell tables
        apart if there are several.
        """
        roles = {name: role_of(name.upper(), {}) for name in self.spectra}
        science = [(name, name.upper(), self.cell) for name in self.spectra if roles[name] == "science"]
        coords = self._coordinates()
        found = []
        for name, *_ in science:
            array = self._array(name, coords)
            for other, role in roles.items():
                if role == "science" or owner_of(other.upper(), self.cell, science) != name:
                    continue
                beside = self._array(other, coords)
                if role == "flags" and "dq" not in array.coords:
                    array = array.assign_coords(
                        dq=(array.dims, beside.data, {"long_name": "flags of bad data, as in the file"})
                    )
                elif role != "flags" and "variance" not in array.coords:
                    array = array.assign_coords(
                        variance=(array.dims, variance_of(beside.data, role), {"long_name": "variance"})
                    )
            if original_metadata:
                headers = {"primary": self.first, self.title: self.header}
                array.attrs["original_metadata"] = json.dumps(
                    {key: dict(each) for key, each in headers.items()}, default=str
                )
            found.append(array.rename(f"{self.title}.{name}" if several else name))
        return found

    def _array(self, name: str, coords: dict[str, Any]) -> xr.DataArray:
        """One column."""
        dims = ["spectrum"] * (len(self.data) > 1 and self.size > 1) + [self._dim()]
        attrs = {"units": self.units[name]} if self.units[name] else {}
        for key in ("OBJECT", "INSTRUME", "TELESCOP", "DATE-OBS", "EXPTIME"):
            value = self.header.get(key, self.first.get(key))
            if value not in (None, ""):
                attrs[key] = value
        values = self._values(name)
        return xr.DataArray(values[0] if self.size > 1 and len(self.data) == 1 else values, coords, dims, attrs=attrs)

    def _values(self, name: str) -> Any:
        """Values of a column, lazily where its cells are vectors and the file is not packed."""
        dtype, cell = self.columns[name]
        native = dtype.newbyteorder("=")
        if not cell or len(self.data) == 1 or is_packed(self.path):
            return np.array(self.data[name], native)
        import dask.array

        shape = (len(self.data), *cell)
        rows = max(_CHUNK // (native.itemsize * self.size), 1)
        mark = dask.base.tokenize(str(self.path.absolute()), self.path.stat().st_mtime_ns, self.number, name)
        column = _Column(str(self.path), self.number, name, shape, native)
        return dask.array.from_array(column, chunks=(rows, -1), name=f"fits-{name}-{mark}", asarray=False)

    def _dim(self) -> str:
        """Name of the dimension along spectra."""
        if self.axis is None:
            return "channel"
        name = _SPECTRAL.get(self.axis.upper(), "channel")
        unit = _unit_of(self.units[self.axis])
        kinds = {"length": "wavelength", "energy": "energy", "frequency": "frequency", "wavenumber": "wavenumber"}
        told = [word for kind, word in kinds.items() if kind in str(unit.physical_type)]
        return told[0] if name == "channel" and told else name

    def _coordinates(self) -> dict[str, Any]:
        """Coordinate of the spectra, and numbers and words of each row."""
        dim = self._dim()
        signal = {"navigate": 0, "is_binned": 0}
        coords: dict[str, Any] = {dim: (dim, np.arange(self.size if self.size > 1 else len(self.data)), signal)}
        if self.axis is not None:
            values, unit = np.array(self.data[self.axis], float), self.units[self.axis]
            logarithm = re.fullmatch(r"(?:log|log10|dex)\((.+)\)", unit.strip(), re.IGNORECASE)
            if logarithm or self.axis.upper() == "LOGLAM":
                values, unit = 10**values, logarithm[1] if logarithm else unit or "Angstrom"
            about = {"units": unit} if unit else {}
            if values.ndim == 1 or (values == values[:1]).all():
                coords[dim] = (dim, values if values.ndim == 1 else values[0], signal | about)
            else:
                coords[f"{dim}s"] = (("spectrum", dim), values, about)
        if self.size > 1:
            for name, (dtype, cell) in self.columns.items():
                if not cell and name not in coords and dtype.kind in "iufUS":
                    each = np.array(self.data[name])
                    each = (
                        each.astype(dtype.newbyteorder("=")) if dtype.kind in "iuf" else each.astype(str).astype(object)
                    )
                    about = {"units": self.units[name]} if self.units[name] else {}
                    coords[name] = ((), each[0], about) if len(self.data) == 1 else ("spectrum", each, about)
        return coords


def _unit_of(text: str) -> Any:
    """A column's unit as astropy has it, which works powers out; one that is none has no meaning."""
    from astropy import units

    return units.Unit("" if re.search(r"\d{4}|\*\*.*\*\*.*\*\*", text) else text, parse_strict="silent")
