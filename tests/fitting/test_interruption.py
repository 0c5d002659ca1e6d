"""Ctrl-C: who waits is back at once, nothing goes on, what is done is said, and the next fit is as any other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
import xarray as xr
from jupyter_client.manager import start_new_kernel

import xfit
import xfit.engine.block.cancellation as cancellation
from tests.support.paths import ROOT
from xfit.components import Offset, Voigt
from xfit.engine.block.cancellation import Interrupted, Pace, Token, check, heeding, pieces
from xfit.engine.math.layout import LANES
from xfit.fitting.running.interruption import in_threads
from xfit.fitting.stored.info import info

#: Seconds for what takes a fraction of one on a machine that does nothing else; the fits themselves take minutes.
AT_ONCE = 20.0

SCRIPT = '''
import json, logging, os, signal, sys, tempfile, threading, time
import numpy as np, xarray as xr, xfit
import xfit.engine.block.fit_block, xfit.engine.block.pixel_problem
from xfit.components import Offset, Voigt

X = np.linspace(0, 10, 200)
counts = np.random.default_rng(0).poisson(5 + 60 * np.exp(-((X - 4) ** 2) / 2), (500, 400, 200)).astype("f4")
DATA = xr.DataArray(counts, dims=("y", "x", "e"), coords={"e": X})
MODEL = xfit.Model([Voigt(name="v", centre=4.5, area=5, gamma=0.3, sigma=0.3), Offset(name="o")])
FOLDER = tempfile.mkdtemp()
SAMFIRE = dict(seeds=[(0, 0), (250, 200)], goodness=lambda red_chisq: red_chisq < 100, progress=False)


def ctrl_c_when_it_fits():
    """Send the signal when some pixels have been fitted."""
    seen, count = threading.Event(), xfit.engine.block.fit_block.count

    def counting(pixels):
        count(pixels)
        seen.set()

    def send():
        seen.wait()
        time.sleep(0.3)
        xfit.engine.block.fit_block.count = count
        globals()["SENT"] = time.monotonic()
        os.kill(os.getpid(), signal.SIGINT)

    xfit.engine.block.fit_block.count = cancellation.count = counting
    threading.Thread(target=send).start()


from xfit.engine.block import cancellation
few = DATA[:2, :2]
right = few.fit.multifit(MODEL)
fit = DATA[:40].fit.multifit(MODEL, max_nfev=3)
lazy = DATA.chunk(y=20, x=20)
WAYS = {
    "memory": lambda: DATA.fit.multifit(MODEL),
    "lazy": lambda: lazy.fit.multifit(MODEL).compute(),
    "stored": lambda: lazy.fit.multifit(MODEL, store=FOLDER + "/s.zarr", progress=False),
    "samfire": lambda: DATA.fit.samfire(MODEL, **SAMFIRE),
    "stored samfire": lambda: lazy.fit.samfire(MODEL, store=FOLDER + "/f", **SAMFIRE),
    "trf": lambda: DATA.fit.multifit(MODEL, optimizer="trf"),
    "bootstrap": lambda: fit.fit.conf_interval(DATA[:40], method="bootstrap"),
    "profile": lambda: right.fit.conf_interval(few),
    "select": lambda: DATA.fit.select([MODEL, xfit.Model([Offset(name="o")])]),
    "refit": lambda: fit.fit.refit(DATA[:40], where=fit.status > 0, start="estimate"),
    "curvefit": lambda: DATA.fit.curvefit(
        "e", lambda x, a, c, s: a * np.exp(-((x - c) / s) ** 2) + np.floor(x) * 0, p0={"c": 4}
    ),
}
'''

RUN = (
    SCRIPT
    + """
for way in sys.argv[1:]:
    ctrl_c_when_it_fits()
    words, status = "", None
    try:
        status = WAYS[way]().status.values
    except KeyboardInterrupt as error:
        words = str(error)
    back, cpu = time.monotonic() - SENT, time.process_time()
    time.sleep(2)
    left = time.process_time() - cpu
    again = few.fit.multifit(MODEL).identical(right)
    done = None if status is None else int((status == 1).sum())
    came = {"way": way, "back": back, "left": left, "words": words, "done": done, "again": again}
    print(json.dumps(came), flush=True)
