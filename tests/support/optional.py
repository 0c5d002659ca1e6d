"""Packages that some tests need and the lowest environment has not: those tests are skipped there, by name, and the
others of their file run.
"""

from __future__ import annotations

from typing import Any

import pytest


class _Package:
    """A module that is imported when something of it is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("_", "pytest")):
            # What pytest asks of all that it finds in a file of tests, which would skip the file.
            raise AttributeError(name)
        return getattr(pytest.importorskip(self._name), name)


def optional(name: str) -> Any:
    """A module, which skips the test that uses it where it is not installed."""
    return _Package(name)
