"""The engine loaded from the disk, where a process of its own has compiled it: by one process at a time, never from stale code.

It has parts, each compiled when it is first needed.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite.binding import get_host_cpu_features
from numba.core.registry import cpu_target

from xfit.engine.block.options import FitOptions
from xfit.engine.block.pixel_loop import Search, fit_singly
from xfit.engine.block.prepared_fit import limits_of
from xfit.engine.codegen.kernel_cache import DAMAGED, ENGINE_SOURCES, compile_lock, engine_hash
from xfit.engine.codegen.linking import linked_first
from xfit.engine.codegen.subprocess_compile import CompiledMarker, can_start_python, compile_apart
from xfit.engine.codegen.tie_compiler import compile_ties
from xfit.engine.linear.fit import fit_alike, fit_linear_singly, fit_weighted
from xfit.engine.linear.groups import Equations, group_of
from xfit.engine.linear.rows import Affine, rows_of
from xfit.engine.linear.solve import problems_of
from xfit.engine.math import layout
from xfit.engine.math.jit import ENTRIES, entry_folders
from xfit.engine.pixel.evaluate import Structure, aligned_rows, evaluate_pixels
from xfit.engine.pixel.objective import begin_pixel, deviations_at, end_pixel, loss_at, spectrum_for
from xfit.engine.pixel.packed_row import further_at
from xfit.engine.pixel.profile import profile_pixels
from xfit.engine.pixel.rows import Block, buffer_of
from xfit.engine.pixel.workspace import workspace
from xfit.engine.simd.fit import fit_side_by_side, lanes_of
from xfit.engine.waves.clocks import advance
from xfit.engine.waves.wavefront import begin_at, rank
from xfit.progress import told

#: Functions that Python calls, and no other compiled function.
_ENTRIES = (fit_side_by_side, fit_singly, fit_alike, fit_weighted, fit_linear_singly, profile_pixels)

#: Seconds that parts take on two cores of a processor with AVX-512.
_SECONDS = {"fit": 60.0, "objective": 30.0, "linear": 40.0, "profile": 50.0, "wave": 5.0}

_ready = threading.Lock()
_is_ready: set[str] = set()


def part_for(engine: str, single: bool = False) -> str:
    """Part of the engine that an optimizer's needs; see `xfit.engine.block.optimizers.Optimizer.engine`.

    Parameters
    ----------
    single : bool
        Whether linear fits read data of single precision.
    """
    linear = "linear of single precision" if single else "linear"
    return {"kernel": "fit", "linear": linear}.get(engine, "objective")


def prepare_engine(part: str = "fit") -> None:
    """Compile a part of the engine, or load it from the disk; the first call in a process does it, the others wait for it.

    Parameters
    ----------
    part : {"fit", "objective", "linear", "linear of single precision", "profile", "wave"}
        What is needed.
    """
    if part in _is_ready:
        return
    with _ready:
        if part in _is_ready:
            return
        # Environments with machine code of their own do not wait for each other.
        folders = hashlib.sha256(repr(entry_folders()).encode()).hexdigest()[:16]
        with compile_lock(f"engine-{folders}"):
            _forget_stale_code()
            _have_compiled(part)
            try:
                _PARTS[part]()
            except DAMAGED as error:
                # A process that was killed or a full disk may leave half a file; it must cost a compilation, not every fit.
                warnings.warn(
                    f"the engine's machine code is damaged ({error!r}); compiling anew", RuntimeWarning, stacklevel=2
                )
                _delete_code()
                _have_compiled(part)
                _PARTS[part]()
            _let_go()
        _is_ready.add(part)


def compile_part(part: str) -> None:
    """Compile a part of the engine, or a share of one, in this process, which then must end; what is on the disk is loaded."""
    with linked_first(ENTRIES):
        (_PARTS | _SHARES)[part]()


def _made() -> CompiledMarker:
    """What is on the disk for this processor and these sources."""
    # What numba tells machine code apart by: the processor, and size and time of the sources.
    package = Path(layout.__file__).parents[2]
    sources = [(package / source).stat() for source in ENGINE_SOURCES]
    # Python's flags change the functions' bytecode.
    kind = (
        cpu_target.target_context.codegen().magic_tuple(),
        sys.flags.optimize,
        [(each.st_mtime, each.st_size) for each in sources],
    )
    return CompiledMarker(entry_folders(), hashlib.sha256(repr(kind).encode()).hexdigest()[:16])


def _have_compiled(part: str) -> None:
    """Have a part compiled by another process, if it is not on the disk and if that can be; else what loads it compiles it."""
    made = _made()
    if part in made or not made.can_be_written() or not can_start_python():
        return
    with told("compiling the engine, once on this machine", _seconds_of(part)):
        why = compile_apart(*_SHARED.get(part, (part,)))
    if why:
        warnings.warn(
            f"the engine is compiled in this process, which will keep about 1 GiB: {why}", RuntimeWarning, stacklevel=3
        )
        return
    with suppress(OSError):
        # A disk that has just become full: the next process will look for the machine code in vain, and have it made again.
        made.add(part)


def _seconds_of(part: str) -> float:
    """About how long a part takes to compile on a processor of this kind."""
    return _SECONDS.get(part, 60.0) * (1.0 if get_host_cpu_features().get("avx512f") else 3.0)


def _forget_stale_code() -> None:
    """Delete the engine's machine code if it was made from other sources.

    numba looks at the file of the function that Python calls alone; what that calls from other files may have changed.
    """
    folders = entry_folders()
    stamp = folders[0] / "xfit-engine.sha256"
    current = engine_hash()
    try:
        if stamp.exists() and stamp.read_text() == current:
            return
        _delete_code()
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        stamp.write_text(current)
    except OSError as error:
        warnings.warn(f"can't check the engine's machine code in {folders[0]}: {error}", RuntimeWarning, stacklevel=3)


def _delete_code() -> None:
    """Delete the engine's machine code from the disk."""
    _made().clear()
    for folder in entry_folders():
        for path in folder.glob("*.nb?"):
            path.unlink(missing_ok=True)


