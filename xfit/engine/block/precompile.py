"""The engine's machine code: compiled once on a machine by processes of their own, and loaded."""

from __future__ import annotations

import warnings
from concurrent.futures import Future
from contextlib import ExitStack
from threading import Lock, Thread

from llvmlite import binding

from xfit.engine.block.optimizers import optimizer_of
from xfit.engine.block.options import FitOptions
from xfit.engine.block.units import UNITS, compile_unit
from xfit.engine.codegen.code_store import compile_lock, content_of, keep, kept, name_of
from xfit.engine.codegen.kernel_cache import KIND
from xfit.engine.codegen.machine_code import load_object
from xfit.engine.codegen.program import Program, kernel_keys
from xfit.engine.codegen.shipped import shipped
from xfit.engine.codegen.sources import engine_hash
from xfit.engine.codegen.subprocess_compile import CompilationError, can_start_python, compile_apart, shared_out
from xfit.engine.evaluation.loss_functions import LEAST_SQUARES
from xfit.engine.evaluation.state import Problem
from xfit.engine.math.entries import APART, PREPARE, CompiledEntry
from xfit.engine.math.processor import features
from xfit.progress import told

#: Pieces that a part of the engine consists of.
_PARTS = {
    "fit": ("lanes", "lanes-gram", "rows"),
    "fit, rows alone": ("lanes", "lanes-gram", "rows", "alone"),
    "fit, ties": ("lanes", "lanes-gram", "rows", "alone", "ties"),
    "alone": ("rows", "alone"),
    "pixel": ("rows", "alone", "pixel"),
    "evaluate": ("evaluate",),
    "objective": ("rows", "alone", "objective"),
    "linear": ("rows", "alone", "linear", "objective"),
    "linear of single precision": ("rows", "alone", "linear-single", "objective"),
    "linear alone": ("rows", "alone", "linear-alone"),
    "profile": ("rows", "alone", "pixel", "profile"),
    "wave": ("wave",),
    "ties": ("ties",),
    "axis": ("axis",),
    "loss": ("loss",),
}

_loading = Lock()
_loaded: set[str] = set()

#: Parts that threads have begun to prepare.
_ahead: dict[str, Future[None]] = {}


def part_for(program: Program, options: FitOptions, single: bool = False) -> str:
    """Part of the engine that a fit begins with; what few of its pixels need is loaded in its course.

    Parameters
    ----------
    single : bool
        Whether linear fits read data of single precision.
    """
    engine, loss = optimizer_of(options.optimizer).engine, options.loss
    if engine != "kernel":
        linear = "linear of single precision" if single else "linear"
        return linear if engine == "linear" else "objective"
    if options.chained or loss.name not in ("ls", "poisson"):
        return "pixel"
    if program.ties:
        return "fit, ties"
    return "fit" if loss.name == "ls" and not options.covariance else "fit, rows alone"


def prepare_engine(part: str = "fit") -> None:
    """Load a part of the engine, which is compiled if it never was on this machine; the first call in a process does
    it, the others wait for it.

    Parameters
    ----------
    part : str
        What is needed: "fit" (pixels side by side), by itself, with rows written by the functions of one pixel, or with
        ties; "alone" (those functions), "pixel", "evaluate", "objective", "linear", "linear of single precision",
        "linear alone", "profile" or "wave"; and what few problems need, "ties", "axis" and "loss".
    """
    if (ahead := _ahead.pop(part, None)) is not None:
        ahead.result()
    _prepare(part)


def _prepare(part: str) -> None:
    """Load the pieces of a part that are not loaded yet."""
    if _loaded.issuperset(_PARTS[part]):
        return
    with _loading, ExitStack() as locks:
        missing = [unit for unit in _PARTS[part] if unit not in _loaded and not _load_shipped(unit)]
        names = {unit: name_of(kind_of(unit), engine_hash()) for unit in missing}
        # In one order everywhere, or two processes would wait for each other.
        on_disk = all([locks.enter_context(compile_lock(names[unit])) for unit in sorted(missing)])
        found = {unit: kept(names[unit]) if on_disk else None for unit in missing}
        absent = tuple(unit for unit, code in found.items() if code is None)
        made = _compiled(absent) if absent else {}
        for unit in missing:
            code = found[unit]
            if code is None and on_disk:
                keep(names[unit], {"unit": unit}, made[unit])
            _load(unit, made[unit] if code is None else code[1])


