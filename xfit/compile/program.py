"""Program: the structure of a model, compiled; immutable, hashable, picklable, without a number in it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from xfit.compile.cache import CompiledKernel, load_kernel, source_hash
from xfit.compile.codegen import kernel_source
from xfit.compile.functions import load_function_kernel
from xfit.compile.ties import compile_ties
from xfit.kernel_description import FormulaKernel, FunctionKernel
from xfit.kernels.evaluate import Structure
from xfit.kernels.layout import OTHER
from xfit.kernels.ties import Ties

if TYPE_CHECKING:
    from xfit.model import Model

Kernel = FormulaKernel | FunctionKernel


@dataclass(frozen=True)
class Program:
    """What of a model must be compiled, and nothing else: its text is all that a worker needs.

    Parameters
    ----------
    components : tuple of str
        Names of the components.
    kernels : tuple of FormulaKernel or FunctionKernel
        What each component's kernel is made from.
    ties : tuple of (str, str)
        Full name of each tied parameter and its formula in terms of parameters that are not tied.
    """

    components: tuple[str, ...]
    kernels: tuple[Kernel, ...]
    ties: tuple[tuple[str, str], ...]

    @classmethod
    def from_model(cls, model: Model) -> Program:
        """Take the structure of a model; values, bounds and flags stay behind."""
        return cls(
            tuple(component.name for component in model),
            tuple(component.kernel for component in model),
            tuple(sorted(model.resolve_ties().items())),
        )

    @property
    def parameters(self) -> tuple[str, ...]:
        """Full names of all parameters, in the engine's order."""
        return tuple(
            f"{component}.{parameter}"
            for component, kernel in zip(self.components, self.kernels, strict=True)
            for parameter in kernel.parameters
        )

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the coordinates, each once."""
        return tuple(dict.fromkeys(name for kernel in self.kernels for name in kernel.coordinates))

    def load(self) -> LoadedProgram:
        """Compile, or find what is compiled already; kept for the life of the process."""
        return _load(self)

    def __dask_tokenize__(self) -> Any:
        """Equal structures have equal tokens in every process."""
        from dask.base import normalize_token

        kernels = [
            (kernel.coordinates, kernel.parameters, kernel.expression, kernel.constants)
            if isinstance(kernel, FormulaKernel)
            else (
                kernel.coordinates,
                kernel.parameters,
                normalize_token(kernel.function),
                normalize_token(kernel.gradient),
            )
            for kernel in self.kernels
        ]
        return ("xfit.Program", self.components, kernels, self.ties)


@dataclass(frozen=True)
class LoadedProgram:
    """A program in this process: addresses of its kernels and its ties as arrays.

    Attributes
    ----------
    coordinate_rows : tuple of str
        Which coordinate each row of the engine's coordinate array holds.
    first, xrow : int64 (n_components,)
        See `xfit.kernels.evaluate.Structure`.
    component_of : int64 (n_parameters,)
        Component of each parameter.
    ties : Ties
        See `xfit.kernels.ties.Ties`.
    """

    program: Program
    coordinate_rows: tuple[str, ...]
    first: np.ndarray
    xrow: np.ndarray
    component_of: np.ndarray
    ties: Ties

    def structure(self, active: Sequence[bool] | np.ndarray, side_by_side: bool = False) -> Structure:
        """Arrays of the active components, for the engine of one pixel or of pixels side by side.

        The latter has no addresses if any of the kernels can't do that.
        """
        chosen = [k for k, on in enumerate(active) if on]
        kernels = [compiled_kernel(self.program.kernels[k]) for k in chosen]
        address = [kernel.lane_address if side_by_side else kernel.address for kernel in kernels]
        if not all(address):
            address = []
        idle = np.flatnonzero(~np.asarray(active, bool)[self.component_of])
        scratch = max((kernel.scratch for kernel in kernels), default=0)
        return Structure(
            np.array(address, np.int64), self.first[chosen], self.xrow[chosen], idle.astype(np.int64), scratch
        )

    def constants_hold(self, free: np.ndarray, mapped: Collection[str]) -> bool:
        """Whether all pixels have the same constants: none is free, tied, or among the names of the start maps."""
        names = self.program.parameters
        moving = {names[k] for k in (*free, *self.ties.tied)} | set(mapped)
        constants = (
            f"{component}.{constant}"
            for component, kernel in zip(self.program.components, self.program.kernels, strict=True)
            if isinstance(kernel, FormulaKernel)
            for constant in kernel.constants
        )
        return moving.isdisjoint(constants)

    def amplitudes(self, free: np.ndarray) -> np.ndarray:
        """Codes of the free parameters for `xfit.kernels.relax`, positions being those among the free ones.

        What a tie touches is left alone: its derivatives are sums over components, in proportion to no single amplitude.
        """
        codes = [c for kernel in self.program.kernels for c in compiled_kernel(kernel).amplitudes]
        touched = {int(k) for k in (*self.ties.tied, *self.ties.column)}
        spoilt = {int(self.component_of[k]) for k in touched}
        among = {int(k): j for j, k in enumerate(free)}
        found = []
        for k in map(int, free):
            component = int(self.component_of[k])
            if component in spoilt:
                found.append(OTHER)
            elif codes[k] >= 0:
                found.append(among.get(int(self.first[component]) + codes[k], OTHER))
            else:
                found.append(codes[k])
        return np.array(found, np.int64)


@lru_cache(maxsize=256)
def _load(program: Program) -> LoadedProgram:
    rows: list[str] = []
    begins: dict[tuple[str, ...], int] = {}
    for kernel in program.kernels:
        if kernel.coordinates not in begins:
            begins[kernel.coordinates] = len(rows)
            rows += kernel.coordinates
        compiled_kernel(kernel)
    counts = [len(kernel.parameters) for kernel in program.kernels]
    return LoadedProgram(
        program,
        tuple(rows),
        np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64),
        np.array([begins[kernel.coordinates] for kernel in program.kernels], np.int64),
        np.repeat(np.arange(len(counts)), counts),
        compile_ties(dict(program.ties), program.parameters),
    )


@lru_cache(maxsize=4096)
def compiled_kernel(kernel: Kernel) -> CompiledKernel:
    """Return a component's compiled kernel, which is compiled if it never was."""
    if isinstance(kernel, FunctionKernel):
        return load_function_kernel(kernel)
    content = (kernel.expression, kernel.coordinates, kernel.parameters, kernel.constants)
    return load_kernel(repr((source_hash(), *content)), lambda: kernel_source(*content))
