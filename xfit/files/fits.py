"""FITS images and cubes with their variances, by astropy."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xfit.display import cleaned
from xfit.files.fits_axes import (
    SPECTRAL,
    coordinate_along,
    spectral_coordinate,
    spectral_position,
    without_repeated_cards,
)
from xfit.files.fits_header import check_fits, is_packed
from xfit.files.fits_roles import owner_of, role_of, variance_of
from xfit.files.fits_tables import open_tables
from xfit.fitting.stored.reader_errors import telling

EXTENSIONS = (".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fz")

#: Size of a chunk in bytes: spectra lie scattered through the file, and larger pieces of lines are read faster.
_CHUNK = 64 << 20


class _Image:
    """An image of a FITS file that is read piece by piece, in any process."""

    def __init__(self, path: str, number: int, shape: tuple[int, ...], dtype: np.dtype, scaled: bool) -> None:
        self.path, self.number, self.scaled = path, number, scaled
        self.shape, self.dtype, self.ndim = shape, dtype, len(shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        from astropy.io import fits

        # Scaled images can't be mapped into memory; of others, that is faster where pieces are not in one go.
        with fits.open(self.path, memmap=not self.scaled) as file:
            return np.ascontiguousarray(file[self.number].section[key], self.dtype)


def open_fits(path: Path, original_metadata: bool) -> list[xr.DataArray]:
    """Open the images of a FITS file lazily; of a file without, the spectra in its tables (see
    `xfit.files.fits_tables.open_tables`).

    The spectral axis, which the WCS tells, comes last; its coordinate has the units of the header (``CUNIT``), as has
    none that is linear. The sky's coordinates are ``ra`` and ``dec`` in degrees over ``y`` and ``x``. A variance
    (extension STAT, VAR, ERR, IVAR, ..., of the same shape) becomes the coordinate ``variance``, flags (DQ, MASK, ...)
    the coordinate ``dq``, as they are. Axes of one pixel are left out.

    Raises
    ------
    ValueError
        If there are neither images nor spectra.
    """
    try:
        from astropy.io import fits
    except ImportError as error:
        raise ImportError(f"reading FITS needs astropy ({error}); install it with: pip install 'xfit[io]'") from error
    with telling(path, "FITS"):
        check_fits(path)
        return _images(fits, path, original_metadata) or open_tables(path, original_metadata)


def _images(fits: Any, path: Path, original_metadata: bool) -> list[xr.DataArray]:
    """Images that are no noise and no flags, with these."""
    with fits.open(path, memmap=False) as file:
        first = without_repeated_cards(file[0].header, path)
        images = [
            (
                n,
                hdu.name.upper() or "PRIMARY",
                first if n == 0 else without_repeated_cards(hdu.header, path),
                hdu.shape,
                _dtype(hdu),
            )
            for n, hdu in enumerate(file)
            if hdu.is_image and hdu.header.get("NAXIS", 0) and hdu.size
        ]
    science = [image for image in images if role_of(image[1], image[2]) == "science"]
    alike = [(number, name, shape) for number, name, _, shape, _ in science]
    compressed = is_packed(path)
    arrays = []
    for number, name, header, shape, dtype in science:
        array = _array(path, number, name, header, shape, dtype, first, compressed)
        for other, label, about, other_shape, other_dtype in images:
            role = role_of(label, about)
            if role == "science" or owner_of(label, other_shape, alike) != number:
                continue
            data = _data(path, other, about, other_shape, other_dtype, compressed)
            beside = array.copy(data=_arranged(data, header))
            if role == "flags":
                array = array.assign_coords(
                    dq=(array.dims, beside.data, {"long_name": "flags of bad data, as in the file"})
                )
            elif "variance" not in array.coords:
                array = array.assign_coords(
                    variance=(array.dims, variance_of(beside.data, role), {"long_name": "variance"})
                )
        if original_metadata:
            import json

            headers = {"primary": {k: v for k, v in first.items() if k}, name: {k: v for k, v in header.items() if k}}
            array.attrs["original_metadata"] = json.dumps(headers, default=str)
        arrays.append(array)
    return arrays


def _dtype(hdu: Any) -> np.dtype:
    """Type of an image's values after scaling, in the machine's byte order."""
    from astropy.io import fits

    if isinstance(hdu, fits.CompImageHDU):
        # Of one value that is told to be stored alike: the first tile may be all of the image, and is not unpacked for
        # that.
        value = fits.PrimaryHDU(np.zeros(1, fits.BITPIX2DTYPE[hdu.header["BITPIX"]])).header
        value.update({key: hdu.header[key] for key in ("BZERO", "BSCALE", "BLANK") if key in hdu.header})
        hdu = fits.PrimaryHDU.fromstring(value.tostring().encode() + bytes(2880))
    piece = hdu.section[tuple(slice(0, 1) for _ in hdu.shape)]
    return np.asarray(piece).dtype.newbyteorder("=")


def _data(path: Path, number: int, header: Any, shape: tuple[int, ...], dtype: np.dtype, compressed: bool) -> Any:
    """Values of an image, lazily unless the file would have to be unpacked for every piece."""
    scaled = any(key in header for key in ("BZERO", "BSCALE", "BLANK"))
    image = _Image(str(path), number, shape, dtype, scaled)
    if compressed:
        return image[tuple(slice(None) for _ in shape)]
    import dask.array

    return dask.array.from_array(
        image,
        chunks=_chunks(shape, dtype, spectral_position(header)),
        name=f"fits-{path.name}-{number}-{dask.base.tokenize(str(path), path.stat().st_mtime_ns)}",
        asarray=False,
        meta=np.empty((0,) * len(shape), dtype),
    )


def _chunks(shape: tuple[int, ...], dtype: np.dtype, at: int | None) -> Any:
    """Chunks with whole spectra and whole lines of the image, which lie together in the file, and
    otherwise as large as `_CHUNK`.
    """
    if len(shape) < 3 or at is None:
        return shape
    import dask.array

    whole = {at, len(shape) - 1}
    if np.prod([float(shape[k]) for k in whole]) * dtype.itemsize > _CHUNK:
        whole = {at}
    wanted: tuple[Any, ...] = tuple(-1 if k in whole else "auto" for k in range(len(shape)))
    return dask.array.core.normalize_chunks(wanted, shape, limit=_CHUNK, dtype=dtype)


def _arranged(data: Any, header: Any) -> Any:
    """Values with spectra along the last axis, without axes of one pixel."""
    at = spectral_position(header)
    order = [k for k in range(data.ndim) if k != at] + ([] if at is None else [at])
    data = data.transpose(order)
    return data.reshape([n for k, n in zip(order, data.shape, strict=True) if n > 1 or k == at])


def _array(
    path: Path,
    number: int,
    name: str,
    header: Any,
    shape: tuple[int, ...],
    dtype: np.dtype,
    first: Any,
    compressed: bool,
) -> xr.DataArray:
    """One image with its coordinates."""
    at = spectral_position(header)
    kept = [k for k, n in enumerate(shape) if n > 1 and k != at]
    words = ["z", "y", "x"][-len(kept) :] if 0 < len(kept) <= 3 else [f"axis_{k}" for k in kept]
    data = _arranged(_data(path, number, header, shape, dtype, compressed), header)
    coords: dict[Any, Any] = {}
    for k, word in zip(kept, words, strict=True):
        coords[word] = (
            word,
            coordinate_along(header, len(shape) - k, shape[k])
            if not _celestial(header)
            else np.arange(shape[k], dtype=float),
            {"navigate": int(at is not None)},
        )
        unit = str(header.get(f"CUNIT{len(shape) - k}", "")).strip()
        if unit and not _celestial(header):
            coords[word][2]["units"] = unit
    dims = list(words)
    if at is not None:
        axis = len(shape) - at
        word = SPECTRAL.get(str(header.get(f"CTYPE{axis}", "")).upper()[:4], "channel")
        dims.append(word if word not in words else f"{word}_2")
        values, unit = spectral_coordinate(header, axis, shape[at])
        coords[dims[-1]] = (dims[-1], values, {"navigate": 0, "is_binned": 0} | ({"units": unit} if unit else {}))
    if _celestial(header) and len(words) == 2:
        coords |= _sky(header, words, [shape[k] for k in kept])
    attrs = {"long_name": str(header.get("BTYPE", "")).strip(), "units": str(header.get("BUNIT", "")).strip()}
    for key in ("OBJECT", "INSTRUME", "TELESCOP", "DATE-OBS", "EXPTIME"):
        value = header.get(key, first.get(key))
        if value not in (None, ""):
            attrs[key] = value
    attrs = {key: value for key, value in attrs.items() if value != ""}
    title = str(header.get("OBJECT", first.get("OBJECT", ""))).strip() if name in ("PRIMARY", "DATA", "SCI") else name
    array = xr.DataArray(data, coords, dims, attrs=attrs)
    return array.rename(title.replace("/", "-") if title and title not in coords else None)


def _celestial(header: Any) -> bool:
    return any(
        str(header.get(f"CTYPE{n}", ""))[:4] in ("RA--", "DEC-", "GLON", "GLAT") for n in range(1, header["NAXIS"] + 1)
    )


def _sky(header: Any, words: list[str], sizes: list[int]) -> dict[Any, Any]:
    """Right ascension and declination (or galactic longitude and latitude) of every pixel, in degrees."""
    from astropy import wcs

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wcs.FITSFixedWarning)
        try:
            celestial = wcs.WCS(header).celestial
        except ValueError as error:
            warnings.warn(f"the position on the sky is not told: {cleaned(str(error))}", stacklevel=2)
            return {}
    longitude, latitude = _sky_of(celestial, sizes)
    names = ("l", "b") if "GLON" in str(celestial.wcs.ctype[0]) else ("ra", "dec")
    return {
        name: (tuple(words), values, {"units": "deg"})
        for name, values in zip(names, (longitude, latitude), strict=True)
    }


def _sky_of(celestial: Any, sizes: list[int]) -> tuple[Any, Any]:
    """Longitude and latitude of every pixel; lazily where these are many."""

    def part(rows: np.ndarray) -> np.ndarray:
        # Rows and columns are those of the array, FITS has the columns first.
        y, x = np.meshgrid(rows, np.arange(sizes[1], dtype=float), indexing="ij")
        return np.stack(celestial.wcs_pix2world(x, y, 0))

    rows = np.arange(sizes[0], dtype=float)
    if math.prod(sizes) * 8 <= _CHUNK:
        return tuple(part(rows))
    import dask.array

    lines = dask.array.from_array(rows, chunks=max(_CHUNK // (8 * sizes[1]), 1))
    found = lines.map_blocks(part, dtype=float, chunks=((2,), lines.chunks[0], (sizes[1],)), new_axis=(0, 2))
    return found[0], found[1]
