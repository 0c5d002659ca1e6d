"""The processor that machine code is made for: its name and features, and how many numbers its vectors hold."""

from __future__ import annotations

import os
import platform
from functools import lru_cache

import numba
from llvmlite import binding

_WIDTHS = (1, 2, 4, 8)


@lru_cache(maxsize=1)
def features() -> frozenset[str]:
    """Features that code may use: those of the processor, or of ``NUMBA_CPU_FEATURES``."""
    given = numba.config.CPU_FEATURES
    if given is not None:
        return frozenset(feature[1:] for feature in given.split(",") if feature.startswith("+"))
    return frozenset(name for name, there in binding.get_host_cpu_features().items() if there)


def has_fused() -> bool:
    """Whether the processor multiplies and adds with one rounding."""
    return "fma" in features() or platform.machine().lower() in ("aarch64", "arm64")


def has_wide_vectors() -> bool:
    """Whether the processor's vectors hold eight numbers."""
    return "avx512f" in features()


def lanes() -> int:
    """Pixels side by side: ``XFIT_LANES``, or 8 on processors with AVX-512, otherwise 4.

    Raises
    ------
    ValueError
        If ``XFIT_LANES`` is not 1, 2, 4 or 8.
    """
    given = os.environ.get("XFIT_LANES", "")
    if given:
        if given not in map(str, _WIDTHS):
            raise ValueError(f"XFIT_LANES is {given!r}; it must be 1, 2, 4 or 8")
        return int(given)
    return 8 if has_wide_vectors() else 4
