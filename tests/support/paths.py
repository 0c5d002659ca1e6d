"""Where things lie that tests read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
EXAMPLES = ROOT / "examples"

#: Folder with files of instruments, which is no part of the project; see `real`.
_REAL = os.environ.get("XFIT_TEST_DATA", "")


def real(name: str) -> Path:
    """A file that an instrument or another program has written; the test is skipped where there is none.

    Parameters
    ----------
    name : str
        In the folder that the variable ``XFIT_TEST_DATA`` names.
    """
    if not _REAL:
        pytest.skip(f"XFIT_TEST_DATA names no folder with {name}")
    path = Path(_REAL) / name
    if not path.exists():
        pytest.skip(f"there is no {path}")
    return path
