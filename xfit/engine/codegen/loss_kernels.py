"""Losses as the engine takes them: numbers, and the address of a user's compiled function."""

from __future__ import annotations

import threading
from typing import Any

import numba

from xfit.engine.codegen.function_kernels import guarded, may_fail
from xfit.engine.evaluation import loss_functions as kinds
from xfit.engine.losses import NAMES, Loss, LossKernel
from xfit.engine.math.call import LOSS_SIGNATURE
from xfit.formulas.snapshots import OPTIONS

#: Numbers of the losses in compiled code: `xfit.engine.evaluation.loss_functions` has each under its name in capitals.
_KINDS = {
    "ls": kinds.LEAST_SQUARES,
    "kernel": kinds.CUSTOM,
    **{name: int(getattr(kinds, name.upper())) for name in NAMES if name != "ls"},
}

_made: dict[str, Any] = {}
_raising: set[str] = set()
_compiling = threading.Lock()

_SOURCE = """
def kernel(y_, model_, weight_, n, value_, first_, second_):
    y, model, weight = carray(y_, (n,)), carray(model_, (n,)), carray(weight_, (n,))
    value, first, second = carray(value_, (n,)), carray(first_, (n,)), carray(second_, (n,))
    for i in range(n):
        value[i], first[i], second[i] = function(y[i], model[i], weight[i])
"""


def load_loss(loss: Loss) -> kinds.CompiledLoss:
    """Return what the engine needs of a loss, compiling a user's function if that was not done yet.

    A Python function of arrays is no business of the engine: for it, this is least squares.

    Raises
    ------
    TypeError
        Where numba can't compile the function.
    """
    if loss.function is not None:
        return kinds.CompiledLoss(kinds.LEAST_SQUARES, 1.0, 1.0, 0.0, 1.0, False, 0)
    address = 0 if loss.kernel is None else int(_compiled(loss).address)
    # Divided by the gain and moved by this, data have a variance that is their mean.
    shift = loss.offset / loss.gain**2
    kind = kinds.POISSON if loss.iterated else _KINDS[loss.kind]
    counts = loss.kind == "poisson"
    # Of one type: for integers numba would compile the engine once more.
    scale, gain, correlation = float(loss.scale), float(loss.gain), float(loss.correlation)
    return kinds.CompiledLoss(kind, scale, gain, float(shift), correlation, counts, address)


def _compiled(loss: Loss) -> Any:
    """The loop around a user's function, compiled once per process."""
    assert loss.kernel is not None
    with _compiling:
        if loss.digest not in _made:
            _made[loss.digest] = _compile(loss, loss.kernel)
        return _made[loss.digest]


def loss_may_raise(loss: Loss) -> bool:
    """Whether a user's loss that was compiled by this process may raise an exception."""
    return loss.kernel is not None and loss.digest in _raising


def _compile(loss: Loss, kernel: LossKernel) -> Any:
    function = getattr(kernel.function, "py_func", kernel.function)
    namespace: dict[str, Any] = {"carray": numba.carray, "function": numba.njit(**OPTIONS, forceinline=True)(function)}
    try:
        compiled = _loop(namespace)
        if may_fail(compiled):
            # A channel in which the function raises has a loss that is not a number.
            compiled = _loop({**namespace, "function": guarded("function", 3, 3, namespace)})
            _raising.add(loss.digest)
        return compiled
    except numba.core.errors.NumbaError as error:
        raise TypeError(
            f"the loss {kernel.name!r} can't be compiled by numba; it must take three numbers (data, model, weight) "
            "and return three: its value and its first and second derivative with respect to the model. numba says: "
            f"{error}"
        ) from error


def _loop(namespace: dict[str, Any]) -> Any:
    """The loop of channels around a function."""
    exec(compile(_SOURCE, "<loss kernel>", "exec"), namespace)
    return numba.cfunc(LOSS_SIGNATURE, error_model="numpy")(namespace["kernel"])
