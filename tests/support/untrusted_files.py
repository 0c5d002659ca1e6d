"""Stores and files that claim what is not so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numcodecs  # type: ignore[import-untyped]
import pytest
import xarray as xr

from tests.support.builders import peak_map, two_peaks


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.fixture(autouse=True)
def as_older_numcodecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numcodecs before 0.16.6 unpickles whatever it is given."""
    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True)


@pytest.fixture(scope="module")
def result() -> xr.Dataset:
    return peak_map((2, 3)).fit.multifit(two_peaks()).compute()