def _let_go() -> None:
    """Free what numba keeps of loaded functions for others that might be compiled to call them, which none is: 40 MiB a process."""
    for entry in _ENTRIES:
        dispatcher: Any = entry
        for compiled in dispatcher.overloads.values():
            # Not public: LLVM's text of the function beside its machine code. Where numba has it no more, nothing is done.
            if getattr(compiled.library, "_shared_module", None) is not None:
                compiled.library._shared_module = None
    if sys.platform == "linux":
        # Of the GNU C library, which by itself gives back only what lies at the end of its memory.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def nothing_to_fit() -> tuple[Any, ...]:
    """Arguments of the engine's functions for a model without parameters and data without pixels, by which they are compiled.

    Returns
    -------
    structure, ties, x, block, limits, buffer, ws
    """
    none = np.empty(0, np.int64)
    nothing = np.empty((1, 0))
    structure = Structure(none, none, none, none, none, 0, none, nothing[0])
    everything = np.empty((1, 0), bool)
    pairs = np.empty((0, 2), np.int64)
    out = np.zeros((1, further_at(0)))
    block = Block(nothing, nothing, everything, nothing[0], nothing, nothing, nothing, pairs, out)
    limits = limits_of(FitOptions(), none)
    return structure, compile_ties({}, ()), nothing, block, limits, buffer_of(0, 0, 0), workspace(0, 0, 0, 0)


def _prepare_fits_side_by_side() -> None:
    """Call what fits pixels side by side without pixels, which compiles it for the types that it is always called with."""
    structure, ties, x, block, limits, buffer, ws = nothing_to_fit()
    none = np.empty(0, np.int64)
    lanes = lanes_of(structure, ties, block, none, ws, True, limits.loss)
    fit_side_by_side(structure, structure, ties, x, block, none, none, limits, buffer, ws, lanes, none)


