"""Vectors of another width than this process has, for comparisons of bits."""

from __future__ import annotations

from llvmlite import binding

from xfit.engine.math.layout import LANES

_FEATURES = ",".join(f"+{name}" for name in ("avx2", "fma", "bmi", "bmi2", "lzcnt", "popcnt", "f16c", "movbe"))

#: Environment variables for processors with AVX-512 to do without.
WITHOUT_AVX512 = (
    {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": _FEATURES}
    if binding.get_host_cpu_features().get("avx512f")
    else {}
)

#: Environment variables for another width, the same in all tests, so that machine code for it is compiled once.
OTHER_WIDTH = {"XFIT_LANES": "2" if LANES != 2 else "4", **WITHOUT_AVX512}
