"""What HDF5 and netCDF files claim, checked before their readers believe it: other files that they lead to,
loops, more numbers than they have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from xfit.display import cleaned
from xfit.files.hdf5_chunks import check_packed
from xfit.files.netcdf3_header import FORMATS, check_classic
from xfit.fitting.stored.codecs import LARGEST_CHUNK, MOST_ARRAYS, MOST_CHUNKS, RefusedFileError
from xfit.modeling.text_limits import amount

#: Most groups and arrays on all paths through a file, and levels of groups.
_MOST_OBJECTS, _DEEPEST = 100_000, 64

#: Arrays of one dimension above this size, in bytes, may be read when a file is opened; no filter makes more than so
#: many times what is stored.
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
        check_hdf5(path, MOST_ARRAYS, _is_read_at_once)


def check_variable(path: str, name: str, key: tuple[Any, ...]) -> None:
    """Refuse a part of a variable of a netCDF file that holds more than it can, see `check_packed`; only HDF5 packs."""
    if not _is_hdf5(Path(path)):
        return
    import h5py

    with h5py.File(path, "r") as file:
        # Of variables that share a dimension's name without being along it the netCDF library changes the name.
        variable = file.get(f"_nc4_non_coord_{name}", file.get(name))
        if isinstance(variable, h5py.Dataset):
            check_packed(variable, key)


def _is_read_at_once(variable: Any) -> bool:
    """Whether a variable of netCDF is read when the file is opened: coordinates, and dates, whose
    first and last tell their type.
    """
    units = variable.attrs.get("units", "")
    return variable.is_scale or "since" in str(units)


def check_hdf5(path: Path, most: int = _MOST_OBJECTS, at_once: Callable[[Any], bool] | None = None) -> None:
    """Refuse an HDF5 file that leads to other files, has loops, or claims more than it can
    have; other files are left alone.

    Parameters
    ----------
    path : Path
    most : int
        Groups and arrays that it may have at its root.
    at_once : callable, optional
        Whether an array (h5py.Dataset) is read before it can be looked into again: what is packed in it is looked at
        now.

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
        for place, dataset in _arrays(file, f"{path}"):
            _check_dataset(dataset, f"{path}: the array {place!r}", size)
            if at_once is not None and at_once(h5py.Dataset(dataset)):
                check_packed(h5py.Dataset(dataset))


def _is_hdf5(path: Path) -> bool:
    """Whether a file has HDF5's signature, at its beginning or, below blocks of its user,
    at a power of two from 512 on.
    """
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


def _arrays(file: Any, source: str) -> Iterator[tuple[str, Any]]:
    """Each array of a file, after a look at all paths that lead to it: a reader that follows them meets it as often."""
    import h5py

    links: list[tuple[str, int]] = []

    def see(name: bytes, info: Any) -> bool | None:
        # The same object comes with each.
        links.append((f"/{name.decode(errors='surrogateescape')}", info.type))
        return len(links) > _MOST_OBJECTS or None

    if file.id.links.visit(see, info=True):
        raise RefusedFileError(f"{source} has more than {_MOST_OBJECTS} groups and arrays")
    # All links that lead out before any is followed that may lead to one.
    for path, kind in links:
        if kind not in (h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT):
            raise RefusedFileError(
                f"{source}: {path!r} is a link to another file, {file.get(path, getlink=True).filename!r}; it is not "
                "followed. Copy what it leads to into the file"
            )
    root = _info(file, "/").addr
    groups: dict[int, list[tuple[str, int]]] = {root: []}
    places, arrays = {"": root}, {}
    for path, kind in links:
        found = _info(file, path)
        if found is None:
            # A soft link to nothing.
            continue
        if found.type == h5py.h5o.TYPE_GROUP:
            groups.setdefault(found.addr, [])
            places[path] = found.addr
        elif found.type == h5py.h5o.TYPE_DATASET and kind == h5py.h5l.TYPE_HARD:
            arrays[found.addr] = path
        groups[places[path.rpartition("/")[0]]].append((path, found.addr))
    _check_paths(groups, root, source)
    return ((path, h5py.h5d.open(file.id, path.encode(errors="surrogateescape"))) for path in arrays.values())


