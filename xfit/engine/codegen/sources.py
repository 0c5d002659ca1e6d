"""What machine code is made from: lists of sources, and their hashes."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path


def _files(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}.py" for name in names)


#: Arithmetic and special functions, which both the engine and the kernels of components have compiled into them.
_ARITHMETIC = _files(
    "engine/math",
    "arithmetic",
    "bessel_functions",
    "call",
    "elementary",
    "error_functions",
    "faddeeva",
    "gamma_functions",
    "jit",
    "layout",
    "processor",
    "records",
    "vector",
    "widths",
)

#: What the engine's machine code is made from.
ENGINE_SOURCES = (
    *_ARITHMETIC,
    *_files("engine/codegen", "machine_code"),
    *_files("engine/linear", "bounded", "fit", "groups", "rows", "solve"),
    *_files(
        "engine/evaluation",
        "axis_plan",
        "convolution",
        "difference_quotients",
        "evaluate",
        "fourier",
        "gram",
        "loss_functions",
        "rare",
        "state",
        "tie_machine",
        "whole_axis",
    ),
    *_files(
        "engine/lm",
        "amplitudes",
        "extrapolation",
        "geodesic",
        "qr",
        "round",
        "single_steps",
        "steps",
        "trust_region",
    ),
    *_files("engine/math", "cholesky", "entries", "prefetch", "sums"),
    *_files(
        "engine/pixel",
        "alone",
        "attempts",
        "covariance",
        "lanes",
        "likelihood",
        "minimise",
        "objective",
        "packed_row",
        "profile",
        "rows",
        "scalars",
        "standard_errors",
        "status",
    ),
    *_files("engine/waves", "clocks", "wavefront"),
)

#: What the kernels of components are written by and compiled with.
COMPONENT_SOURCES = (
    *_ARITHMETIC,
    *_files("engine/codegen", "kernel_cache", "kernel_source", "machine_code"),
    *_files("engine/math", "powers", "spline_lookup"),
    *_files(
        "formulas",
        "calculus",
        "code_printer",
        "gradient",
        "graph",
        "graph_printer",
        "kernel_expression",
        "kernel_spec",
        "linearity",
        "parser",
        "printer",
        "special_functions",
        "spline_table",
        "straight_line",
        "syntax",
    ),
)

#: What else numbers depend on.
_OTHER_SOURCES = (
    *_files("engine", "losses"),
    *_files("engine/codegen", "function_kernels", "loss_kernels", "program", "tie_compiler"),
    *_files("formulas", "function_kernel", "ordering", "snapshots"),
    *_files("modeling", "ties"),
)


def _hash(sources: tuple[str, ...]) -> str:
    package = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for source in sorted(sources):
        digest.update(source.encode() + (package / source).read_bytes())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def engine_hash() -> str:
    """Hash of all sources that the engine is compiled from."""
    return _hash(ENGINE_SOURCES)


@lru_cache(maxsize=1)
def component_hash() -> str:
    """Hash of all sources that the kernels of components are written by and compiled with."""
    return _hash(COMPONENT_SOURCES)


@lru_cache(maxsize=1)
def source_hash() -> str:
    """Hash of all sources that numbers depend on: client and workers of a run must have the same."""
    return _hash(tuple({*ENGINE_SOURCES, *COMPONENT_SOURCES, *_OTHER_SOURCES}))
