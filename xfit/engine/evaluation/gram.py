"""The Gram matrix of a few long rows, register-blocked: the larger part of a fit's arithmetic.

Products and sums are in the order of the channels: of pixels side by side each sum for itself, of one pixel in `GROUP` sums that are added
in the end. So numbers are the same whatever the processor's vectors are.
"""

from __future__ import annotations

import numpy as np

from xfit.engine.evaluation.state import State
from xfit.engine.math.cholesky import at
from xfit.engine.math.jit import inner
from xfit.engine.math.widths import add_to, fused, get, group_at, no_sum


@inner
def _add_block(s: State, i: int, j: int, rows: int, length: int, gram: np.ndarray) -> None:
    """Add the dot products of three rows with three rows."""
    tile, stride = s.tile, s.pitch // s.group
    a, b, c = s.rows[i] * stride, s.rows[i + 1] * stride, s.rows[i + 2] * stride
    u, v, w = s.rows[j] * stride, s.rows[j + 1] * stride, s.rows[j + 2] * stride
    au = av = aw = bu = bv = bw = cu = cv = cw = no_sum(tile)
    for k in range(length):
        ak, bk, ck = group_at(tile, a + k), group_at(tile, b + k), group_at(tile, c + k)
        uk, vk, wk = group_at(tile, u + k), group_at(tile, v + k), group_at(tile, w + k)
        au, av, aw = fused(ak, uk, au), fused(ak, vk, av), fused(ak, wk, aw)
        bu, bv, bw = fused(bk, uk, bu), fused(bk, vk, bv), fused(bk, wk, bw)
        cu, cv, cw = fused(ck, uk, cu), fused(ck, vk, cv), fused(ck, wk, cw)
    first = at(i, j)
    add_to(gram, first, au)
    add_to(gram, first + 1, av)
    add_to(gram, first + 2, aw)
    if i + 1 < rows:
        second = at(i + 1, j)
        add_to(gram, second, bu)
        add_to(gram, second + 1, bv)
        add_to(gram, second + 2, bw)
    if i + 2 < rows:
        third = at(i + 2, j)
        add_to(gram, third, cu)
        add_to(gram, third + 1, cv)
        add_to(gram, third + 2, cw)


@inner
def _add_triangle(s: State, i: int, rows: int, length: int, gram: np.ndarray) -> None:
    """Add the dot products among three rows."""
    tile, stride = s.tile, s.pitch // s.group
    a, b, c = s.rows[i] * stride, s.rows[i + 1] * stride, s.rows[i + 2] * stride
    aa = ab = ac = bb = bc = cc = no_sum(tile)
    for k in range(length):
        ak, bk, ck = group_at(tile, a + k), group_at(tile, b + k), group_at(tile, c + k)
        aa, ab, ac = fused(ak, ak, aa), fused(ak, bk, ab), fused(ak, ck, ac)
        bb, bc, cc = fused(bk, bk, bb), fused(bk, ck, bc), fused(ck, ck, cc)
    add_to(gram, at(i, i), aa)
    if i + 1 < rows:
        second = at(i + 1, i)
        add_to(gram, second, ab)
        add_to(gram, second + 1, bb)
    if i + 2 < rows:
        third = at(i + 2, i)
        add_to(gram, third, ac)
        add_to(gram, third + 1, bc)
        add_to(gram, third + 2, cc)


@inner
def add_gram(s: State, n: int, gram: np.ndarray) -> None:
    """Add the products of a tile's free rows, and of its deviations, on ``n`` channels to the lower triangle ``gram``.

    What fills up the last three rows repeats one and is not kept.
    """
    rows, length = s.count + 1, n // s.group
    for i in range(0, rows, 3):
        for j in range(0, i, 3):
            _add_block(s, i, j, rows, length, gram)
        _add_triangle(s, i, rows, length, gram)


@inner
def sum_of_squares(s: State) -> float:
    """Sum of the squares of one pixel's data."""
    total = no_sum(s.y)
    for k in range(s.length // s.group):
        value = group_at(s.y, k)
        total = fused(value, value, total)
    put_here = s.total
    put_here[0] = 0.0
    add_to(put_here, 0, total)
    return get(put_here, 0)
