"""Pixels that share a linear design, eight at a time: their weights, and their normal equations."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from xfit.engine.math.jit import inner, sums
from xfit.engine.math.layout import LANES, PITCH, TILE
from xfit.engine.math.vector import reals, store
from xfit.engine.pixel.likelihood import log_of_product
from xfit.engine.pixel.packed_row import DOF, EVALUATIONS, STATUS
from xfit.engine.pixel.status import BAD_DATA, BAD_VARIANCE, MASKED
from xfit.engine.simd.evaluate import at

#: Products of derivatives that are computed at a time where there is no table of them all.
CHUNK = 24


class Equations(NamedTuple):
    """What pixels of one design share.

    Attributes
    ----------
    base : float64 (m,)
        The model with all free parameters at zero.
    design : float64 (k rounded up to threes, m + 8)
        Derivatives of the model, then zeros.
    first, second : int64 (k (k + 1) / 2,)
        Which two derivatives each element of the triangle is the product of.
    products : float64 (as many, rounded up to threes, m + 8), or (0, m + 8)
        These products, unless they are too many to be kept.
    weight : float64 (m,)
        Inverse variances where all pixels have the same, zero where a channel is left out.
    gram : float64 (k (k + 1) / 2,)
        Normal equations with these, or zeros.
    used, logs : int, float
        Channels in use, zero if there are no such weights; sum of the logarithms of their variances.
    """

    base: np.ndarray
    design: np.ndarray
    first: np.ndarray
    second: np.ndarray
    products: np.ndarray
    weight: np.ndarray
    gram: np.ndarray
    used: int
    logs: float


class Group(NamedTuple):
    """Eight pixels.

    Attributes
    ----------
    weight, weighted : float64 (LANES, m + 8)
        Inverse variances; with them what the fixed part of the model leaves of the data.
    chunk, spread : float64 (CHUNK, PITCH), float64 (m,)
        Scratch.
    pixel : int64 (LANES,)
        Which pixel each is, -1 for none.
    own : bool (LANES,)
        Whether it has weights of its own.
    used, squares, logs, scale, fine : float64 (LANES,)
        Channels in use; weighted sum of squares; sum of the logarithms of the variances; variance of data of unit weight; whether
        the parameters can be told apart.
    """

    weight: np.ndarray
    weighted: np.ndarray
    chunk: np.ndarray
    spread: np.ndarray
    pixel: np.ndarray
    own: np.ndarray
    used: np.ndarray
    squares: np.ndarray
    logs: np.ndarray
    scale: np.ndarray
    fine: np.ndarray


def group_of(m: int) -> Group:
    """Allocate eight pixels of so many channels."""
    lines = [np.zeros(LANES) for _ in range(5)]
    rows = np.zeros((LANES, m + 8)), np.zeros((LANES, m + 8))
    return Group(*rows, np.zeros((CHUNK, PITCH)), np.zeros(m), np.full(LANES, -1), np.zeros(LANES, bool), *lines)


@sums
def subtract(y: np.ndarray, base: np.ndarray, weight: np.ndarray, weighted: np.ndarray) -> float:
    """Take the fixed part of the model from the data and weigh the rest; return its weighted sum of squares."""
    total = 0.0
    for c in range(y.size):
        left = y[c] - base[c]
        part = weight[c] * left
        weighted[c] = part
        total += part * left
    return total


@sums
def _weigh_channels(
    y: np.ndarray, variance: np.ndarray, base: np.ndarray, weight: np.ndarray, weighted: np.ndarray
) -> tuple[float, float, float]:
    """Fill ``weight`` and ``weighted``; return channels in use, variances that are not above zero, and the weighted sum of squares."""
    # Arithmetic and selections only, so that it vectorises; x - x is zero for finite x alone.
    number = invalid = squares = 0.0
    for c in range(y.size):
        v = variance[c]
        w = 1.0 / v if (v - v == 0.0) & (y[c] - y[c] == 0.0) else 0.0
        # The inverse of a variance of zero or below is infinite or below zero.
        invalid += 1.0 if (w - w != 0.0) | (w < 0.0) else 0.0
        number += 1.0 if w > 0.0 else 0.0
        left = y[c] - base[c] if w > 0.0 else 0.0
        part = w * left
        weight[c] = w
        weighted[c] = part
        squares += part * left
    return number, invalid, squares


@inner
def _weigh(
    y: np.ndarray,
    variance: np.ndarray,
    where: np.ndarray,
    base: np.ndarray,
    scratch: np.ndarray,
    weight: np.ndarray,
    weighted: np.ndarray,
) -> tuple[int, int, float]:
    """Weights of a pixel, and with them what the fixed part of the model leaves of its data.

    Returns
    -------
    used : int
        Channels in use.
    fault : int
        A status, or zero.
    squares : float
        Weighted sum of squares.
    """
    asked = y.size
    if variance.size and not where.size:
        number, invalid, squares = _weigh_channels(y, variance, base, weight, weighted)
    else:
        asked = 0
        for c in range(y.size):
            use = where[c] if where.size else True
            asked += 1 if use else 0
            scratch[c] = (variance[c] if variance.size else 1.0) if use else math.nan
        number, invalid, squares = _weigh_channels(y, scratch, base, weight, weighted)
    fault = 0
    if invalid > 0.0:
        fault = BAD_VARIANCE
    elif number == 0.0:
        fault = MASKED if asked == 0 else BAD_DATA
    return int(number), fault, squares


@sums
def _multiply(a: np.ndarray, b: np.ndarray, n: int, product: np.ndarray) -> None:
    """Product of two rows."""
    for c in range(n):
        product[c] = a[c] * b[c]


@sums
def _block(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, p: np.ndarray, q: np.ndarray, r: np.ndarray, s: np.ndarray
) -> tuple[float, float, float, float, float, float, float, float, float, float, float, float]:
    """Twelve dot products of three rows with those of four pixels, each loaded once."""
    ap = aq = ar = as_ = bp = bq = br = bs = cp = cq = cr = cs = 0.0
    for i in range(a.size):
        ai, bi, ci = a[i], b[i], c[i]
        pi, qi, ri, si = p[i], q[i], r[i], s[i]
        ap += ai * pi
        aq += ai * qi
        ar += ai * ri
        as_ += ai * si
        bp += bi * pi
        bq += bi * qi
        br += bi * ri
        bs += bi * si
        cp += ci * pi
        cq += ci * qi
        cr += ci * ri
        cs += ci * si
    return ap, aq, ar, as_, bp, bq, br, bs, cp, cq, cr, cs


@inner
def add_products(
    rows: np.ndarray, begin: int, count: int, pixels: np.ndarray, start: int, size: int, place: int, gram: np.ndarray
) -> None:
    """Add the dot products of ``count`` rows with those of eight pixels to the vectors of ``gram`` from ``place`` on.

    ``begin`` is where a tile of ``size`` channels begins in the rows, ``start`` where in the pixels'.
    """
    end, stop = begin + size, start + size
    for g in range(0, LANES, 4):
        p, q, r, s = (
            pixels[g, start:stop],
            pixels[g + 1, start:stop],
            pixels[g + 2, start:stop],
            pixels[g + 3, start:stop],
        )
        for t in range(0, count, 3):
            ap, aq, ar, as_, bp, bq, br, bs, cp, cq, cr, cs = _block(
                rows[t, begin:end], rows[t + 1, begin:end], rows[t + 2, begin:end], p, q, r, s
            )
            e = (place + t) * LANES + g
            gram[e] += ap
            gram[e + 1] += aq
            gram[e + 2] += ar
            gram[e + 3] += as_
            if t + 1 < count:
                gram[e + LANES] += bp
                gram[e + LANES + 1] += bq
                gram[e + LANES + 2] += br
                gram[e + LANES + 3] += bs
            if t + 2 < count:
                gram[e + 2 * LANES] += cp
                gram[e + 2 * LANES + 1] += cq
                gram[e + 2 * LANES + 2] += cr
                gram[e + 2 * LANES + 3] += cs


@inner
def form_equations(equations: Equations, any_own: bool, k: int, group: Group, gram: np.ndarray) -> None:
    """Fill ``gram`` with the normal equations of the eight pixels."""
    size, m = equations.first.size, equations.base.size
    gram[:] = 0.0
    for start in range(0, m, TILE):
        n = min(TILE, m - start)
        add_products(equations.design, start, k, group.weighted, start, n, at(k, 0), gram)
        if not any_own:
            continue
        if equations.products.shape[0]:
            add_products(equations.products, start, size, group.weight, start, n, 0, gram)
            continue
        for begin in range(0, size, CHUNK):
            count = min(CHUNK, size - begin)
            for t in range(count):
                a, b = equations.first[begin + t], equations.second[begin + t]
                _multiply(
                    equations.design[a, start : start + n], equations.design[b, start : start + n], n, group.chunk[t]
                )
            add_products(group.chunk, 0, count, group.weight, start, n, begin, gram)
    for lane in range(LANES):
        if any_own and not group.own[lane]:
            for t in range(size):
                gram[t * LANES + lane] = equations.gram[t]
    if not any_own:
        for t in range(size):
            store(gram, t, reals(equations.gram[t]))


@inner
def squares_left(
    y: np.ndarray, equations: Equations, weight: np.ndarray, solution: np.ndarray, lane: int, k: int
) -> float:
    """Weighted sum of squares of what the solution leaves of the data, channel by channel."""
    total = 0.0
    for c in range(y.size):
        if weight[c] > 0.0:
            left = y[c] - equations.base[c]
            for j in range(k):
                left -= equations.design[j, c] * solution[j * LANES + lane]
            total += weight[c] * left * left
    return total


@inner
def weigh_into(
    i: int,
    lane: int,
    y: np.ndarray,
    variance: np.ndarray,
    where: np.ndarray,
    equations: Equations,
    k: int,
    group: Group,
    scalars: np.ndarray,
) -> bool:
    """Weigh a pixel in its lane; return whether it can be fitted, else its row says why."""
    m = y.size
    group.own[lane] = False
    weighted = group.weighted[lane, :m]
    squares = subtract(y, equations.base, equations.weight, weighted) if equations.used > 0 else math.nan
    group.used[lane], group.logs[lane] = equations.used, equations.logs
    if not math.isfinite(squares):
        weight = group.weight[lane, :m]
        used, fault, squares = _weigh(y, variance, where, equations.base, group.spread, weight, weighted)
        scalars[DOF] = used - k
        scalars[EVALUATIONS] = 0.0
        if fault != 0 or used < k:
            scalars[STATUS] = fault if fault != 0 else BAD_DATA
            return False
        group.own[lane] = True
        group.used[lane] = used
        group.logs[lane] = -log_of_product(weight, weight[:0], m) if variance.size else 0.0
    group.squares[lane] = squares
    return True
