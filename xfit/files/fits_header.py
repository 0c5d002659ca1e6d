"""What a FITS file claims, checked against its size."""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from xfit.fitting.stored.codecs import LARGEST_CHUNK, RefusedFileError
from xfit.modeling.text_limits import amount, shown

#: No compression of FITS makes more bytes of one: deflate's limit is 1032, and of a tile a row of a table remains.
_BEST_COMPRESSION = 1100

#: Bytes and times its own size that a packed file may have unpacked, which is read as a whole: noise, and numbers in
#: general, pack to a tenth at best.
_LARGE, _USUAL_COMPRESSION = 1 << 26, 50

#: Most cards of all headers, and extensions: each costs some 0.1 ms, and is looked at when a file is opened.
_MOST_CARDS, _MOST_EXTENSIONS = 30_000, 1_000
_BLOCK, _CARD = 2880, 80

#: Keywords that say how much there is, and the largest value of some: the standard's (FITS 4.0, sections 4.4.1 and
#: 7.3.1), and of what matrices are made of, which for polynomials of distortion is 9 by their convention (D. L. Shupe
#: et al. 2005, ASP Conf. Ser. 347, 491).
_SIZE = re.compile(
    r"(BITPIX|NAXIS\d*|PCOUNT|GCOUNT|GROUPS|TFIELDS|WCSAXES|[AB]P?_ORDER|Z(IMAGE|BITPIX|NAXIS\d*|TILE\d+))"
)
_MOST = {
    "NAXIS": 999,
    "ZNAXIS": 999,
    "TFIELDS": 999,
    "WCSAXES": 99,
    **dict.fromkeys(("A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER"), 99),
}


#: First bytes of files that astropy unpacks, whatever they are called, and what they are packed by.
_PACKED = {b"BZh": "bzip2", b"PK": "zip", b"\xfd7zXZ": "xz", b"\x1f\x9d": "compress", b"\x1f\xa0": "compress"}


def is_packed(path: Path) -> bool:
    """Whether a file is packed by gzip, as its first bytes tell, and read as a whole.

    Raises
    ------
    RefusedFileError
        Where it is packed by something else.
    """
    with path.open("rb") as file:
        begin = file.read(6)
    for mark, name in _PACKED.items():
        if begin.startswith(mark):
            raise RefusedFileError(f"{path} is packed by {name}, of which only gzip is read; unpack it first")
    return begin.startswith(b"\x1f\x8b")


def check_fits(path: Path) -> None:
    """Refuse a FITS file that claims more numbers than it has; its headers are read as they are, before astropy makes
    room for what they claim.

    Raises
    ------
    RefusedFileError
        Naming the extension, the keywords and the figure.
    """
    packed = is_packed(path)
    with gzip.open(path) if packed else path.open("rb") as file:
        begin = number = cards = 0
        while (header := _header(file, begin, _MOST_CARDS - cards)) is not None:
            where = f"{path}: extension {number}"
            cards, number = cards + header.pop("cards"), number + 1
            if cards > _MOST_CARDS or number > _MOST_EXTENSIONS:
                raise RefusedFileError(
                    f"{path} has more than {_MOST_CARDS} cards in its headers, or {_MOST_EXTENSIONS} extensions; it is "
                    "not read"
                )
            begin = _end(header, where, file.tell(), path.stat().st_size, packed)


def _header(file: BinaryIO | gzip.GzipFile, begin: int, most: int) -> dict[str, Any] | None:
    """What the header at a byte says of sizes, and how many cards it has, which may be read until they are too many;
    None where there is none.
    """
    file.seek(begin)
    found: dict[str, Any] = {"cards": 0}
    while found["cards"] <= most and len(block := file.read(_BLOCK)) == _BLOCK:
        for k in range(0, _BLOCK, _CARD):
            keyword = block[k : k + 8].rstrip().decode("latin-1")
            if keyword == "END":
                return found
            found["cards"] += 1
            if _SIZE.fullmatch(keyword):
                found.setdefault(keyword, _value(block[k + 10 : k + _CARD].decode("latin-1")))
    return found if found["cards"] > most else None