print(json.dumps(FOLDER), time.time(), flush=True)
"""
)


def start(code: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        # A shell that runs the tests in the background has them, and what they start, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupted(*ways: str) -> tuple[dict[str, dict[str, Any]], str, str]:
    """What came of interruptions, one after the other in one process; its folder, and
    what it wrote to standard error.
    """
    process = start(RUN, *ways)
    out, errors = process.communicate(timeout=900)
    ended = time.time()
    assert process.returncode == 0, errors
    *lines, last = out.splitlines()
    folder, _, printed = last.rpartition(" ")
    # Nothing that goes on is waited for at the end.
    assert ended - float(printed) < AT_ONCE
    found = {line["way"]: line for line in map(json.loads, lines)}
    for line in found.values():
        assert line["back"] < AT_ONCE, line
        # Two seconds of a thread that goes on would be two.
        assert line["left"] < 1.0, line
        assert line["again"], line
    return found, json.loads(folder), errors


@pytest.mark.slow
def test_in_memory_and_lazy() -> None:
    found, _, _ = interrupted("memory", "lazy", "trf", "select")
    for way in ("memory", "trf", "select"):
        assert (
            "of 200,000 pixels were fitted, which are lost; a fit with store= keeps what is done" in found[way]["words"]
        )
    assert "pixels were fitted, which are lost" in found["lazy"]["words"]


@pytest.mark.slow
def test_intervals_refits_and_curvefit() -> None:
    found, _, _ = interrupted("bootstrap", "refit", "curvefit")
    assert "the intervals that were found are lost" in found["bootstrap"]["words"]
    assert all("pixels were fitted, which are lost" in found[way]["words"] for way in ("refit", "curvefit"))


@pytest.mark.slow
def test_stored_and_samfire() -> None:
    """What is done stays, and the same call goes on with it."""
    found, folder, errors = interrupted("stored", "samfire", "stored samfire")
    words = found["stored"]["words"]
    assert "of 500 chunks are fitted and stay in" in words
    assert "resume=True goes on with the others" in words
    stored = info(f"{folder}/s.zarr")
    # A chunk whose writing takes longer than the wait for it is whole after the words were said.
    assert int(words.split()[0]) <= stored.done < 500
    # A run from seeds returns what it has.
    assert found["samfire"]["done"] > 0
    assert errors.count("interrupted: ") == 2
    assert "the same call goes on with it" in errors


@pytest.mark.slow
def test_a_script_ends_with_its_interruption() -> None:
    """Of a lazy fit that nobody catches: threads of dask's own would go on for as long as their blocks take."""
    process = start(
        SCRIPT
        + (
            "lazy = DATA.chunk(y=250, x=400)\nctrl_c_when_it_fits()\ntry:\n    WAYS['lazy']()\nfinally:\n    "
            "print(time.time(), flush=True)\n"
        )
    )
    out, errors = process.communicate()
    assert time.time() - float(out) < AT_ONCE
    assert process.returncode != 0
    assert errors.strip().splitlines()[-1].startswith("KeyboardInterrupt")


@pytest.mark.slow
def test_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """The button that interrupts the kernel."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        said: list[Any] = []

        def run(code: str) -> dict[str, Any]:
            reply: dict[str, Any] = client.execute_interactive(code, output_hook=said.append)["content"]
            return reply

        assert run(SCRIPT)["status"] == "ok"
        pressed: list[float] = []

        def press() -> None:
            time.sleep(4)
            pressed.append(time.monotonic())
            manager.interrupt_kernel()

        button = threading.Thread(target=press)
        button.start()
        reply = run("WAYS['memory']()")
        button.join()
        assert time.monotonic() - pressed[0] < AT_ONCE
        assert reply["ename"] == "KeyboardInterrupt"
        assert "pixels were fitted, which are lost" in reply["evalue"]
        assert run("assert few.fit.multifit(MODEL).identical(right)")["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


# --- what they are made of


def test_pieces_are_all_pixels_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as are fitted side by side at first; then by the time that they take."""
    now = [0.0]
    monkeypatch.setattr(cancellation.time, "perf_counter", lambda: now[0])
    for pace, sizes in ((1.0, [LANES] * 3), (2.0**-9, [LANES, 204, 204]), (2.0**-16, [LANES, 6553, 6553])):
        found = []
        for piece in pieces(np.arange(sum(sizes)), Pace()):
            found.append(piece)
            now[0] += pace * piece.size
        assert [piece.size for piece in found] == sizes
        np.testing.assert_array_equal(np.concatenate(found), np.arange(sum(sizes)))


def test_numbers_do_not_depend_on_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.linspace(0, 10, 60)
    y = np.random.default_rng(1).poisson(5 + 60 * np.exp(-((x - 4) ** 2) / 2), (50, 60)).astype(float)
    da = xr.DataArray(y, dims=("p", "x"), coords={"x": x})
    model = xfit.Model([Voigt(name="v", centre=4.5, area=5, gamma=0.3, sigma=0.3), Offset(name="o")])
    for options in (
        {},
        {"path": "flyback"},
        {"starts": 2, "spread": {"v.centre": 1.0}},
        {"optimizer": "varpro"},
        {"optimizer": "L-BFGS-B"},
    ):
        monkeypatch.setattr(Pace, "pixels", 10_000)
        whole = da.fit.multifit(model, **options)
        monkeypatch.setattr(Pace, "pixels", 7)
        xr.testing.assert_identical(da.fit.multifit(model, **options), whole)


def test_a_token_stops_what_heeds_it_and_nothing_else() -> None:
    mine, other = Token(), Token()
    with heeding(mine):
        other.stop()
        check()
        mine.stop()
        with pytest.raises(Interrupted):
            check()
    check()


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_in_one_thread_ends_the_others(workers: int) -> None:
    calls = []

    def call(item: int) -> None:
        calls.append(item)
        if item == 0:
            raise ValueError("wrong")
        while workers > 1:
            check()
            time.sleep(0.01)

    with pytest.raises(ValueError, match="wrong"):
        in_threads(call, range(50), workers, 50)
    assert len(calls) < 10
