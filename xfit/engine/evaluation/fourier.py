"""Fast Fourier transforms of `LANES` complex sequences side by side, in place, for convolutions.

Sequences are stored point by point: point j has their real parts in vector ``2 j``, their imaginary parts in
``2 j + 1`` (`xfit.engine.math.vector`). `forward` leaves frequencies in the scrambled order in which decimation in
frequency makes them, and `backward` takes them so: a product of two transforms needs no order, so that nothing is ever
sorted. Radices 4, 2 and, once, 3 (J. W. Cooley and J. W. Tukey 1965, doi:10.1090/S0025-5718-1965-0178586-1; W. M.
Gentleman and G. Sande 1966, doi:10.1145/1464291.1464352).
"""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.math.jit import inner
from xfit.engine.math.vector import load, store
from xfit.engine.math.widths import fused

#: Points that are transformed to the end before the next ones are touched: 32 kB, which stay in the first level cache.
_CACHED = 256

_SINE_60 = math.sqrt(0.75)


def transform_size(length: int) -> int:
    """Smallest size that `forward` can do and that is not below a length: a power of two, or three times one."""
    size = 4
    while size < length:
        size *= 2
    return 3 * size // 4 if size >= 16 and 3 * size // 4 >= length else size


def twiddles(size: int) -> np.ndarray:
    """Cosines and sines of ``-2 pi t / size``, alternating: float64 (2 * size,)."""
    angle = -2 * math.pi * np.arange(size) / size
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).ravel()


@inner
def _times(re: float, im: float, c: float, s: float) -> tuple[float, float]:
    """Product of complex numbers."""
    return fused(re, c, -(im * s)), fused(re, s, im * c)


@inner
def _quarters_forward(work: np.ndarray, first: int, n: int, turns: np.ndarray, stride: int) -> None:
    """Split ``n`` points from ``first`` into four sequences of a quarter."""
    m = n // 4
    for j in range(m):
        at0, at1, at2, at3 = 2 * (first + j), 2 * (first + j + m), 2 * (first + j + 2 * m), 2 * (first + j + 3 * m)
        re0, re1, re2, re3 = load(work, at0), load(work, at1), load(work, at2), load(work, at3)
        im0, im1, im2, im3 = load(work, at0 + 1), load(work, at1 + 1), load(work, at2 + 1), load(work, at3 + 1)
        even_re, even_im, odd_re, odd_im = re0 + re2, im0 + im2, re1 + re3, im1 + im3
        left_re, left_im, right_re, right_im = re0 - re2, im0 - im2, im1 - im3, re3 - re1
        t = 2 * j * stride
        store(work, at0, even_re + odd_re)
        store(work, at0 + 1, even_im + odd_im)
        re, im = _times(even_re - odd_re, even_im - odd_im, turns[2 * t], turns[2 * t + 1])
        store(work, at1, re)
        store(work, at1 + 1, im)
        re, im = _times(left_re + right_re, left_im + right_im, turns[t], turns[t + 1])
        store(work, at2, re)
        store(work, at2 + 1, im)
        re, im = _times(left_re - right_re, left_im - right_im, turns[3 * t], turns[3 * t + 1])
        store(work, at3, re)
        store(work, at3 + 1, im)


@inner
def _quarters_backward(work: np.ndarray, first: int, n: int, turns: np.ndarray, stride: int) -> None:
    """Undo `_quarters_forward`, but for a factor of four."""
    m = n // 4
    for j in range(m):
        at0, at1, at2, at3 = 2 * (first + j), 2 * (first + j + m), 2 * (first + j + 2 * m), 2 * (first + j + 3 * m)
        t = 2 * j * stride
        re0, im0 = load(work, at0), load(work, at0 + 1)
        re2, im2 = _times(load(work, at1), load(work, at1 + 1), turns[2 * t], -turns[2 * t + 1])
        re1, im1 = _times(load(work, at2), load(work, at2 + 1), turns[t], -turns[t + 1])
        re3, im3 = _times(load(work, at3), load(work, at3 + 1), turns[3 * t], -turns[3 * t + 1])
        even_re, even_im, odd_re, odd_im = re0 + re2, im0 + im2, re1 + re3, im1 + im3
        left_re, left_im, right_re, right_im = re0 - re2, im0 - im2, im3 - im1, re1 - re3
        store(work, at0, even_re + odd_re)
        store(work, at0 + 1, even_im + odd_im)
        store(work, at1, left_re + right_re)
        store(work, at1 + 1, left_im + right_im)
        store(work, at2, even_re - odd_re)
        store(work, at2 + 1, even_im - odd_im)
        store(work, at3, left_re - right_re)
        store(work, at3 + 1, left_im - right_im)


