"""Losses as the engine takes them: numbers, and the address of a user's compiled function."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numba

from xfit.kernels import losses as kinds
from xfit.kernels.call import LOSS_SIGNATURE
from xfit.losses import Loss, LossKernel

_KINDS = {
    "ls": kinds.LEAST_SQUARES,
    "poisson": kinds.POISSON,
    "huber": kinds.HUBER,
    "soft_l1": kinds.SOFT_L1,
    "cauchy": kinds.CAUCHY,
    "arctan": kinds.ARCTAN,
    "kernel": kinds.CUSTOM,
}

_SOURCE = """
def kernel(y_, model_, weight_, n, value_, first_, second_):
    y, model, weight = carray(y_, (n,)), carray(model_, (n,)), carray(weight_, (n,))
    value, first, second = carray(value_, (n,)), carray(first_, (n,)), carray(second_, (n,))
    for i in range(n):
        value[i], first[i], second[i] = function(y[i], model[i], weight[i])
"""


def load_loss(loss: Loss) -> kinds.Loss:
    """Return what the engine needs of a loss, compiling a user's function if that was not done yet.

    A Python function of arrays is no business of the engine: for it, this is least squares.

    Raises
    ------
    TypeError
        Where numba can't compile the function.
    """
    if loss.function is not None:
        return kinds.Loss(kinds.LEAST_SQUARES, 1.0, 1.0, 0.0, 1.0, False, 0)
    address = 0 if loss.kernel is None else int(_compiled(loss.kernel).address)
    # Divided by the gain and moved by this, data have a variance that is their mean.
    shift = loss.offset / loss.gain**2
    kind = kinds.POISSON if loss.iterated else _KINDS[loss.kind]
    counts = loss.kind == "poisson"
    return kinds.Loss(kind, loss.scale, loss.gain, shift, loss.correlation, counts, address)


@lru_cache(maxsize=64)
def _compiled(kernel: LossKernel) -> Any:
    """Compile the loop around a user's function, once per process."""
    function = getattr(kernel.function, "py_func", kernel.function)
    namespace: dict[str, Any] = {
        "carray": numba.carray,
        "function": numba.njit(error_model="numpy", fastmath={"contract"}, forceinline=True)(function),
    }
    exec(compile(_SOURCE, "<loss kernel>", "exec"), namespace)
    try:
        return numba.cfunc(LOSS_SIGNATURE, error_model="numpy")(namespace["kernel"])
    except numba.core.errors.NumbaError as error:
        raise TypeError(
            f"the loss {kernel.name!r} can't be compiled by numba; it must take three numbers (data, model, weight) and return "
            f"three: its value and its first and second derivative with respect to the model. numba says: {error}"
        ) from error
