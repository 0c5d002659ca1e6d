"""Pixels that share a linear design, eight at a time: their weights, and their normal equations."""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.math.cholesky import at
from xfit.engine.math.jit import inner
from xfit.engine.math.layout import LANES, PITCH, SPAN, TILE, WIDE_SUMS
from xfit.engine.math.records import Flags, Integers, Reals, RealTable, Record, Vectors
from xfit.engine.math.vector import reals
from xfit.engine.math.widths import (
    difference,
    fused,
    no_span,
    numbers_in,
    product,
    put,
    put_span,
    span_at,
    sum_of_group,
    vectors_in,
)
from xfit.engine.pixel.likelihood import log_of_product
from xfit.engine.pixel.scalars import DOF, EVALUATIONS, STATUS
from xfit.engine.pixel.status import BAD_DATA, BAD_VARIANCE, MASKED

#: Whether the dot products of four pixels are added at a time: where vectors of the processor hold a span. Sums are the
#: same ones.
_FOUR = WIDE_SUMS and LANES >= 4

#: Products of derivatives that are computed at a time where there is no table of them all.
CHUNK = 24


class Equations(Record):
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

    base: Reals
    design: RealTable
    first: Integers
    second: Integers
    products: RealTable
    weight: Reals
    gram: Reals
    used: int
    logs: float


