"""Machine code that came with the installed package: in wheels for usual kinds of processors, made by ``ci/wheel``."""

from __future__ import annotations

import platform
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from xfit.engine.codegen.code_file import SUFFIX, digest_of, unpacked
from xfit.engine.math.layout import LANES
from xfit.engine.math.processor import features

#: Where a wheel has it: a folder for each kind of processor.
FOLDER = Path(__file__).parents[1] / "machine_code"

#: File in each folder: hash of the results of known fits.
KNOWN = "known_fits.txt"


@dataclass(frozen=True)
class Level:
    """A kind of processors that wheels have machine code for.

    Attributes
    ----------
    name : str
        As LLVM knows it.
    machines : tuple of str
        What `platform.machine` says of them.
    needed : frozenset of str
        Features that a processor must have, by LLVM's names.
    lanes : int
        Pixels side by side.
    features : str
        What numba is told.
    """

    name: str
    machines: tuple[str, ...]
    needed: frozenset[str]
    lanes: int

    @property
    def features(self) -> str:
        """For ``NUMBA_CPU_FEATURES``."""
        # Vectors of 512 bits are what the code for 8 pixels is about; LLVM's cautious models of processors split them.
        split = ("-prefer-256-bit",) if self.lanes == 8 else ()
        return ",".join([*(f"+{name}" for name in sorted(self.needed)), *split])


_V2 = frozenset(("cx16", "popcnt", "sahf", "sse3", "sse4.1", "sse4.2", "ssse3"))
_V3 = _V2 | {"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}

#: The better ones first. Those of x86-64 are the levels of the System V ABI,
#: <https://gitlab.com/x86-psABIs/x86-64-ABI>.
LEVELS = (
    Level("x86-64-v4", ("x86_64", "AMD64"), _V4, 8),
    Level("x86-64-v3", ("x86_64", "AMD64"), _V3, 4),
    Level("generic", ("aarch64", "arm64"), frozenset(("neon",)), 4),
)

#: Set where the code of this installation has failed on this machine.
_refused: list[str] = []


def level() -> Level | None:
    """The kind of processors that this process can take machine code for; None where wheels have none for it."""
    machine = platform.machine()
    able = (each for each in LEVELS if machine in each.machines and each.needed <= features() and each.lanes == LANES)
    return next(able, None)


@lru_cache(maxsize=1)
def folder() -> Path | None:
    """Folder with the machine code for this processor; None where there is none."""
    found = level()
    path = None if found is None else FOLDER / found.name
    return path if path is not None and path.is_dir() else None


def shipped(kind: str, key: str) -> tuple[dict[str, Any], bytes] | None:
    """Return what is said of a piece of machine code that came with the package, and the
    code; None where there is none.

    A file that is damaged causes a warning and is not used.

    Parameters
    ----------
    kind, key : str
        As for `xfit.engine.codegen.code_store.name_of`.
    """
    place = folder()
    if _refused or place is None:
        return None
    path = place / f"{kind}-{digest_of(key)}{SUFFIX}"
    try:
        return unpacked(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        warnings.warn(
            f"machine code {path}, which was installed with xfit, is not taken: {error}; compiling it. Installing xfit "
            "again mends it",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def refuse(why: str) -> None:
    """Take no more code of this installation in this process."""
    _refused.append(why)


@lru_cache(maxsize=1)
def known_fits() -> str:
    """Hash of the results that known fits must have by the code that came with the package;
    empty where there is none.
    """
    path = folder()
    try:
        return "" if path is None or _refused else (path / KNOWN).read_text().strip()
    except OSError:
        return ""
