"""The engine compiled, or loaded from the disk: once per process, by one process at a time, never from stale code."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from xfit.compile.cache import DAMAGED, compile_lock, source_hash
from xfit.compile.ties import compile_ties
from xfit.kernels.evaluate import Structure, aligned_rows, evaluate_pixels
from xfit.kernels.fit import fit_singly
from xfit.kernels.lane_fit import fit_side_by_side, lanes_of
from xfit.kernels.pixel import Block, Buffer, Limits
from xfit.kernels.workspace import workspace

_ready = threading.Lock()
_is_ready = False


def prepare_engine() -> None:
    """Compile the engine, or load it from the disk; the first call in a process does it, the others wait for it."""
    global _is_ready
    with _ready:
        if _is_ready:
            return
        with compile_lock("engine"):
            _forget_stale_code()
            try:
                _run_on_nothing()
            except DAMAGED as error:
                # A process that was killed or a full disk may leave half a file; it must cost a compilation, not every fit.
                warnings.warn(
                    f"the engine's machine code is damaged ({error!r}); compiling anew", RuntimeWarning, stacklevel=2
                )
                _delete_code()
                _run_on_nothing()
        _is_ready = True


def _forget_stale_code() -> None:
    """Delete the engine's machine code if it was made from other sources.

    numba looks at the file of the function that Python calls alone; what that calls from other files may have changed.
    """
    dispatcher: Any = fit_side_by_side
    folder = Path(dispatcher.stats.cache_path)
    stamp = folder / "xfit-engine.sha256"
    current = source_hash()
    try:
        if stamp.exists() and stamp.read_text() == current:
            return
        _delete_code()
        folder.mkdir(parents=True, exist_ok=True)
        stamp.write_text(current)
    except OSError as error:
        warnings.warn(f"can't check the engine's machine code in {folder}: {error}", RuntimeWarning, stacklevel=3)


def _delete_code() -> None:
    """Delete the engine's machine code from the disk."""
    dispatcher: Any = fit_side_by_side
    for name in ("lane_fit.fit_side_by_side", "fit.fit_singly", "evaluate.evaluate_pixels"):
        for path in Path(dispatcher.stats.cache_path).glob(f"{name}-*.nb?"):
            path.unlink(missing_ok=True)


def _run_on_nothing() -> None:
    """Call the engine without pixels, which compiles it for the types that it is always called with."""
    none = np.empty(0, np.int64)
    nothing = np.empty((1, 0))
    structure = Structure(none, none, none, none, 0, none, nothing[0])
    ties = compile_ties({}, ())
    everything = np.empty((1, 0), bool)
    pairs = np.empty((0, 2), np.int64)
    block = Block(nothing, nothing, everything, nothing[0], nothing, nothing, nothing, pairs, nothing)
    limits = Limits(0.0, 0, 0, True, False)
    ws = workspace(0, 0, 0, 0)
    buffer = Buffer(nothing[0], nothing[0], nothing)
    lanes = lanes_of(structure, ties, block, none, none, ws, True)
    fit_side_by_side(structure, structure, ties, nothing, block, none, none, limits, buffer, ws, lanes, none)
    fit_singly(structure, ties, nothing, block, nothing, none, none, limits, buffer, ws)
    evaluate_pixels(structure, ties, nothing, nothing[0], nothing, nothing, none, nothing[0], aligned_rows(1), nothing)
