"""What the header of a netCDF file in one of the classic formats claims, checked against the file's size: the
library makes room for it first.

The layout is that of the NetCDF Users Guide, appendix "File Format Specifications": numbers are big-endian, lists have
a tag and a count before them, and names and values are filled up to four bytes.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

from xfit.fitting.stored.codecs import MOST_ARRAYS, RefusedFileError
from xfit.modeling.text_limits import amount

#: First bytes, and sizes of counts and of places in the file, in bytes.
FORMATS = {b"CDF\x01": (4, 4), b"CDF\x02": (4, 8), b"CDF\x05": (8, 8)}

#: Bytes of a value by the number of its type.
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}


def check_classic(path: Path) -> None:
    """Refuse a classic netCDF file that claims more than it has.

    Raises
    ------
    RefusedFileError
        Naming the variable, or the place in the header, and the figure.
    """
    with path.open("rb") as file:
        header = _Header(path, file)
        header.read()


class _Header:
    """The header of a file, read with an eye on what is left of the file."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file, self._size = path, file, path.stat().st_size
        self._count, self._place = FORMATS[file.read(4)]

    def read(self) -> None:
        """Read all of it."""
        records = self._number(self._count)
        if records == 256**self._count - 1:
            # Of a file that was being written: as many as there are.
            records = 0
        lengths = []
        for _ in range(self._listed(10)):
            self._text()
            lengths.append(self._number(self._count))
        self._attributes()
        count = self._listed(11)
        if count > MOST_ARRAYS:
            raise RefusedFileError(
                f"{self._path} has {count} variables; the most that are opened together are {MOST_ARRAYS}"
            )
        for _ in range(count):
            name = self._text()
            used = [self._number(self._count) for _ in range(self._claimed(self._count))]
            self._attributes()
            width = self._width()
            self._number(self._count)
            begin = self._number(self._place)
            if any(k >= len(lengths) for k in used):
                raise RefusedFileError(f"{self._path}: the variable {name!r} has dimensions {used}, of {len(lengths)}")
            shape = [lengths[k] or records for k in used]
            if math.prod(shape) * width > max(self._size - begin, 0):
                raise RefusedFileError(
                    f"{self._path}: the variable {name!r} claims a shape of {shape}, "
                    f"{amount(math.prod(shape) * width)} bytes from byte {begin} on; the file has {self._size}"
                )

    def _attributes(self) -> None:
        for _ in range(self._listed(12)):
            self._text()
            width = self._width()
            self._skip(self._claimed(width) * width)

    def _listed(self, tag: int) -> int:
        """Number of entries of a list, each of which has eight bytes at least."""
        found = self._number(4)
        if found not in (0, tag):
            raise RefusedFileError(
                f"{self._path}: byte {self._file.tell() - 4} of the header is {found}, not {tag}, which begins a list"
            )
        return self._claimed(8)

    def _claimed(self, width: int) -> int:
        """Number of what is said to follow, each of so many bytes."""
        number, left = self._number(self._count), self._size - self._file.tell()
        if number * width > left:
            raise RefusedFileError(
                f"{self._path}: the header claims {amount(number)} entries at byte {self._file.tell()}, of {width} "
                f"bytes at least; {left} are left"
            )
        return number

    def _text(self) -> str:
        length = self._claimed(1)
        text = self._file.read(length).decode(errors="replace")
        self._file.seek(-length % 4, 1)
        return text[:200]

    def _skip(self, length: int) -> None:
        self._file.seek(length + -length % 4, 1)

    def _width(self) -> int:
        kind = self._number(4)
        if kind not in _WIDTHS:
            raise RefusedFileError(f"{self._path}: {kind} at byte {self._file.tell() - 4} is no type of netCDF")
        return _WIDTHS[kind]

    def _number(self, width: int) -> int:
        raw = self._file.read(width)
        if len(raw) < width:
            raise RefusedFileError(f"{self._path}: the header ends after {self._size} bytes, where more is announced")
        return int.from_bytes(raw, "big")
