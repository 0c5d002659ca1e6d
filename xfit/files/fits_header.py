"""What a FITS file claims, checked against its size."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xfit.fitting.stored.codecs import LARGEST_CHUNK, RefusedFileError
from xfit.modeling.text_limits import amount, shown

#: No compression of FITS makes more bytes of one: deflate's limit is 1032, and of a tile a row of a table remains.
_BEST_COMPRESSION = 1100


def check_fits(path: Path) -> None:
    """Refuse a FITS file that claims more numbers than it has.

    Raises
    ------
    RefusedFileError
        Naming the extension, the keywords and the figure.
    """
    from astropy.io import fits

    size = path.stat().st_size * (_BEST_COMPRESSION if path.suffix == ".gz" else 1)
    with warnings.catch_warnings():
        # Of truncated files, which are refused in words of our own; the rest is said when the file is read.
        warnings.simplefilter("ignore")
        with fits.open(path, memmap=False, disable_image_compression=True) as file:
            for number, hdu in enumerate(file):
                where = f"{path}: extension {number}"
                for key in ("NAXIS", "TFIELDS"):
                    # The standard's limits (FITS 4.0, sections 4.4.1 and 7.3.1); astropy makes a list of as many.
                    if (value := hdu.header.get(key, 0)) not in range(1000):
                        raise RefusedFileError(f"{where} has {key} = {shown(value)}, which must be a whole number up to 999")  # fmt: skip
                begin = (hdu.fileinfo() or {}).get("datLoc", 0)
                if hdu.size < 0 or begin + hdu.size > size:
                    shape = [hdu.header.get(f"NAXIS{n}") for n in range(1, min(hdu.header.get("NAXIS", 0), 9) + 1)]
                    raise RefusedFileError(f"{where} claims {amount(hdu.size)} bytes (NAXISn {shape}, BITPIX {hdu.header.get('BITPIX')}, PCOUNT {hdu.header.get('PCOUNT', 0)}), of which the file has {max(size - begin, 0)}")  # fmt: skip
                if hdu.header.get("ZIMAGE"):
                    _check_tiles(hdu.header, where, size)


def _check_tiles(header: Mapping[str, Any], where: str, size: int) -> None:
    """Refuse a compressed image with more tiles than rows of its table, or more numbers than can be in the file."""
    count = header.get("ZNAXIS", 0)
    if not isinstance(count, int) or not 0 <= count <= 999:
        raise RefusedFileError(f"{where} has ZNAXIS = {count!r}")
    shape = [header.get(f"ZNAXIS{n}", 0) for n in range(1, count + 1)]
    tile = [header.get(f"ZTILE{n}", shape[0] if n == 1 else 1) for n in range(1, count + 1)]
    if not all(isinstance(n, int) and n >= 0 for n in shape) or not all(isinstance(n, int) and n > 0 for n in tile):
        raise RefusedFileError(f"{where} has ZNAXISn {shape} and ZTILEn {tile}, which are no sizes")
    width = abs(int(header.get("ZBITPIX", 8))) // 8
    number = math.prod(-(-n // each) for n, each in zip(shape, tile, strict=True))
    largest, claimed = math.prod(map(min, shape, tile)) * width, math.prod(shape) * width
    if number > header.get("NAXIS2", 0) or largest > LARGEST_CHUNK or claimed > _BEST_COMPRESSION * size:
        raise RefusedFileError(f"{where} claims {amount(number)} tiles and {amount(claimed)} bytes (ZNAXISn {shape}, ZTILEn {tile}); it has {header.get('NAXIS2', 0)} tiles in {size} bytes")  # fmt: skip