def _prepare_fits_singly() -> None:
    """Likewise for what fits one pixel, and evaluates."""
    structure, ties, x, block, limits, buffer, ws = nothing_to_fit()
    none, nothing = np.empty(0, np.int64), np.empty((1, 0))
    search = Search(np.empty((0, 0)), nothing[0], False, nothing[0])
    fit_singly(structure, ties, x, block, nothing, none, none, limits, search, buffer, ws)
    evaluate_pixels(structure, ties, x, nothing[0], nothing, nothing, none, nothing[0], aligned_rows(1), nothing)


def _prepare_fits() -> None:
    """Likewise for both."""
    _prepare_fits_side_by_side()
    _prepare_fits_singly()


def _prepare_objectives() -> None:
    """Likewise for what optimizers in Python call."""
    structure, ties, x, block, limits, buffer, ws = nothing_to_fit()
    none, nothing = np.empty(0, np.int64), np.empty(0)
    # The one pixel has no channels, and is refused for that.
    begin_pixel(structure, ties, block, x, 0, none, limits, buffer, ws)
    spectrum = spectrum_for(buffer, limits, False, 0, 0.0, 0)
    loss_at(structure, ties, x, spectrum, nothing, ws)
    deviations_at(structure, ties, x, spectrum, nothing, ws)
    end_pixel(structure, ties, x, block, 0, spectrum, nothing, 0, False, 0, limits, buffer, ws)


def _prepare_linear(dtype: type = np.float64) -> None:
    """Likewise for linear fits of data of the given dtype; their design is told by an objective."""
    _prepare_objectives()
    structure, ties, x, block, limits, buffer, ws = nothing_to_fit()
    none, line, table = np.empty(0, np.int64), np.empty(0), np.empty((0, 0))
    affine = Affine(line, np.zeros(1, np.int64), none, line)
    equations = Equations(line, table, none, none, table, line, line, 0, 0.0)
    scratch = group_of(0), problems_of(0), rows_of(0, 0, 0)
    data: np.ndarray = table.astype(dtype)
    spread: np.ndarray = x.astype(dtype)
    fit_alike(data, none, equations, table, table, affine, none, block.pairs, limits, *scratch, none, table)
    fit_weighted(
        data, spread, block.where, x, x, none, equations, affine, none, block.pairs, limits, *scratch, none, table
    )  # fmt: skip
    fit_linear_singly(structure, ties, x, block, x, none, none, limits, np.empty(0, bool), buffer, ws)


def _prepare_profiles() -> None:
    """Likewise for intervals."""
    structure, ties, x, block, limits, buffer, ws = nothing_to_fit()
    none, table = np.empty(0, np.int64), np.empty((0, 0))
    ends = np.empty((0, 0, 0, 0))
    profile_pixels(structure, ties, x, block, x, none, none, none, table, limits, buffer, ws, ws, ends)


def _prepare_waves() -> None:
    """Likewise for what leads a wave of fits, and for the clocks of chunks."""
    none, line, table = np.empty(0, np.int64), np.empty(0), np.empty((0, 0))
    mark, flags = np.empty(0, np.int8), np.empty(0, bool)
    rank(none, mark, none, none, line, none, line, line)
    begin_at(none, mark, none, none, line, none, line, table, flags, table)
    two, three = np.empty((0, 1), np.int64), np.empty((0, 1, 4), bool)
    advance(none, none, flags, flags, flags, three, two, two, 0, none, none)


#: Shares of parts that are compiled at the same time, each by a process.
_SHARES: dict[str, Callable[[], None]] = {
    "fits side by side": _prepare_fits_side_by_side,
    "fits singly": _prepare_fits_singly,
}
_SHARED = {"fit": tuple(_SHARES)}

_PARTS: dict[str, Callable[[], None]] = {
    "fit": _prepare_fits,
    "objective": _prepare_objectives,
    "linear": _prepare_linear,
    "linear of single precision": lambda: _prepare_linear(np.float32),
    "profile": _prepare_profiles,
    "wave": _prepare_waves,
}
