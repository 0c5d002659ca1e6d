"""Versions that all processes of a fit must have in common: of xfit and its sources, numba, and Python."""

from __future__ import annotations

import functools
import os
import socket
import sys
from collections.abc import Mapping

import numba

from xfit._version import __version__
from xfit.engine.codegen.sources import source_hash


class VersionError(RuntimeError):
    """Two processes that work on one fit have different versions of what its numbers depend on."""


@functools.cache
def versions() -> Mapping[str, str]:
    """Versions of this process, by name."""
    # Compiled code and what is pickled go from one patch release of Python to another.
    python = ".".join(map(str, sys.version_info[:2]))
    return {"xfit": f"{__version__} (sources {source_hash()[:8]})", "numba": numba.__version__, "Python": python}


def check_versions(theirs: Mapping[str, str], here: str | None = None) -> None:
    """Refuse what another version has sent.

    Parameters
    ----------
    theirs : mapping of str to str
        Versions of the process that sent it.
    here : str, optional
        What this process is, for the message; by default its number, machine and Python.

    Raises
    ------
    VersionError
        Naming all that differ, on both sides.
    """
    own = versions()
    differing = [name for name in {**own, **theirs} if own.get(name) != theirs.get(name)]
    if differing:
        place = here or f"process {os.getpid()} on {socket.gethostname()} ({sys.executable})"
        ours, others = (", ".join(f"{n} {v.get(n, 'unknown')}" for n in differing) for v in (own, theirs))
        raise VersionError(
            f"{place} has {ours}, and the fit comes from {others}; install the same versions on the client, the "
            "scheduler and all workers"
        )