def _info(file: Any, path: str) -> Any:
    import h5py

    try:
        return h5py.h5o.get_info(file.id, path.encode(errors="surrogateescape"))
    except KeyError:
        return None


def _check_paths(groups: Mapping[int, list[tuple[str, int]]], root: int, source: str) -> None:
    """Refuse groups within themselves, in too many others, or on too many paths; given are
    what each holds, by addresses.
    """
    found: dict[int, tuple[int, int]] = {}

    def look(group: int, above: tuple[int, ...]) -> tuple[int, int]:
        """Paths within a group, and levels."""
        if group not in found:
            count = levels = 0
            for path, inner in groups[group]:
                count += 1
                if inner not in groups:
                    continue
                if inner in above or inner == group:
                    raise RefusedFileError(f"{source}: {path!r} is a group within itself")
                if len(above) < _DEEPEST:
                    more, deep = look(inner, (*above, group))
                    count, levels = count + more, max(levels, deep + 1)
                if len(above) + levels >= _DEEPEST:
                    raise RefusedFileError(f"{source}: {path!r} is nested more than {_DEEPEST} levels deep")
            found[group] = count, levels
        return found[group]

    count, _ = look(root, ())
    if count > _MOST_OBJECTS:
        raise RefusedFileError(
            f"{source} has more than {_MOST_OBJECTS} groups and arrays on the paths through it: {amount(count)}"
        )


def _check_dataset(dataset: Any, where: str, there: int) -> None:
    """Refuse an array whose numbers lie elsewhere, or can't be."""
    import h5py

    about = dataset.get_create_plist()
    layout = about.get_layout()
    elsewhere = [about.get_external(k)[0].decode(errors="replace") for k in range(about.get_external_count())]
    if layout == h5py.h5d.VIRTUAL:
        elsewhere += [each.file_name for each in h5py.Dataset(dataset).virtual_sources() if each.file_name != "."]
    if elsewhere:
        raise RefusedFileError(
            f"{where} lies in another file, {elsewhere[0]!r}, which is not read. Copy it into the file"
        )
    shape, chunk = dataset.shape or (), about.get_chunk() if layout == h5py.h5d.CHUNKED else None
    width, stored = dataset.get_type().get_size(), dataset.get_storage_size()
    size = math.prod(shape) * width
    if stored > there:
        raise RefusedFileError(f"{where} claims {amount(stored)} bytes in the file, which has {there}")
    if chunk is not None:
        number = math.prod(-(-n // each) for n, each in zip(shape, chunk, strict=True))
        largest = math.prod(chunk) * width
        # A filter makes little more of what it can't make less; what is more would be unpacked all the same.
        if stored > 2 * number * (largest + _BESIDE):
            raise RefusedFileError(
                f"{where} stores {amount(stored)} bytes in {amount(number)} chunks of {amount(largest)} bytes; it is "
                "damaged, or made to take memory"
            )
        if number > MOST_CHUNKS or largest > LARGEST_CHUNK:
            raise RefusedFileError(
                f"{where} claims {amount(number)} chunks of {amount(largest)} bytes; the most that are read are "
                f"{MOST_CHUNKS} of {amount(LARGEST_CHUNK)}"
            )
    if (
        size > _LARGE
        and (len(shape) == 1 or chunk is None)
        and stored * _BEST_COMPRESSION < size
        and layout != h5py.h5d.VIRTUAL
    ):
        raise RefusedFileError(
            f"{where} claims a shape of {shape}, {amount(size)} bytes, of which {stored} bytes are stored; it is not "
            "read"
        )
