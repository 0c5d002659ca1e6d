"""Machine code of the engine and of the library's components for usual kinds of processors, as
`ci/wheel` puts it into wheels.

Usage: ``python machine_code.py FOLDER [PIECE ...]``. ``FOLDER`` gets a folder for each kind of processor; pieces are
names of the engine's units and of components, all by default.
"""

from __future__ import annotations

import inspect
import itertools
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from xfit.components import TYPES
from xfit.engine.block.known_fits import PROGRAM, results
from xfit.engine.block.precompile import kind_of
from xfit.engine.block.units import UNITS, compile_unit
from xfit.engine.codegen.code_file import SUFFIX, digest_of, packed
from xfit.engine.codegen.code_store import compile_lock, keep, name_of
from xfit.engine.codegen.kernel_cache import KIND, compile_source
from xfit.engine.codegen.kernel_source import kernel_source
from xfit.engine.codegen.program import Kernel, key_of
from xfit.engine.codegen.shipped import KNOWN, LEVELS, Level
from xfit.engine.codegen.sources import engine_hash
from xfit.engine.math.processor import features
from xfit.formulas.kernel_spec import FormulaKernel

#: Polynomials have a kernel for each order.
_ORDERS = range(1, 7)


def variants() -> Iterator[tuple[str, Kernel]]:
    """Names and kernels of the components that need no data to be made, with each of their switches on and off."""
    for name, kind in TYPES.items():
        options = inspect.signature(kind).parameters.values()
        if any(each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD for each in options):
            continue
        switches = [each.name for each in options if isinstance(each.default, bool)]
        choices = {
            **dict.fromkeys(switches, (False, True)),
            **({"order": _ORDERS} if "order" in [each.name for each in options] else {}),
        }
        for chosen in itertools.product(*choices.values()):
            yield name, kind(**dict(zip(choices, chosen, strict=True))).kernel


def write_all(folder: Path, wanted: list[str], known: bool) -> None:
    """Write machine code for the processor that numba is told of."""
    folder.mkdir(parents=True)

    def write(kind: str, key: str, said: dict[str, object], code: bytes) -> None:
        (folder / f"{kind}-{digest_of(key)}{SUFFIX}").write_bytes(packed(said, code))
        name = name_of(kind, key)
        # For the known fits.
        with compile_lock(name):
            keep(name, said, code)

    for unit in UNITS:
        if not wanted or unit in wanted:
            write(kind_of(unit), engine_hash(), {"unit": unit}, compile_unit(unit))
    kernels = [kernel for name, kernel in variants() if not wanted or name in wanted]
    for kernel in dict.fromkeys([*PROGRAM.kernels, *kernels]):
        assert isinstance(kernel, FormulaKernel)
        write(KIND, key_of(kernel), *compile_source(kernel_source(kernel), "kernel"))
    if known:
        (folder / KNOWN).write_text(results() + "\n")


def main(folder: Path, wanted: list[str]) -> None:
    """Write machine code for all kinds of processors that this computer makes code for,
    each in a process of its own.
    """
    levels = [level for level in LEVELS if platform.machine() in level.machines]
    with tempfile.TemporaryDirectory() as cache:
        begun = [_start(folder, level, wanted, Path(cache) / level.name) for level in levels]
        if any([process.wait() for process in begun]):
            raise SystemExit("machine code was not made")
    found = {(folder / level.name / KNOWN).read_text() for level in levels if level.needed <= features()}
    if len(found) != 1:
        raise SystemExit(
            f"known fits have {len(found)} results: this computer must run the code of at least one kind, and all in "
            "the same way"
        )
    for level in levels:
        (folder / level.name / KNOWN).write_text(next(iter(found)))


def _start(folder: Path, level: Level, wanted: list[str], cache: Path) -> subprocess.Popen[bytes]:
    environment = {
        **{name: value for name, value in os.environ.items() if name != "XFIT_LANES"},
        "NUMBA_CPU_NAME": level.name,
        "NUMBA_CPU_FEATURES": level.features,
        "XFIT_CACHE_DIR": str(cache),
        _LEVEL: level.name,
        _KNOWN: "yes" if level.needed <= features() else "",
    }
    return subprocess.Popen([sys.executable, __file__, str(folder), *wanted], env=environment)


#: Environment variables for the processes that are started.
_LEVEL, _KNOWN = "XFIT_MACHINE_CODE_LEVEL", "XFIT_MACHINE_CODE_KNOWN"

if __name__ == "__main__":
    _folder, *_wanted = sys.argv[1:]
    if os.environ.get(_LEVEL):
        write_all(Path(_folder) / os.environ[_LEVEL], _wanted, bool(os.environ.get(_KNOWN)))
    else:
        main(Path(_folder), _wanted)