def prepare_ahead(part: str) -> None:
    """Begin to prepare a part of the engine in a thread, while this one compiles a model;
    `prepare_engine` waits for it.

    That also raises what the thread has raised.
    """
    if part in _ahead or _loaded.issuperset(_PARTS[part]):
        return
    _ahead[part] = ahead = Future[None]()

    def prepare() -> None:
        try:
            _prepare(part)
            ahead.set_result(None)
        except BaseException as error:
            ahead.set_exception(error)

    # A daemon, so that a process that is to end does not wait for it.
    Thread(target=prepare, name="xfit-prepare", daemon=True).start()


def forget() -> None:
    """Load all pieces anew when they are needed next."""
    with _loading:
        _loaded.clear()


def _prepare_entry(entry: CompiledEntry, variant: str) -> None:
    """Load what an entry needs that is called before its part of the engine was asked for."""
    unit = next(name for name, unit in UNITS.items() if entry in unit.entries and unit.variant == variant)
    prepare_engine(next(part for part, units in _PARTS.items() if unit in units))


PREPARE.append(_prepare_entry)


def code_for(part: str, program: Program) -> dict[str, bytes]:
    """Machine code of a part of the engine and of a program's kernels, for
    `xfit.engine.codegen.code_store.offer`: what is on the disk of it.
    """
    # What few fits need is compiled in their course, if at all.
    units = dict.fromkeys((*_PARTS[part], *_PARTS["pixel"], "ties", "axis", "loss"))
    pieces = [(kind_of(unit), engine_hash()) for unit in units] + [(KIND, key) for key in kernel_keys(program)]
    found = {name_of(*piece): content_of(*piece) for piece in pieces}
    return {name: content for name, content in found.items() if content is not None}


def kind_of(unit: str) -> str:
    """Prefix of the name of a piece's file."""
    return f"engine-{unit}"


def _load_shipped(unit: str) -> bool:
    """Load a piece that came with the package; return whether there was one."""
    found = shipped(kind_of(unit), engine_hash())
    if found is None:
        return False
    _load(unit, found[1])
    return True


def _compiled(units: tuple[str, ...]) -> dict[str, bytes]:
    """Machine code of pieces: of processes of their own, or where that can't be, of this one."""
    slow = 1.0 if "avx512f" in features() else 1.7
    seconds = {unit: UNITS[unit].seconds for unit in units}
    shares = shared_out(seconds)
    longest = max(sum(seconds[unit] for unit in share) for share in shares)
    with told("compiling the engine, once on this machine", slow * longest):
        why = "no other Python can be started" if not can_start_python() else ""
        if not why:
            try:
                return compile_apart(*shares)
            except CompilationError as error:
                why = str(error)
        warnings.warn(
            f"the engine is compiled in this process, which will keep some 300 MiB: {why}", RuntimeWarning, stacklevel=4
        )
        return {unit: compile_unit(unit) for unit in units}


def _load(name: str, code: bytes) -> None:
    unit, address = UNITS[name], load_object(code)
    for entry in unit.entries:
        entry.load(unit.variant, address(entry.symbol(unit.variant)))
    for symbol in unit.called:
        APART[symbol].cell.value = address(symbol)
        # For functions of the engine that are called from Python, which numba compiles by itself.
        binding.add_symbol(symbol, address(symbol))
    _loaded.add(name)


def prepare_for(problem: Problem) -> Problem:
    """Load what a problem needs that few do; return it."""
    if problem.ties.tied.size:
        prepare_engine("ties")
    if problem.structure.plan.size:
        prepare_engine("axis")
    if problem.loss.kind != LEAST_SQUARES:
        prepare_engine("loss")
    return problem
