"""Readers of file formats: a table, to which installed packages add theirs by entry points
of the group ``xfit.readers``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import xarray as xr

from xfit.files import datasets, fits

#: Group of entry points; each names a `Reader`.
GROUP = "xfit.readers"


@dataclass(frozen=True)
class Reader:
    """What reads files of a format.

    Parameters
    ----------
    name : str
        Of the format, for ``reader=`` and for messages.
    extensions : sequence of str
        Ends of files' names, in lower case, each with its dot.
    read : callable
        Is called with the path, a `pathlib.Path`, and with whether all that the instrument wrote is wanted. Returns
        DataArrays, lazy where the format allows, with signal dimensions last; or the Dataset of a fit's result.
    """

    name: str
    extensions: Sequence[str]
    read: Callable[[Path, bool], list[xr.DataArray] | xr.Dataset]


OWN = (
    Reader("netCDF", datasets.NETCDF, lambda path, original_metadata: datasets.open_netcdf(path)),
    Reader("FITS", fits.EXTENSIONS, fits.open_fits),
)


@cache
def readers() -> tuple[Reader, ...]:
    """Readers of xfit and of installed packages; those for RosettaSciIO's formats are not among them.

    Raises
    ------
    TypeError
        For an entry point that is no `Reader`, naming it and its package.
    """
    found = list(OWN)
    for entry in sorted(entry_points(group=GROUP), key=lambda each: each.name):
        made = entry.load()
        if not isinstance(made, Reader):
            package = entry.dist.name if entry.dist else "a package"
            raise TypeError(
                f"entry point {entry.name!r} of {package} in {GROUP!r} must be an xfit.files.readers.Reader, not "
                f"{type(made).__name__}"
            )
        found.append(made)
    return tuple(found)


def reader_for(path: Path, name: str | None) -> Reader | None:
    """The reader of a name, or the first for a file's extension; None leaves the file to RosettaSciIO."""
    if name is not None:
        return next((each for each in readers() if each.name.lower() == name.lower()), None)
    return next((each for each in readers() if path.name.lower().endswith(tuple(each.extensions))), None)