def _value(text: str) -> Any:
    """A number of a card, or its text."""
    text = text.partition("/")[0].strip()
    try:
        return int(text)
    except ValueError:
        return {"T": True, "F": False}.get(text, text)


def _end(header: Mapping[str, Any], where: str, begin: int, there: int, packed: bool) -> int:
    """The byte that the next header begins at; refuse an extension that claims too much."""
    for key, most in _MOST.items():
        if (value := header.get(key, 0)) not in range(most + 1):
            raise RefusedFileError(f"{where} has {key} = {shown(value)}, which must be a whole number up to {most}")
    shape: list[Any] = [header.get(f"NAXIS{n}") for n in range(1, header.get("NAXIS", 0) + 1)]
    parts = {"BITPIX": header.get("BITPIX", 8), "PCOUNT": header.get("PCOUNT", 0), "GCOUNT": header.get("GCOUNT", 1)}
    if not all(isinstance(value, int) for value in (*shape, *parts.values())) or min(*shape, *parts.values(), 0) < -64:
        raise RefusedFileError(f"{where} has NAXISn {shown(shape)} and {shown(parts)}, which are no sizes")
    # Of random groups the first size is 0, and is no dimension.
    numbers = math.prod(shape[1:] if shape and shape[0] == 0 and header.get("GROUPS") else shape) if shape else 0
    claimed = abs(parts["BITPIX"]) // 8 * parts["GCOUNT"] * (parts["PCOUNT"] + numbers) if shape else 0
    size = there * (_BEST_COMPRESSION if packed else 1)
    if claimed < 0 or begin + claimed > size:
        raise RefusedFileError(
            f"{where} claims {amount(claimed)} bytes (NAXISn {shape[:9]}, BITPIX {parts['BITPIX']}, PCOUNT "
            f"{parts['PCOUNT']}), of which the file has {max(size - begin, 0)}"
        )
    if packed and begin + claimed > max(_LARGE, _USUAL_COMPRESSION * there):
        raise RefusedFileError(
            f"{where} makes {amount(begin + claimed)} bytes of the {there} of the packed file, which would be read as "
            "a whole; unpack it first (gunzip)"
        )
    if header.get("ZIMAGE"):
        _check_tiles(header, where, size)
    return int(begin + -(-claimed // _BLOCK) * _BLOCK)


def _check_tiles(header: Mapping[str, Any], where: str, size: int) -> None:
    """Refuse a compressed image with more tiles than rows of its table, or more numbers than can be in the file."""
    count = header.get("ZNAXIS", 0)
    shape = [header.get(f"ZNAXIS{n}", 0) for n in range(1, count + 1)]
    tile = [header.get(f"ZTILE{n}", shape[0] if n == 1 else 1) for n in range(1, count + 1)]
    if not all(isinstance(n, int) and n >= 0 for n in shape) or not all(isinstance(n, int) and n > 0 for n in tile):
        raise RefusedFileError(f"{where} has ZNAXISn {shape} and ZTILEn {tile}, which are no sizes")
    width = header["ZBITPIX"] if isinstance(header.get("ZBITPIX"), int) else 8
    width = abs(width) // 8
    number = math.prod(-(-n // each) for n, each in zip(shape, tile, strict=True))
    largest, claimed = math.prod(map(min, shape, tile)) * width, math.prod(shape) * width
    if number > header.get("NAXIS2", 0) or largest > LARGEST_CHUNK or claimed > _BEST_COMPRESSION * size:
        raise RefusedFileError(
            f"{where} claims {amount(number)} tiles and {amount(claimed)} bytes (ZNAXISn {shape}, ZTILEn {tile}); it "
            f"has {header.get('NAXIS2', 0)} tiles in {size} bytes"
        )