class Group(Record, wide=True):
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
        Channels in use; weighted sum of squares; sum of the logarithms of the variances; variance of data of unit
        weight; whether the parameters can be told apart.
    """

    weight: RealTable
    weighted: RealTable
    chunk: RealTable
    spread: Reals
    pixel: Integers
    own: Flags
    used: Vectors
    squares: Vectors
    logs: Vectors
    scale: Vectors
    fine: Vectors


def group_of(m: int) -> Group:
    """Allocate eight pixels of so many channels."""
    lines = [np.zeros(LANES) for _ in range(5)]
    # Two at least, for they are multiplied by twos.
    rows = np.zeros((max(LANES, 2), m + 8)), np.zeros((max(LANES, 2), m + 8))
    return Group(
        *rows,
        np.zeros((CHUNK, PITCH)),
        np.zeros(m),
        np.full(LANES, -1, np.int64),
        np.zeros(LANES, bool),
        *lines,
    )


@inner
def subtract(y: np.ndarray, base: np.ndarray, weight: np.ndarray, weighted: np.ndarray) -> float:
    """Take the fixed part of the model from the data and weigh the rest; return its weighted sum of squares."""
    sums = no_span(base)
    whole = y.size - y.size % SPAN
    for c in range(0, whole, SPAN):
        left = difference(span_at(y, c), span_at(base, c))
        part = product(span_at(weight, c), left)
        put_span(weighted, c, part)
        sums = fused(part, left, sums)
    total = sum_of_group(sums)
    for c in range(whole, y.size):
        rest = y[c] - base[c]
        weighted[c] = weight[c] * rest
        total = fused(weighted[c], rest, total)
    return total


@inner
def _weigh_channels(
    y: np.ndarray, variance: np.ndarray, base: np.ndarray, weight: np.ndarray, weighted: np.ndarray
) -> tuple[int, int, float]:
    """Fill ``weight`` and ``weighted``; return channels in use, variances that are not above zero,
    and the weighted sum of squares.
    """
    # Arithmetic and selections only, so that it vectorises; x - x is zero for finite x alone.
    number = invalid = 0
    for c in range(y.size):
        v = variance[c]
        w = 1.0 / v if (v - v == 0.0) & (y[c] - y[c] == 0.0) else 0.0
        # The inverse of a variance of zero or below is infinite or below zero.
        invalid += 1 if (w - w != 0.0) | (w < 0.0) else 0
        number += 1 if w > 0.0 else 0
        weight[c] = w
        weighted[c] = y[c] - base[c] if w > 0.0 else 0.0
    return number, invalid, _weigh_left(y.size, weight, weighted)


@inner
def _weigh_left(n: int, weight: np.ndarray, left: np.ndarray) -> float:
    """Multiply what is left of the data by its weights; return the weighted sum of squares before."""
    sums = no_span(weight)
    whole = n - n % SPAN
    for c in range(0, whole, SPAN):
        part = product(span_at(weight, c), span_at(left, c))
        sums = fused(part, span_at(left, c), sums)
        put_span(left, c, part)
    total = sum_of_group(sums)
    for c in range(whole, n):
        rest = weight[c] * left[c]
        total = fused(rest, left[c], total)
        left[c] = rest
    return total


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
    if invalid > 0:
        fault = BAD_VARIANCE
    elif number == 0:
        fault = MASKED if asked == 0 else BAD_DATA
    return number, fault, squares


@inner
def _multiply(a: np.ndarray, b: np.ndarray, n: int, product: np.ndarray) -> None:
    """Product of two rows."""
    for c in range(n):
        product[c] = a[c] * b[c]


@inner
def _dots(a: np.ndarray, begin: int, p: np.ndarray, q: np.ndarray, start: int, size: int) -> tuple[float, float]:
    """Dot products of a row with those of two pixels."""
    ap = aq = no_span(a)
    for i in range(0, size, SPAN):
        ai = span_at(a, begin + i)
        ap, aq = fused(ai, span_at(p, start + i), ap), fused(ai, span_at(q, start + i), aq)
    return sum_of_group(ap), sum_of_group(aq)


@inner
def _add_block(
    rows: np.ndarray,
    t: int,
    begin: int,
    pixels: np.ndarray,
    g: int,
    start: int,
    size: int,
    place: int,
    gram: np.ndarray,
) -> None:
    """Add the dot products of three rows with those of two pixels, or of four; products and
    sums are in a fixed order.
    """
    a, b, c, p, q = rows[t], rows[t + 1], rows[t + 2], pixels[g], pixels[g + 1]
    ap = aq = bp = bq = cp = cq = no_span(a)
    e = place * LANES + g
    if _FOUR:
        r, s = pixels[g + 2], pixels[g + 3]
        ar = as_ = br = bs = cr = cs = no_span(a)
        for i in range(0, size, SPAN):
            ai, bi, ci = span_at(a, begin + i), span_at(b, begin + i), span_at(c, begin + i)
            pi, qi, ri, si = span_at(p, start + i), span_at(q, start + i), span_at(r, start + i), span_at(s, start + i)
            ap, aq, ar, as_ = fused(ai, pi, ap), fused(ai, qi, aq), fused(ai, ri, ar), fused(ai, si, as_)
            bp, bq, br, bs = fused(bi, pi, bp), fused(bi, qi, bq), fused(bi, ri, br), fused(bi, si, bs)
            cp, cq, cr, cs = fused(ci, pi, cp), fused(ci, qi, cq), fused(ci, ri, cr), fused(ci, si, cs)
        _add_two(gram, e + 2, 1, sum_of_group(ar), sum_of_group(as_))
        _add_two(gram, e + LANES + 2, 1, sum_of_group(br), sum_of_group(bs))
        _add_two(gram, e + 2 * LANES + 2, 1, sum_of_group(cr), sum_of_group(cs))
    else:
        for i in range(0, size, SPAN):
            pi, qi = span_at(p, start + i), span_at(q, start + i)
            ai, bi, ci = span_at(a, begin + i), span_at(b, begin + i), span_at(c, begin + i)
            ap, aq = fused(ai, pi, ap), fused(ai, qi, aq)
            bp, bq = fused(bi, pi, bp), fused(bi, qi, bq)
            cp, cq = fused(ci, pi, cp), fused(ci, qi, cq)
    _add_two(gram, e, LANES - 1, sum_of_group(ap), sum_of_group(aq))
    _add_two(gram, e + LANES, LANES - 1, sum_of_group(bp), sum_of_group(bq))
    _add_two(gram, e + 2 * LANES, LANES - 1, sum_of_group(cp), sum_of_group(cq))


@inner
def _add_two(gram: np.ndarray, place: int, second: int, p: float, q: float) -> None:
    """Add sums of two pixels; of the second one if there is one."""
    gram[place] += p
    if second > 0:
        gram[place + 1] += q


@inner
def add_products(
    rows: np.ndarray, begin: int, count: int, pixels: np.ndarray, start: int, size: int, place: int, gram: np.ndarray
) -> None:
    """Add the dot products of ``count`` rows with those of the pixels of a group to the vectors
    of ``gram`` from ``place`` on.

    ``begin`` is where a tile of ``size`` channels begins in the rows, ``start`` where in the pixels'. Rows end with
    zeros up to a whole span.
    """
    at_once = 4 if _FOUR else 2
    threes = count - count % 3
    for g in range(0, LANES, at_once):
        for t in range(0, threes, 3):
            _add_block(rows, t, begin, pixels, g, start, size, place + t, gram)
    for g in range(0, LANES, 2):
        for t in range(threes, count):
            p, q = _dots(rows[t], begin, pixels[g], pixels[g + 1], start, size)
            _add_two(gram, (place + t) * LANES + g, LANES - 1, p, q)


@inner
def form_equations(equations: Equations, any_own: bool, k: int, group: Group, gram: np.ndarray) -> None:
    """Fill ``gram`` with the normal equations of the eight pixels."""
    size, m = equations.first.size, equations.base.size
    for t in range(at(k + 1, 0) * LANES):
        gram[t] = 0.0
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
                # With the zeros up to a whole group.
                _multiply(
                    equations.design[a, start:], equations.design[b, start:], min(n + SPAN, PITCH), group.chunk[t]
                )
            add_products(group.chunk, 0, count, group.weight, start, n, begin, gram)
    for lane in range(LANES):
        if any_own and not group.own[lane]:
            for t in range(size):
                gram[t * LANES + lane] = equations.gram[t]
    if not any_own:
        for t in range(size):
            put(vectors_in(gram), t, reals(equations.gram[t]))


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
    of_used, of_logs = numbers_in(group.used), numbers_in(group.logs)
    of_used[lane], of_logs[lane] = equations.used, equations.logs
    if not math.isfinite(squares):
        weight = group.weight[lane, :m]
        used, fault, squares = _weigh(y, variance, where, equations.base, group.spread, weight, weighted)
        scalars[DOF] = used - k
        scalars[EVALUATIONS] = 0.0
        if fault != 0 or used < k:
            scalars[STATUS] = fault if fault != 0 else BAD_DATA
            return False
        group.own[lane] = True
        of_used[lane] = used
        of_logs[lane] = -log_of_product(weight, weight[:0], m) if variance.size else 0.0
    numbers_in(group.squares)[lane] = squares
    return True
