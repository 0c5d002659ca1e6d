"""The Gram matrix of a few long rows, register-blocked: the larger part of a fit's arithmetic.

Products and sums are in the order of the channels: of pixels side by side each sum for itself, of one pixel in `SPAN`
sums, channels modulo eight, that are added in the end, by halves. So numbers are the same whatever the processor's
vectors are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xfit.engine.evaluation.state import State
from xfit.engine.math.cholesky import at
from xfit.engine.math.jit import inner
from xfit.engine.math.sums import dot
from xfit.engine.math.widths import (
    by_width,
    fused,
    get,
    group_at,
    no_sum,
    put,
    put_group,
    sum_of_group,
    total,
)


def _add_one(s: State, gram: np.ndarray, place: int, slot: int, first: int, sums: Any) -> None:
    if s.passes == 2 and first == 0:
        put_group(s.sums, slot, sums)
        return
    whole = total(group_at(s.sums, slot), sums) if s.passes == 2 else sums
    put(gram, place, get(gram, place) + sum_of_group(whole))


def _add_lanes(s: State, gram: np.ndarray, place: int, slot: int, first: int, sums: Any) -> None:
    put(gram, place, get(gram, place) + sums)


#: Add the sums of a pass over a tile to an element of a Gram matrix.
_add = by_width(_add_one, _add_lanes)


@inner
def _add_block(s: State, i: int, j: int, rows: int, first: int, length: int, gram: np.ndarray) -> None:
    """Add the dot products of three rows with three rows."""
    tile, stride, step = s.tile, s.pitch // s.group, s.passes
    a, b, c = s.rows[i] * stride + first, s.rows[i + 1] * stride + first, s.rows[i + 2] * stride + first
    u, v, w = s.rows[j] * stride + first, s.rows[j + 1] * stride + first, s.rows[j + 2] * stride + first
    au = av = aw = bu = bv = bw = cu = cv = cw = no_sum(tile)
    for m in range(length):
        k = m * step
        ak, bk, ck = group_at(tile, a + k), group_at(tile, b + k), group_at(tile, c + k)
        uk, vk, wk = group_at(tile, u + k), group_at(tile, v + k), group_at(tile, w + k)
        au, av, aw = fused(ak, uk, au), fused(ak, vk, av), fused(ak, wk, aw)
        bu, bv, bw = fused(bk, uk, bu), fused(bk, vk, bv), fused(bk, wk, bw)
        cu, cv, cw = fused(ck, uk, cu), fused(ck, vk, cv), fused(ck, wk, cw)
    place = at(i, j)
    _add(s, gram, place, 0, first, au)
    _add(s, gram, place + 1, 1, first, av)
    _add(s, gram, place + 2, 2, first, aw)
    if i + 1 < rows:
        place = at(i + 1, j)
        _add(s, gram, place, 3, first, bu)
        _add(s, gram, place + 1, 4, first, bv)
        _add(s, gram, place + 2, 5, first, bw)
    if i + 2 < rows:
        place = at(i + 2, j)
        _add(s, gram, place, 6, first, cu)
        _add(s, gram, place + 1, 7, first, cv)
        _add(s, gram, place + 2, 8, first, cw)


@inner
def _add_triangle(s: State, i: int, rows: int, first: int, length: int, gram: np.ndarray) -> None:
    """Add the dot products among three rows."""
    tile, stride, step = s.tile, s.pitch // s.group, s.passes
    a, b, c = s.rows[i] * stride + first, s.rows[i + 1] * stride + first, s.rows[i + 2] * stride + first
    aa = ab = ac = bb = bc = cc = no_sum(tile)
    for m in range(length):
        k = m * step
        ak, bk, ck = group_at(tile, a + k), group_at(tile, b + k), group_at(tile, c + k)
        aa, ab, ac = fused(ak, ak, aa), fused(ak, bk, ab), fused(ak, ck, ac)
        bb, bc, cc = fused(bk, bk, bb), fused(bk, ck, bc), fused(ck, ck, cc)
    _add(s, gram, at(i, i), 0, first, aa)
    if i + 1 < rows:
        place = at(i + 1, i)
        _add(s, gram, place, 1, first, ab)
        _add(s, gram, place + 1, 2, first, bb)
    if i + 2 < rows:
        place = at(i + 2, i)
        _add(s, gram, place, 3, first, ac)
        _add(s, gram, place + 1, 4, first, bc)
        _add(s, gram, place + 2, 5, first, cc)


@inner
def add_gram(s: State, n: int, gram: np.ndarray) -> None:
    """Add the products of a tile's free rows, and of its deviations, on ``n`` channels to the lower triangle ``gram``.

    What fills up the last three rows repeats one and is not kept.
    """
    rows, length = s.count + 1, n // s.group // s.passes
    for i in range(0, rows, 3):
        for j in range(0, i, 3):
            for first in range(s.passes):
                _add_block(s, i, j, rows, first, length, gram)
        for first in range(s.passes):
            _add_triangle(s, i, rows, first, length, gram)


@inner
def sum_of_squares(s: State) -> float:
    """Sum of the squares of one pixel's data."""
    return dot(s.y, s.y, s.length)
