"""Cost of a pixel beside its fit: no Python call, and no memory beyond data and results."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.support.builders import peak_map, two_peaks
from xfit.engine.block.arguments import BlockArguments
from xfit.engine.block.cancellation import Pace
from xfit.engine.block.fit_block import fit_block
from xfit.engine.block.options import FitOptions
from xfit.engine.codegen.program import Program
from xfit.fitting.planning.checks import settings_of


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], None]:
    """Fit so many pixels in one piece."""
    monkeypatch.setattr(Pace, "pixels", 1 << 20)
    da, model = peak_map(), two_peaks()
    program = Program.from_model(model)
    settings = settings_of(model, program, np.ones(3, bool), bounded=True, n_channels=da.sizes["energy"])
    x, y = da["energy"].values, da.values.reshape(-1, da.sizes["energy"])

    def fit(pixels: int, optimizer: str) -> None:
        options = BlockArguments(options=FitOptions(optimizer=optimizer))
        fit_block(program, settings, np.resize(y, (pixels, y.shape[1])), {program.coordinates[0]: x}, options)

    return fit


def calls_in(function: Callable[..., Any], *arguments: Any) -> int:
    """Functions of Python's and C's that a call makes."""
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("optimizer", ["lm", "varpro"])
def test_no_python_for_each_pixel(fit: Callable[[int, str], None], optimizer: str) -> None:
    fit(24, optimizer)
    assert calls_in(fit, 24, optimizer) == calls_in(fit, 960, optimizer)


def test_memory_is_that_of_data_and_results(fit: Callable[[int, str], None]) -> None:
    fit(24, "lm")
    tracemalloc.start()
    try:
        fit(960, "lm")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        fit(9600, "lm")
        _, larger = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Sixty channels as they are given, and what is converted at a time; results of some sixty numbers.
    assert larger - peak < (9600 - 960) * 8 * (2 * 60 + 80)
