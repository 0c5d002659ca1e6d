"""Program: the structure of a model, compiled; immutable, hashable, picklable, without a number in it."""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Mapping
from dataclasses import astuple, dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from xfit.engine.codegen.function_kernels import load_function_kernel
from xfit.engine.codegen.kernel_cache import CompiledKernel, load_kernel
from xfit.engine.codegen.kernel_source import kernel_source
from xfit.engine.codegen.sources import component_hash
from xfit.engine.codegen.tie_compiler import compile_ties
from xfit.engine.codegen.versions import check_versions, versions
from xfit.engine.evaluation.axis_plan import WholeComponent, lay_out, order_of
from xfit.engine.evaluation.state import Structure
from xfit.engine.evaluation.tie_machine import Ties
from xfit.engine.math.layout import LINEAR, OTHER, PITCH, TILE, starting_only
from xfit.formulas import parser
from xfit.formulas.function_kernel import FunctionKernel
from xfit.formulas.kernel_spec import FormulaKernel
from xfit.formulas.ordering import in_order

if TYPE_CHECKING:
    from xfit.modeling.model import Model

Kernel = FormulaKernel | FunctionKernel

#: Numbers as C has them.
_NUMBERS = ctypes.POINTER(ctypes.c_double)


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
        Full name of each tied parameter and its formula, in which others of them may be named; by name.
    convolved : tuple of bool
        Which components are convolved with a response.
    """

    components: tuple[str, ...]
    kernels: tuple[Kernel, ...]
    ties: tuple[tuple[str, str], ...]
    convolved: tuple[bool, ...]

    @classmethod
    def from_model(cls, model: Model) -> Program:
        """Take the structure of a model; values, bounds and flags stay behind."""
        return cls(
            tuple(component.name for component in model),
            tuple(component.kernel for component in model),
            tuple(sorted(model.resolve_ties().items())),
            tuple(model.response is not None and component.convolved for component in model),
        )

    def __reduce__(self) -> Any:
        """Travel with the versions of the process that asks for the fit, which those of who makes it must be."""
        made_by = self.__dict__.get("_made_by") or dict(versions())
        return _arrived, (made_by, self.components, self.kernels, self.ties, self.convolved)

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Full names of all parameters, in the engine's order."""
        return tuple(
            f"{component}.{parameter}"
            for component, kernel in zip(self.components, self.kernels, strict=True)
            for parameter in kernel.parameters
        )

    def fitted(self, free: np.ndarray, active: np.ndarray) -> np.ndarray:
        """Which parameters are fitted.

        Parameters
        ----------
        free : bool (n_parameters,)
            Which may vary.
        active : bool (n_components,)
            Which components take part.

        Returns
        -------
        bool (n_parameters,)
            Free parameters of active components, and those that a tie of an active component follows, be it through
            other ties.
        """
        on = np.repeat(active, [len(kernel.parameters) for kernel in self.kernels])
        needed = dict(zip(self.parameters, map(bool, on), strict=True))
        for name, sources in reversed(self._followed.items()):
            for source in sources:
                needed[source] |= needed[name]
        return free & np.array(list(needed.values()))

    @cached_property
    def _followed(self) -> dict[str, list[str]]:
        """What each tied parameter has in its formula, those that others follow first."""
        found = {name: sorted(map(str, parser.parse(text).free_symbols)) for name, text in self.ties}
        return {name: found[name] for name in in_order(found, lambda name: found.get(name, ())) if name in found}

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the coordinates, each once."""
        return tuple(dict.fromkeys(name for kernel in self.kernels for name in kernel.coordinates))

    def coordinates_read(self) -> set[str]:
        """Names of the coordinates that values depend on: not of one that a constant has. A user's
        function reads all that it has.
        """
        found: set[str] = set()
        for kernel in self.kernels:
            if isinstance(kernel, FunctionKernel):
                found |= set(kernel.coordinates)
                continue
            texts = [kernel.expression, *(text for lookup in kernel.lookups for text in lookup.arguments)]
            texts += [] if kernel.splines is None else [kernel.splines.argument]
            found |= set(kernel.coordinates) & {name for text in texts for name in parser.names(text)}
        return found

    def load(self) -> LoadedProgram:
        """Compile, or find what is compiled already; kept for the life of the process.

        Raises
        ------
        VersionError
            If another process has sent the program, which has other versions of xfit, numba or Python.
        """
        # Not when it arrives: that may be at a scheduler, which fits nothing, and says of such an error only that there
        # was one.
        if "_made_by" in self.__dict__:
            check_versions(self.__dict__["_made_by"])
        return _load(self)

    def __dask_tokenize__(self) -> Any:
        """Equal structures have equal tokens in every process."""
        return ("xfit.Program", self.components, list(map(content_of, self.kernels)), self.ties, self.convolved)


@dataclass(frozen=True)
class Channels:
    """Where components are evaluated that need the whole axis at once.

    Attributes
    ----------
    x : float64 (n_rows, n_channels)
        Coordinates of the channels, as the engine reads them.
    grid : float64 (n_rows, any)
        Coordinates of the convolved components, rounded up to whole vectors; see
        `xfit.engine.evaluation.whole_axis.lay_out`.
    response : int
        Number of points of the response; 0 for none.
    """

    x: np.ndarray
    grid: np.ndarray
    response: int

    @property
    def count(self) -> int:
        """Number of channels."""
        return int(self.x.shape[1])

    def points(self, row: int, convolved: bool) -> np.ndarray:
        """Coordinates that a component is evaluated at: float64 (n_points,)."""
        return self.grid[row, : self.count + self.response - 1] if convolved else self.x[row]


@dataclass(frozen=True)
class LoadedProgram:
    """A program in this process: addresses of its kernels and its ties as arrays.

    Attributes
    ----------
    coordinate_rows : tuple of str
        Which coordinate each row of the engine's coordinate array holds.
    first, xrow : int64 (n_components,)
        See `xfit.engine.evaluation.state.Structure`.
    component_of : int64 (n_parameters,)
        Component of each parameter.
    ties : Ties
        See `xfit.engine.evaluation.tie_machine.Ties`.
    """

    program: Program
    coordinate_rows: tuple[str, ...]
    first: np.ndarray
    xrow: np.ndarray
    component_of: np.ndarray
    ties: Ties

    def structure(
        self, active: np.ndarray, whole: np.ndarray, channels: Channels, fitted: np.ndarray | None = None
    ) -> Structure:
        """Arrays of the active components, for the engine of one pixel.

        Parameters
        ----------
        active : bool (n_components,)
            Which components take part.
        whole : bool (n_components,)
            Which of them need the whole axis at once; see `needing_whole_axis`.
        channels : Channels
            Where they are evaluated.
        fitted : int64 (any,), optional
            Positions of the free parameters; none if only values are wanted.
        """
        plain = np.flatnonzero(active & ~whole)
        address = [compiled_kernel(self.program.kernels[k]).address for k in plain]
        plan, numbers = np.empty(0, np.int64), np.empty(0)
        others = [self._whole(int(k), channels, fitted) for k in np.flatnonzero(active & whole)]
        if others:
            plan, numbers = lay_out(others, self.component_of.size, channels.count, channels.grid, channels.response)
        return self._structure(active, address, plain, 0, plan, numbers)

    def structure_side_by_side(self, active: np.ndarray, whole: np.ndarray) -> Structure:
        """Arrays of the active components, for the engine of pixels side by side; empty if
        any of them can't do that.
        """
        chosen = np.flatnonzero(active)
        kernels = [compiled_kernel(self.program.kernels[k]) for k in chosen]
        able = all(kernel.lane_address for kernel in kernels) and not (active & whole).any()
        address = [kernel.lane_address for kernel in kernels] if able else []
        scratch = max((kernel.scratch for kernel in kernels), default=0)
        return self._structure(active, address, chosen, scratch, np.empty(0, np.int64), np.empty(0))

    def _structure(
        self,
        active: np.ndarray,
        address: list[int],
        chosen: np.ndarray,
        scratch: int,
        plan: np.ndarray,
        numbers: np.ndarray,
    ) -> Structure:
        idle = np.flatnonzero(~active[self.component_of])
        first, xrow = self.first[chosen].astype(np.int64), self.xrow[chosen].astype(np.int64)
        count = np.array([len(self.program.kernels[k].parameters) for k in chosen], np.int64)
        return Structure(np.array(address, np.int64), first, count, xrow, idle.astype(np.int64), scratch, plan, numbers)

    def needing_whole_axis(self, zero: np.ndarray) -> np.ndarray:
        """Which components' values in a channel depend on other channels.

        Parameters
        ----------
        zero : bool (n_parameters,)
            Which parameters are zero and stay so, in all pixels: a sum with such a factor need not be taken.

        Returns
        -------
        bool (n_components,)
        """
        factors = [self._factor(k) for k in range(len(self.program.kernels))]
        summing = [factor >= 0 and not zero[factor] for factor in factors]
        return np.array(summing, bool) | np.array(self.program.convolved, bool)

    def _factor(self, k: int) -> int:
        """Position of the parameter that multiplies a component's sum; -1 for a component without."""
        kernel = self.program.kernels[k]
        summed = kernel.summed if isinstance(kernel, FormulaKernel) else None
        return -1 if summed is None else int(self.first[k]) + kernel.parameters.index(summed)

    def _whole(self, k: int, channels: Channels, fitted: np.ndarray | None) -> WholeComponent:
        kernel = self.program.kernels[k]
        first = int(self.first[k])
        count = len(kernel.parameters)
        needed = set() if fitted is None else {*map(int, fitted), *map(int, self.ties.tied)}
        rows = [row for row in range(first, first + count) if row in needed]
        compiled = compiled_kernel(kernel)
        amplitude = first + compiled.proportional if compiled.proportional >= 0 else -1
        steady = amplitude >= 0 and set(rows) <= {amplitude}
        row, factor, convolved = int(self.xrow[k]), self._factor(k), self.program.convolved[k]
        return WholeComponent(
            compiled.address,
            first,
            count,
            row,
            factor,
            convolved,
            [amplitude] if steady else rows,
            amplitude if steady else -1,
            order_of(channels.points(row, convolved)) if factor >= 0 else np.empty(0, np.int64),
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

    def bent(self, free: np.ndarray) -> np.ndarray:
        """In which of the free parameters the model is not linear, bool (n_free,); what a
        tie depends on counts as linear.
        """
        codes = np.array([c for kernel in self.program.kernels for c in _amplitudes(kernel)], np.int64)
        return (codes[free] != LINEAR) & ~np.isin(free, self.ties.column)

    def amplitudes(self, free: np.ndarray) -> np.ndarray:
        """Codes of the free parameters for `xfit.engine.lm.amplitudes`, positions being those among the free ones.

        What a tie touches has derivatives that are sums over components, in proportion to no single amplitude: where
        there is such a parameter, the others of its component are amplitudes and shapes at the start only.
        """
        codes = [c for kernel in self.program.kernels for c in _amplitudes(kernel)]
        touched = {int(k) for k in (*self.ties.tied, *self.ties.column)}
        spoilt = {int(self.component_of[k]) for k in touched}
        among = {int(k): j for j, k in enumerate(free)}
        found = []
        for k in map(int, free):
            component = int(self.component_of[k])
            amplitude = int(self.first[component]) + codes[k]
            if k in touched or (codes[k] >= 0 and amplitude in touched):
                code = OTHER
            else:
                code = among.get(amplitude, OTHER) if codes[k] >= 0 else codes[k]
            found.append(code)
        given = np.array(found, np.int64)
        return np.where(np.isin(self.component_of[free], list(spoilt)), starting_only(given), given)


def _amplitudes(kernel: Kernel) -> tuple[int, ...]:
    """Codes of a component's parameters; see `xfit.engine.codegen.kernel_source.amplitude_codes`."""
    codes = compiled_kernel(kernel).amplitudes
    summed = kernel.summed if isinstance(kernel, FormulaKernel) else None
    if summed is None:
        return codes
    # The derivative with respect to the factor of a sum is that sum, in proportion to the amplitude.
    amplitude = codes.index(LINEAR) if codes.count(LINEAR) == 1 else OTHER
    return tuple(amplitude if name == summed else code for name, code in zip(kernel.parameters, codes, strict=True))


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


def forget_programs() -> None:
    """Load all programs and kernels anew when they are needed next."""
    _load.cache_clear()
    compiled_kernel.cache_clear()


@lru_cache(maxsize=4096)
def compiled_kernel(kernel: Kernel) -> CompiledKernel:
    """Return a component's compiled kernel, which is compiled if it never was."""
    if isinstance(kernel, FunctionKernel):
        return load_function_kernel(kernel)
    return load_kernel(key_of(kernel), lambda: kernel_source(kernel))


def key_of(kernel: FormulaKernel) -> str:
    """What determines a kernel's machine code, besides the processor and the compilers."""
    content = (kernel.expression, kernel.coordinates, kernel.parameters, kernel.constants, *_companions(kernel))
    return repr((component_hash(), *content))


def kernel_keys(program: Program) -> list[str]:
    """What determines the machine code of each of a program's kernels that are formulas."""
    return [key_of(kernel) for kernel in program.kernels if isinstance(kernel, FormulaKernel)]


def curve_of(kernel: Kernel, x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values of a component of one coordinate, by its own kernel: the engine, which may not
    be compiled yet, is not needed.

    Parameters
    ----------
    kernel : FormulaKernel or FunctionKernel
        What the component's kernel is made from. Its sum over channels of larger x, if it has one, is left out.
    x : float64 (n_points,)
        Where.
    values : float64 (n_parameters,)
        Its parameters.

    Returns
    -------
    float64 (n_points,)
    """
    call = compiled_kernel(kernel).call
    f, jac, out = np.zeros(PITCH), np.zeros((max(values.size, 1), PITCH)), np.empty(x.size)
    for first in range(0, x.size, TILE):
        part = np.array(x[first : first + TILE], np.float64)
        f[:] = 0.0
        at, p, into, slopes = (a.ctypes.data_as(_NUMBERS) for a in (part, np.array(values, np.float64), f, jac))
        call(at, part.size, p, into, slopes, part.size, into)
        out[first : first + part.size] = f[: part.size]
    return out


def _arrived(made_by: Mapping[str, str], *parts: Any) -> Program:
    """Make a program that a process of such versions has sent; see `Program.load`."""
    program = Program(*parts)
    if made_by != versions():
        program.__dict__["_made_by"] = made_by
    return program


def content_of(kernel: Kernel) -> tuple[Any, ...]:
    """What tells kernels apart, the same in every process."""
    if isinstance(kernel, FunctionKernel):
        return kernel.content
    formula = (kernel.coordinates, kernel.parameters, kernel.expression, kernel.constants, kernel.summed)
    return (*formula, *_companions(kernel))


def _companions(kernel: FormulaKernel) -> list[tuple[Any, ...]]:
    """What names in a formula stand for, as plain data."""
    splines = kernel.splines
    found: list[tuple[Any, ...]] = [(each.name, each.arguments, each.table.digest) for each in kernel.lookups]
    return found if splines is None else [*found, astuple(splines)]
