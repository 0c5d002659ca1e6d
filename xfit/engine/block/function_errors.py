"""Exceptions that the functions of components and of losses raise: their pixels have a status of their
own, and their words are kept.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from xfit.display import cleaned
from xfit.engine.block.options import Columns
from xfit.engine.block.pixel_problem import PixelProblem, Pixels
from xfit.engine.block.precompile import prepare_engine
from xfit.engine.codegen.function_kernels import channel_that_raises, may_raise
from xfit.engine.codegen.loss_kernels import load_loss, loss_may_raise
from xfit.engine.codegen.program import LoadedProgram, Program
from xfit.engine.losses import Loss
from xfit.engine.pixel.status import FUNCTION_ERROR, NONFINITE_DERIVATIVE, NONFINITE_MODEL
from xfit.formulas.function_kernel import FunctionKernel

_LOG = logging.getLogger("xfit")

#: Attribute of results with the words.
ATTRIBUTE = "function_errors"

#: Words of the first exception of each function in this process, by its digest.
_words: dict[str, str] = {}
_lock = threading.Lock()


def raising_kernels(program: Program) -> dict[int, FunctionKernel]:
    """Kernels whose functions may raise an exception, by the number of the component; the program is loaded."""
    return {
        k: kernel
        for k, kernel in enumerate(program.kernels)
        if isinstance(kernel, FunctionKernel) and may_raise(kernel)
    }


class ErrorFinder:
    """Finds the pixels without fit of which a user's function is the cause.

    Parameters
    ----------
    loaded : LoadedProgram
        The model.
    loss : Loss
        What is minimised.
    """

    def __init__(self, loaded: LoadedProgram, loss: Loss) -> None:
        self._loaded = loaded
        self._kernels = raising_kernels(loaded.program)
        if loss.kernel is not None:
            # Whether it may raise is known when it is compiled.
            load_loss(loss)
        self._loss = loss if loss_may_raise(loss) else None

    @property
    def is_needed(self) -> bool:
        """Whether any function may raise an exception."""
        return bool(self._kernels) or self._loss is not None

    def mark(self, group: Pixels, active: np.ndarray, which: np.ndarray) -> None:
        """Give pixels whose model is not finite at the start the status of a function's error, if there was one.

        Parameters
        ----------
        group : Pixels
            What was fitted.
        active : bool (n_components,)
            Which components took part.
        which : int64 (any,)
            Which pixels.
        """
        columns = Columns(group.block.start.shape[1])
        status = group.block.out[:, columns.scalar("status")]
        lost = which[np.isin(status[which], (NONFINITE_MODEL, NONFINITE_DERIVATIVE))]
        if not lost.size:
            return
        prepare_engine("objective")
        problem = PixelProblem(group)
        for i in map(int, lost):
            row = group.block.out[i].copy()
            problem.begin(i)
            group.block.out[i] = row
            if self._raises(problem, active):
                group.block.out[i, columns.of_values] = np.nan
                status[i] = FUNCTION_ERROR

    def _raises(self, problem: PixelProblem, active: np.ndarray) -> bool:
        """Whether a function raises an exception at the start of a pixel, in a channel that counts."""
        loaded = self._loaded
        used, values = problem.used_channels, problem.parameters
        for k, kernel in self._kernels.items():
            if not active[k]:
                continue
            x = problem.pixels.problem.x[loaded.xrow[k] : loaded.xrow[k] + len(kernel.coordinates), : used.size]
            first = int(loaded.first[k])
            p = values[first : first + len(kernel.parameters)]
            # What is convolved counts everywhere.
            counts = np.ones(used.size, bool) if loaded.program.convolved[k] else used
            if first_error(kernel, x, counts, p, f"component {loaded.program.components[k]!r}"):
                return True
        if self._loss is not None and self._loss.kernel is not None:
            rows = problem.seen_by_kernel(problem.start)
            find = channel_that_raises(self._loss.kernel.function, 3, 0)
            i = int(find(rows, np.ones(rows.shape[1], bool), np.empty(0)))
            if i >= 0:
                _keep(self._loss.digest, self._loss.kernel.function, rows[:, i], f"loss {self._loss.name!r}")
                return True
        return False


def first_error(kernel: FunctionKernel, x: np.ndarray, used: np.ndarray, p: np.ndarray, owner: str) -> bool:
    """Whether a kernel's function, or its gradient, raises an exception; its words are kept."""
    for function in (kernel.function, kernel.gradient):
        if function is None:
            continue
        find = channel_that_raises(function, len(kernel.coordinates), len(kernel.parameters))
        i = int(find(np.ascontiguousarray(x), used, np.ascontiguousarray(p)))
        if i >= 0:
            _keep(kernel.digest, function, np.concatenate([x[:, i], p]), owner)
            return True
    return False


def _keep(digest: str, function: Any, arguments: np.ndarray, owner: str) -> None:
    """Keep and log the words of the first exception of a function."""
    with _lock:
        if digest in _words:
            return
        _words[digest] = words = _said(function, arguments)
    _LOG.warning("the function of %s raised %s", cleaned(owner), cleaned(words))


def _said(function: Any, arguments: np.ndarray) -> str:
    """Type and message of the exception that a function raises."""
    values = ", ".join(f"{value:.6g}" for value in arguments)
    try:
        with np.errstate(all="ignore"):
            function(*map(float, arguments))
    except Exception as error:
        return (
            f"{type(error).__name__}: {error} (at {values})" if str(error) else f"{type(error).__name__} (at {values})"
        )
    return f"an exception in compiled code, not in Python (at {values})"


def errors_of(program: Program, loss: Loss) -> dict[str, str]:
    """Words of the exceptions in this process, by component; of the loss under its name."""
    found = {
        name: _words[kernel.digest]
        for name, kernel in zip(program.components, program.kernels, strict=True)
        if isinstance(kernel, FunctionKernel) and kernel.digest in _words
    }
    return found | ({f"loss {loss.name}": _words[loss.digest]} if loss.digest in _words else {})


def as_text(errors: Mapping[str, str]) -> str:
    """Words of exceptions as a result's attribute has them."""
    return "; ".join(f"{name}: {words}" for name, words in errors.items())


def note_at_values(
    program: Program, values: np.ndarray, coordinates: Mapping[str, np.ndarray], curve: np.ndarray
) -> None:
    """Log what functions raise where an evaluated curve is not a number.

    Parameters
    ----------
    values : float64 (n_pixels, n_parameters)
        Of all parameters.
    curve : float64 (n_pixels, n_channels)
        What came of them.
    """
    lost = np.isnan(curve) & ~np.isnan(values).all(axis=1)[:, None]
    kernels = raising_kernels(program)
    if not kernels or not lost.any():
        return
    loaded, i = program.load(), int(np.flatnonzero(lost.any(axis=1))[0])
    for k, kernel in kernels.items():
        first = int(loaded.first[k])
        p = values[i, first : first + len(kernel.parameters)]
        if not np.isnan(p).any():
            x = np.stack([coordinates[name] for name in kernel.coordinates]).astype(np.float64)
            first_error(kernel, x, np.ones(x.shape[1], bool), p, f"component {program.components[k]!r}")
