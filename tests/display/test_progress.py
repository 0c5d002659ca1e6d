"""Progress messages in terminals and files, and without a usable stderr."""

from __future__ import annotations

import io
import sys
import time
from typing import Any

import pytest

from tests.support.builders import assert_same_bits, peak_map, two_peaks
from xfit import progress
from xfit.progress import reporter_of, told


class Terminal(io.StringIO):
    """Text that says that it is a terminal."""

    def isatty(self) -> bool:  # noqa: D102
        return True


def waited(monkeypatch: pytest.MonkeyPatch, stream: Any, silent: float = 0.01) -> None:
    """Work that ends when something was written, or after a while."""
    monkeypatch.setattr(progress, "SILENT", silent)
    monkeypatch.setattr(progress, "_BETWEEN", 0.01)
    monkeypatch.setattr(sys, "stderr", stream)
    with told("compiling the engine, once on this machine", 14.0):
        # Where nothing can be written, or should be, there is nothing to wait for.
        listens = silent < 1.0 and isinstance(stream, io.StringIO) and not stream.closed
        for _ in range(1000 if listens else 20):
            time.sleep(0.01)
            if listens and "compiling" in stream.getvalue():
                break


def test_a_line_where_there_is_no_terminal(monkeypatch) -> None:
    stream = io.StringIO()
    waited(monkeypatch, stream)
    assert stream.getvalue() == "xfit: compiling the engine, once on this machine (about 10 s)\n"


def test_a_bar_in_a_terminal(monkeypatch) -> None:
    stream = Terminal()
    waited(monkeypatch, stream)
    assert "compiling the engine" in stream.getvalue()
    assert "100%" in stream.getvalue()


def test_nothing_is_said_of_what_is_soon_done(monkeypatch) -> None:
    stream = io.StringIO()
    waited(monkeypatch, stream, silent=60.0)
    assert stream.getvalue() == ""


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, closed()], ids=["none", "closed"])
def test_without_stderr_nothing_is_said_and_the_work_is_done(monkeypatch, stream, tmp_path) -> None:
    """As in programs without a console, and after ``2>&-``."""
    waited(monkeypatch, stream)
    assert isinstance(reporter_of(None), progress.Silent)
    da = peak_map()
    expected = da.fit.multifit(two_peaks())
    stored = da.chunk({"x": 2}).fit.multifit(two_peaks(), store=tmp_path / "fit.zarr")
    assert_same_bits(stored.compute(), expected)
    found = da.chunk({"x": 2}).fit.samfire(two_peaks(), seeds=[(0, 0)])
    assert (found.status == 1).all()
