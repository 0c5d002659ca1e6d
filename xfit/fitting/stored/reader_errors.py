"""Errors of the libraries that read files, told with the file's name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from xfit.display import without_secrets


@contextmanager
def telling(path: str | os.PathLike[str], kind: str) -> Iterator[None]:
    """Name the file in whatever is raised within; what a damaged file makes a library raise is of any kind.

    Parameters
    ----------
    path : str or path
    kind : str
        What it is read as.

    Raises
    ------
    ValueError
        In place of other errors; those of missing files, rights, libraries and memory, which say something of the
        machine, are left.
    """
    place = without_secrets(path)
    try:
        yield
    except (ImportError, MemoryError):
        raise
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        if place in str(error) and str(error).isprintable():
            raise
        raise type(error)(f"{place}: {without_secrets(error)}") from error
    except Exception as error:
        if isinstance(error, ValueError) and place in str(error) and str(error).isprintable():
            raise
        words = without_secrets(error).strip() or "no further words"
        raise ValueError(
            f"{place} can't be read as {kind} ({type(error).__name__}: {words}); it is damaged, or something else"
        ) from error
