"""The command in this process and in others, with data and models for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.support.builders import peak_map, two_peaks
from tests.support.paths import ROOT
from xfit.command import main

CHUNKS = {"y": 4, "x": 3}


def run(*words: object) -> Result:
    """A command in this process."""
    return CliRunner().invoke(main, [str(word) for word in words])


def start(folder: Path, *words: object) -> subprocess.Popen[str]:
    """A command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "xfit.command", *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        # A shell that runs the tests in the background has them, and what they start, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data with a variance and a mask beside them, in zarr and netCDF, and a model."""
    folder = tmp_path_factory.mktemp("command")
    da = peak_map((8, 6)).rename("counts")
    ds = da.to_dataset()
    ds["spread"] = 0.5 + 0.01 * np.abs(da)
    ds["good"] = da.isel(energy=0, drop=True) * 0 < 1
    ds["good"][2, 3] = False
    ds.chunk(CHUNKS).to_zarr(folder / "map.zarr", consolidated=False)
    ds.drop_vars(["spread", "good"]).to_netcdf(folder / "map.nc")
    two_peaks().to_file(folder / "model.toml")
    two_peaks().to_file(folder / "model.json")
    return folder
