"""Functions of formulas for arrays, where neither NumPy nor SciPy have them under the same name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy

_ROOT_PI = math.sqrt(math.pi)


def _faddeeva(x: Any, y: Any) -> tuple[Any, Any, Any]:
    """w(z), w'(z) and w''(z) at z = x + iy.

    Where abs(z)**2 > 128, above the real axis, by the asymptotic series (NIST Handbook 2010, 7.12), for there the
    recurrence w' = 2i/sqrt(pi) - 2zw is a difference of nearly equal numbers; the next term is below 1e-17.
    """
    z = np.asarray(x + 1j * y)
    w = scipy.special.wofz(z)
    first = 2j / _ROOT_PI - 2 * z * w
    near = w, first, -2 * (w + z * first)
    part = 1 / (2 * z * z)
    term, sums = np.ones_like(z), [np.ones_like(z), np.ones_like(z), np.full_like(z, 2.0)]
    for k in range(1, 13):
        term = term * (2 * k - 1) * part
        for total, factor in zip(sums, (1, 2 * k + 1, (2 * k + 1) * (2 * k + 2)), strict=True):
            total += factor * term
    scale = 1j / (_ROOT_PI * z)
    far = scale * sums[0], -scale / z * sums[1], scale / z**2 * sums[2]
    is_far = (np.abs(z) > math.sqrt(128)) & (z.imag >= 0)
    one, two, three = (np.where(is_far, b, a) for a, b in zip(near, far, strict=True))
    return one, two, three


def of_scipy(name: str) -> Callable[..., Any]:
    """A function of `scipy.special`, which is imported when it is first called: that takes a quarter of a second."""
    return lambda *arguments: getattr(scipy.special, name)(*arguments)


def _part(order: int, part: str) -> Callable[[Any, Any], Any]:
    return lambda x, y: getattr(_faddeeva(x, y)[order], part)


def _jinc(x: Any, order: int) -> Any:
    """Twice a Bessel function over its argument, by its value at zero there."""
    safe = np.where(x == 0, 1.0, x)
    return np.where(x == 0, 2.0 - order, 2 * scipy.special.jv(order, safe) / safe)


#: By the names that formulas call them by.
SPECIAL: dict[str, Callable[..., Any]] = {
    "wofz_real": _part(0, "real"),
    "wofz_imag": _part(0, "imag"),
    "wofz_prime_real": _part(1, "real"),
    "wofz_prime_imag": _part(1, "imag"),
    "wofz_second_real": _part(2, "real"),
    "wofz_second_imag": _part(2, "imag"),
    "erfcx": of_scipy("erfcx"),
    "erfcx_prime": lambda x: -_faddeeva(0.0, x)[1].imag,
    "besselj0": of_scipy("j0"),
    "besselj1": of_scipy("j1"),
    "jinc": lambda x: _jinc(x, 1),
    "jinc_prime": lambda x: -_jinc(x, 2),
}
