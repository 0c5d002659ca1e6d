"""What HDF5 and netCDF files claim, checked before their readers believe it: other files that they lead to, loops, more numbers than they have."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xfit.display import cleaned
from xfit.files.netcdf3_header import FORMATS, check_classic
from xfit.fitting.stored.codecs import LARGEST_CHUNK, MOST_ARRAYS, MOST_CHUNKS, RefusedFileError
from xfit.modeling.text_limits import amount

#: Most groups and arrays on all paths through a file, and levels of groups.
_MOST_OBJECTS, _DEEPEST = 100_000, 64

#: Arrays of one dimension above this size, in bytes, may be read when a file is opened; no filter makes more than so many times what is stored.
_LARGE, _BEST_COMPRESSION = 1 << 25, 1100

#: Bytes that a filter may add to a chunk.
_BESIDE = 4096


def check_netcdf(path: Path) -> None:
    """Refuse a netCDF file that claims more than it has; see `check_hdf5`.

    Raises
    ------
    RefusedFileError
        Naming the variable and the figure.
    ImportError
        Where the file is HDF5 and h5py is missing.
    """
    with path.open("rb") as file:
        is_classic = file.read(4) in FORMATS
    if is_classic:
        check_classic(path)
    else:
        check_hdf5(path, MOST_ARRAYS)


def check_hdf5(path: Path, most: int = _MOST_OBJECTS) -> None:
    """Refuse an HDF5 file that leads to other files, has loops, or claims more than it can have; other files are left alone.

    Parameters
    ----------
    path : Path
    most : int
        Groups and arrays that it may have at its root.

    Raises
    ------
    RefusedFileError
        Naming the group or array, and the figure.
    ImportError
        Where h5py is missing.
    """
    if not _is_hdf5(path):
        return
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            f"reading {cleaned(str(path))} needs h5py ({error}); install it with: pip install 'xfit[io]'"
        ) from error
    size = path.stat().st_size
    with h5py.File(path, "r") as file:
        if len(file) > most:
            raise RefusedFileError(f"{path} has {len(file)} variables; the most that are opened together are {most}")
        # All links that lead out before any is followed that may lead to one.
        for soft in (False, True):
            for place, node in _walk(file, f"{path}", soft):
                if not soft and isinstance(node, h5py.Dataset):
                    _check_dataset(node, f"{path}: the array {place!r}", size)


def _is_hdf5(path: Path) -> bool:
    """Whether a file has HDF5's signature, at its beginning or, below blocks of its user, at a power of two from 512 on."""
    if not path.is_file():
        return False
    size, place = path.stat().st_size, 0
    with path.open("rb") as file:
        while place < size:
            file.seek(place)
            if file.read(8) == b"\x89HDF\r\n\x1a\n":
                return True
            place = 512 if place == 0 else 2 * place
    return False


def _walk(file: Any, source: str, soft: bool) -> Iterator[tuple[str, Any]]:
    """Everything in a file on all paths that lead to it: a reader that follows them meets it as often.

    Parameters
    ----------
    soft : bool
        Whether soft links are followed, as well as hard ones.
    """
    import h5py

    left: list[tuple[str, Any, frozenset[int]]] = [("", file, frozenset([_address(file)]))]
    count = 0
    while left:
        place, group, above = left.pop()
        for name in group:
            link, path = group.get(name, getlink=True), f"{place}/{name}"
            if isinstance(link, h5py.ExternalLink):
                raise RefusedFileError(f"{source}: {path!r} is a link to another file, {link.filename!r}; it is not followed. Copy what it leads to into the file")  # fmt: skip
            if isinstance(link, h5py.SoftLink) and not soft:
                continue
            node = group.get(name)
            if node is None:
                # A soft link to nothing.
                continue
            count += 1
            if count > _MOST_OBJECTS:
                raise RefusedFileError(f"{source} has more than {_MOST_OBJECTS} groups and arrays on the paths through it")  # fmt: skip
            yield path, node
            if isinstance(node, h5py.Group):
                address = _address(node)
                if address in above or len(above) > _DEEPEST:
                    why = "is a group within itself" if address in above else f"is nested more than {_DEEPEST} levels deep"  # fmt: skip
                    raise RefusedFileError(f"{source}: {path!r} {why}")
                left.append((path, node, above | {address}))


def _address(group: Any) -> int:
    import h5py

    return int(h5py.h5o.get_info(group.id).addr)


def _check_dataset(dataset: Any, where: str, there: int) -> None:
    """Refuse an array whose numbers lie elsewhere, or can't be."""
    elsewhere = [entry[0] for entry in dataset.external or ()]
    if dataset.is_virtual:
        elsewhere += [each.file_name for each in dataset.virtual_sources() if each.file_name != "."]
    if elsewhere:
        raise RefusedFileError(f"{where} lies in another file, {elsewhere[0]!r}, which is not read. Copy it into the file")  # fmt: skip
    shape = dataset.shape or ()
    width, stored = dataset.dtype.itemsize, dataset.id.get_storage_size()
    size = math.prod(shape) * width
    if stored > there:
        raise RefusedFileError(f"{where} claims {amount(stored)} bytes in the file, which has {there}")
    if dataset.chunks is not None:
        number = math.prod(-(-n // each) for n, each in zip(shape, dataset.chunks, strict=True))
        largest = math.prod(dataset.chunks) * width
        # A filter makes little more of what it can't make less; what is more would be unpacked all the same.
        if stored > 2 * number * (largest + _BESIDE):
            raise RefusedFileError(f"{where} stores {amount(stored)} bytes in {amount(number)} chunks of {amount(largest)} bytes; it is damaged, or made to take memory")  # fmt: skip
        if number > MOST_CHUNKS or largest > LARGEST_CHUNK:
            raise RefusedFileError(f"{where} claims {amount(number)} chunks of {amount(largest)} bytes; the most that are read are {MOST_CHUNKS} of {amount(LARGEST_CHUNK)}")  # fmt: skip
    if size > _LARGE and (len(shape) == 1 or dataset.chunks is None) and stored * _BEST_COMPRESSION < size and not dataset.is_virtual:  # fmt: skip
        raise RefusedFileError(f"{where} claims a shape of {shape}, {amount(size)} bytes, of which {stored} bytes are stored; it is not read")  # fmt: skip
