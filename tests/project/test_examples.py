"""The examples run as they stand: each compares what it finds with the truth that it has
simulated, and writes its figures.
"""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from tests.support.paths import EXAMPLES

#: Figures of each script. abell478*.py and your_own.py have tests of their own, test_abell478.py and test_your_own.py.
FIGURES = {
    "atomic_columns": {"displacements.png"},
    "cathodoluminescence": {"spectrum.png", "wire.png"},
    "eds": {"chromium.png", "spectra.png"},
    "eels": {"ratio.png", "spectrum.png"},
    "fluorescence_decay": {"decay.png", "lifetimes.png"},
    "raman": {"maps.png", "spectrum.png"},
    "xps": {"spectrum.png", "thickness.png"},
}


def test_none_is_forgotten() -> None:
    scripts = {path.stem for path in EXAMPLES.glob("*.py")}
    assert scripts == {*FIGURES, "abell478", "abell478_samfire", "your_own"}


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_example(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own assertions hold, with tolerances argued where they stand."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--output", str(tmp_path)])
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert re.search(r"^\s*assert ", text, re.MULTILINE), "an example has to compare what it finds with what went in"
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    written = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(written) == FIGURES[name]
    assert min(written.values()) > 10_000
