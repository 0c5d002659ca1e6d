"""A fit in memory that stored ones are compared with, and marks that are taken away."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import xarray as xr

from tests.support.builders import two_peaks
from tests.support.stored_spectra import spectra


@pytest.fixture(scope="module")
def expected() -> xr.Dataset:
    return spectra().fit.multifit(two_peaks()).compute()


def unmark(store: Path, chunks: range) -> None:
    """Take marks away, as if the run had been killed before it wrote them."""
    for chunk in chunks:
        shutil.rmtree(store / "marks" / "done" / "c" / str(chunk))
