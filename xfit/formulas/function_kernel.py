"""What a component's kernel is made from where that is a Python function, compared by what the function does."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from xfit.formulas.snapshots import digest, frozen

#: Kernels that a process remembers: results of fits are evaluated by the functions that were fitted.
_REMEMBERED = 1024

_known: OrderedDict[tuple[object, ...], FunctionKernel] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class FunctionKernel:
    """A kernel made from a Python function that numba can compile, as the function is when the kernel is made.

    Kernels are equal if their functions do the same: copies that workers unpickle are compiled once, not once a task.

    Attributes
    ----------
    function : callable
        Of coordinates, then parameters; numbers in, a number out. A copy that keeps the values it reads.
    gradient : callable or None
        Of the same arguments; a tuple of derivatives with respect to the parameters. None: central differences.
    coordinates, parameters : tuple of str
        Names of the arguments.
    digest : str
        Tells functions apart that do not do the same; see `xfit.formulas.snapshots.digest`.

    Raises
    ------
    TypeError
        If the function reads an object of which it can't be told whether it has changed.
    """

    function: Callable[..., float]
    gradient: Callable[..., tuple[float, ...]] | None
    coordinates: tuple[str, ...]
    parameters: tuple[str, ...]
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        function, gradient = frozen(self.function), None if self.gradient is None else frozen(self.gradient)
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "gradient", gradient)
        object.__setattr__(self, "digest", _digest(function, gradient))

    @property
    def content(self) -> tuple[object, ...]:
        """What kernels are compared by."""
        return (self.digest, self.coordinates, self.parameters)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FunctionKernel):
            return NotImplemented
        return self.content == other.content

    def __hash__(self) -> int:
        return hash(self.content)


def _digest(function: Callable[..., float], gradient: Callable[..., tuple[float, ...]] | None) -> str:
    return digest(function) if gradient is None else f"{digest(function)}-{digest(gradient)}"


def kernel_of(
    function: Callable[..., float],
    gradient: Callable[..., tuple[float, ...]] | None,
    coordinates: tuple[str, ...],
    parameters: tuple[str, ...],
) -> FunctionKernel:
    """Return the kernel of a function as it is now; the same one as long as the function stays the same."""
    content = (_digest(function, gradient), coordinates, parameters)
    with _lock:
        if content in _known:
            _known.move_to_end(content)
            return _known[content]
    kernel = FunctionKernel(function, gradient, coordinates, parameters)
    with _lock:
        _known[kernel.content] = kernel
        while len(_known) > _REMEMBERED:
            _known.popitem(last=False)
    return kernel


def remembered(kernel_digest: str) -> FunctionKernel | None:
    """The kernel of a digest, if this process has fitted or evaluated one."""
    with _lock:
        return next((kernel for kernel in reversed(_known.values()) if kernel.digest == kernel_digest), None)