@inner
def _pairs(work: np.ndarray, first: int, n: int) -> None:
    """Transform neighbours in pairs, forward or backward."""
    for at in range(2 * first, 2 * (first + n), 4):
        re0, im0, re1, im1 = load(work, at), load(work, at + 1), load(work, at + 2), load(work, at + 3)
        store(work, at, re0 + re1)
        store(work, at + 1, im0 + im1)
        store(work, at + 2, re0 - re1)
        store(work, at + 3, im0 - im1)


@inner
def _thirds(work: np.ndarray, size: int, turns: np.ndarray, sign: float) -> None:
    """Split all points into three sequences of a third (``sign`` = 1), or undo that but for a factor of three (-1)."""
    m = size // 3
    for j in range(m):
        at0, at1, at2 = 2 * j, 2 * (j + m), 2 * (j + 2 * m)
        re0, im0 = load(work, at0), load(work, at0 + 1)
        re1, im1 = load(work, at1), load(work, at1 + 1)
        re2, im2 = load(work, at2), load(work, at2 + 1)
        if sign < 0.0:
            re1, im1 = _times(re1, im1, turns[2 * j], -turns[2 * j + 1])
            re2, im2 = _times(re2, im2, turns[4 * j], -turns[4 * j + 1])
        both_re, both_im = re1 + re2, im1 + im2
        side_re, side_im = sign * _SINE_60 * (im1 - im2), sign * _SINE_60 * (re2 - re1)
        mid_re, mid_im = re0 - 0.5 * both_re, im0 - 0.5 * both_im
        store(work, at0, re0 + both_re)
        store(work, at0 + 1, im0 + both_im)
        re1, im1 = mid_re + side_re, mid_im + side_im
        re2, im2 = mid_re - side_re, mid_im - side_im
        if sign > 0.0:
            re1, im1 = _times(re1, im1, turns[2 * j], turns[2 * j + 1])
            re2, im2 = _times(re2, im2, turns[4 * j], turns[4 * j + 1])
        store(work, at1, re1)
        store(work, at1 + 1, im1)
        store(work, at2, re2)
        store(work, at2 + 1, im2)


@inner
def forward(work: np.ndarray, size: int, turns: np.ndarray) -> None:
    """Transform `LANES` sequences.

    Parameters
    ----------
    work : float64 (2 * size * LANES,)
        Changed in place; see the module.
    size : int
        As `transform_size` returns it.
    turns : float64 (2 * size,)
        See `twiddles`.
    """
    n = size
    if size % 3 == 0:
        _thirds(work, size, turns, 1.0)
        n = size // 3
    while n > _CACHED:
        for first in range(0, size, n):
            _quarters_forward(work, first, n, turns, size // n)
        n //= 4
    for block in range(0, size, n):
        part = n
        while part >= 4:
            for first in range(block, block + n, part):
                _quarters_forward(work, first, part, turns, size // part)
            part //= 4
        if part == 2:
            _pairs(work, block, n)


@inner
def backward(work: np.ndarray, size: int, turns: np.ndarray) -> None:
    """Undo `forward`, but for a factor of ``size``; arguments as there."""
    whole = size // 3 if size % 3 == 0 else size
    n = whole
    while n > _CACHED:
        n //= 4
    for block in range(0, size, n):
        # The quarters grow from 4 points, or from 8 where n is an odd power of two.
        part = 4
        if _is_odd_power(n):
            _pairs(work, block, n)
            part = 8
        while part <= n:
            for first in range(block, block + n, part):
                _quarters_backward(work, first, part, turns, size // part)
            part *= 4
    n *= 4
    while n <= whole:
        for first in range(0, size, n):
            _quarters_backward(work, first, n, turns, size // n)
        n *= 4
    if size % 3 == 0:
        _thirds(work, size, turns, -1.0)


@inner
def _is_odd_power(n: int) -> bool:
    """Whether a power of two has an odd exponent."""
    odd = False
    while n > 1:
        n //= 2
        odd = not odd
    return odd
