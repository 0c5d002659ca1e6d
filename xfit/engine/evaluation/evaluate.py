"""Model, Jacobian, deviations and Gram matrix at a point, a tile of channels at a time."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np

from xfit.engine.evaluation.difference_quotients import replace_rows
from xfit.engine.evaluation.gram import add_gram
from xfit.engine.evaluation.loss_functions import LEAST_SQUARES, LOSS, SUMMED, SUMS, poisson
from xfit.engine.evaluation.rare import add_whole, apply_loss, apply_ties, tie_derivatives
from xfit.engine.evaluation.state import CAREFUL, UNKNOWN, Problem, State
from xfit.engine.math.call import call_kernel
from xfit.engine.math.cholesky import at
from xfit.engine.math.entries import WIDE, Pointer, apart
from xfit.engine.math.jit import inner
from xfit.engine.math.layout import LANES, PITCH
from xfit.engine.math.vector import select
from xfit.engine.math.widths import address_of, as_one, by_width, full, fused, get, numbers_at, numbers_in, put


def _tie_one(p: Problem, s: State, q: np.ndarray) -> None:
    if p.ties.tied.size > 0:
        apply_ties(p, s, address_of(q))


def _tie_lanes(p: Problem, s: State, q: np.ndarray) -> None:
    ties = p.ties
    if ties.tied.size == 0:
        return
    points, one = numbers_in(q), s.one
    for lane in range(LANES):
        for k in range(s.parameters):
            one[k] = points[k * LANES + lane]
        apply_ties(p, as_one(s), address_of(one))
        for t in ties.tied:
            points[t * LANES + lane] = one[t]


#: Set the tied entries of points from the others.
tie_point = by_width(_tie_one, _tie_lanes)


def _differentiate_one(p: Problem, s: State, q: np.ndarray, careful: bool) -> None:
    if p.ties.row.size > 0:
        tie_derivatives(p, s, address_of(q), 1 if careful else 0, address_of(s.derivative))


def _differentiate_lanes(p: Problem, s: State, q: np.ndarray, careful: bool) -> None:
    ties = p.ties
    if ties.row.size == 0:
        return
    points, out = numbers_in(q), numbers_in(s.derivative)
    for lane in range(LANES):
        for k in range(s.parameters):
            s.one[k] = points[k * LANES + lane]
        tie_derivatives(p, as_one(s), address_of(s.one), 0, address_of(s.slopes))
        for d in range(ties.row.size):
            out[d * LANES + lane] = s.slopes[d]


#: Fill ``s.derivative`` with the derivatives of the ties at ``q``.
_differentiate_ties = by_width(_differentiate_one, _differentiate_lanes)


def _fill_rest_of_one(p: Problem, s: State, q: np.ndarray, start: int, n: int, careful: bool) -> None:
    if careful:
        _replace_derivatives(p, s, q, start, n)
    if p.structure.plan.size > 0:
        add_whole(p, address_of(q), start, n, address_of(s.tile))


def _fill_nothing(p: Problem, s: State, q: np.ndarray, start: int, n: int, careful: bool) -> None:
    return


#: Replace derivatives that are not finite, and add components that need the whole axis: of one pixel alone.
_fill_rest = by_width(_fill_rest_of_one, _fill_nothing)


@inner
def _replace_derivatives(p: Problem, s: State, q: np.ndarray, start: int, n: int) -> None:
    """Replace derivatives that are not finite where the model is; see `xfit.engine.evaluation.difference_quotients`."""
    structure, width = p.structure, p.x.shape[1]
    for k in range(structure.address.size):
        first = structure.first[k]
        replace_rows(
            structure.address[k],
            p.x,
            structure.xrow[k] * width + start,
            width,
            q,
            s.parameters,
            first,
            structure.number[k],
            s.tile,
            first * PITCH,
            s.parameters * PITCH,
            n,
            s.spare,
            0,
            s.scratch,
        )


@inner
def fill_tile(p: Problem, s: State, q: np.ndarray, start: int, n: int, careful: bool) -> None:
    """Evaluate the Jacobian and add the model to the row after that of the last parameter, on
    ``n`` channels from ``start``.

    The chain rule of the ties is included: their derivatives must stand in ``s.derivative``.
    """
    structure, ties, tile, pitch, width = p.structure, p.ties, s.tile, s.pitch, p.x.shape[1]
    for row in structure.idle:
        for i in range(n):
            put(tile, row * pitch + i, full(s, 0.0))
    for k in range(structure.address.size):
        first = structure.first[k]
        call_kernel(
            structure.address[k],
            p.x,
            structure.xrow[k] * width + start,
            width,
            q,
            first,
            tile,
            s.parameters * pitch,
            tile,
            first * pitch,
            n,
            s.scratch,
        )
    _fill_rest(p, s, q, start, n, careful)
    for d in range(ties.row.size):
        slope = get(s.derivative, d)
        target, source = ties.column[d] * pitch, ties.tied[ties.row[d]] * pitch
        for i in range(n):
            put(tile, target + i, fused(slope, get(tile, source + i), get(tile, target + i)))


def _deviate_one(p: Problem, s: State, start: int, n: int) -> None:
    apply_loss(p, s, start, n)


def _deviate_lanes(p: Problem, s: State, start: int, n: int) -> None:
    # Of these losses the one of counts alone; see `xfit.engine.evaluation.loss_functions.poisson`.
    loss, f = p.loss, s.parameters * s.pitch
    part = 1.0 / loss.dispersion
    scale = math.sqrt(part)
    smallest, total = get(s.smallest, 0), get(s.total, 0)
    for i in range(n):
        factor = get(s.m, start + i)
        used = factor != 0.0
        mean = select(used, fused(factor, get(s.tile, f + i), full(s, loss.shift)), 1.0)
        value, deviation, root = poisson(get(s.y, start + i), mean, smallest)
        total += select(used, value * part, 0.0)
        put(s.tile, f + i, select(used, deviation * scale, 0.0))
        put(s.tile, f + s.pitch + i, factor * root * scale)
    put(s.total, 0, total)


#: Turn the model of a tile into deviations, and fill the row after it with factors of the derivatives, for losses other
#: than squares.
_deviate_by_loss = by_width(_deviate_one, _deviate_lanes)


@inner
def deviation_tile(p: Problem, s: State, q: np.ndarray, count: int, start: int, n: int, careful: bool) -> None:
    """Fill a tile with the first ``count`` weighed Jacobian rows in use and, in the row after the
    last parameter, the deviations.

    A channel that is left out has zeros everywhere, whatever the model is there (it may well be NaN).
    """
    tile, pitch, y, m = s.tile, s.pitch, s.y, s.m
    f = s.parameters * pitch
    squared = s.kind == LEAST_SQUARES
    for i in range(n):
        put(tile, f + i, -get(y, start + i) if s.plain and squared else full(s, 0.0))
    fill_tile(p, s, q, start, n, careful)
    if squared and s.plain and s.whole:
        for i in range(s.channels - start, n):
            put(tile, f + i, full(s, 0.0))
            for j in range(count):
                put(tile, s.rows[j] * pitch + i, full(s, 0.0))
        return
    if not squared:
        _deviate_by_loss(p, s, start, n)
    elif s.plain:
        for i in range(n):
            factor = get(m, start + i)
            put(tile, f + i, select(factor != 0.0, get(tile, f + i), 0.0))
            put(tile, f + pitch + i, factor)
    else:
        for i in range(n):
            factor = get(m, start + i)
            deviation = fused(factor, get(tile, f + i), -get(y, start + i))
            put(tile, f + i, select(factor != 0.0, deviation, 0.0))
            put(tile, f + pitch + i, factor)
    for j in range(count):
        row = s.rows[j] * pitch
        for i in range(n):
            factor = get(tile, f + pitch + i)
            put(tile, row + i, select(factor != 0.0, factor * get(tile, row + i), 0.0))


def _begin_one(s: State) -> None:
    for k in range(SUMMED):
        s.work[SUMS, k] = 0.0


def _begin_lanes(s: State) -> None:
    put(s.total, 0, full(s, 0.0))


#: Clear what is summed over the channels besides the Gram matrix.
_begin_sums = by_width(_begin_one, _begin_lanes)


def _loss_of_one(s: State) -> Any:
    return s.work[SUMS, LOSS]


def _loss_of_lanes(s: State) -> Any:
    return get(s.total, 0)


#: Loss, summed over the channels, where it is not the sum of the squares.
_sum_of_loss = by_width(_loss_of_one, _loss_of_lanes)


@inner
def gram_at(p: Problem, s: State, q: np.ndarray, careful: bool, gram: np.ndarray) -> None:
    """Evaluate the model at ``q`` and form the Gram matrix of the free Jacobian rows and the deviations.

    Parameters
    ----------
    careful : bool
        Whether to replace derivatives that are not finite where the model is; of one pixel alone.
    gram : (triangle of count + 1,)
        Filled with ``J'J``, then ``J'r`` and the loss in the last row.
    """
    last = at(s.count, s.count)
    for k in range(last + 1):
        put(gram, k, full(s, 0.0))
    _begin_sums(s)
    _differentiate_ties(p, s, q, careful)
    for start in range(0, s.length, s.tile_channels):
        n = min(s.tile_channels, s.length - start)
        deviation_tile(p, s, q, s.count, start, n, careful)
        add_gram(s, n, gram)
    for j in range(s.count):
        put(gram, at(s.count, j), -get(gram, at(s.count, j)))
    if s.kind != LEAST_SQUARES:
        put(gram, last, _sum_of_loss(s))


@apart
def gram_of_lanes(p: Problem, s: Annotated[State, WIDE]) -> int:
    """Gram matrices of pixels side by side at their trial points."""
    gram_at(p, s, s.trial, False, s.gram_trial)
    return 0


@apart
def gram_of_one(p: Problem, s: State, q_: Pointer, gram_: Pointer) -> int:
    """Gram matrix of one pixel at a point; see `gram_of`."""
    q, gram = numbers_at(q_, s.parameters), numbers_at(gram_, at(s.count + 1, 0))
    careful = s.flags[CAREFUL] != 0
    for _ in range(2):
        gram_at(p, s, q, careful, gram)
        loss = gram[at(s.count, s.count)]
        known = True
        for j in range(s.count):
            known = known and math.isfinite(gram[at(j, j)]) and math.isfinite(gram[at(s.count, j)])
        s.flags[UNKNOWN] = 1 if math.isfinite(loss) and not known else 0
        if careful or s.flags[UNKNOWN] == 0:
            break
        careful = True
        s.flags[CAREFUL] = 1
    return 0


@inner
def gram_of(p: Problem, s: State, q: np.ndarray, gram: np.ndarray) -> float:
    """Gram matrix of one pixel at ``q``; return the loss.

    Derivatives are looked at where their Gram matrix is not finite although the loss is, and replaced;
    ``s.flags[UNKNOWN]`` says whether some could not be.
    """
    gram_of_one(p, s, address_of(q), address_of(gram))
    return get(gram, at(s.count, s.count))


@apart
def jacobian_of(p: Problem, s: State, curve: int) -> int:
    """Fill ``s.jacobian``, or ``s.curve``, with the weighed derivatives of one pixel at its current point and, after
    them, with minus the deviations.
    """
    jacobian = s.jacobian if curve == 0 else s.curve
    _differentiate_ties(p, s, s.q, True)
    for start in range(0, s.length, s.tile_channels):
        n = min(s.tile_channels, s.length - start)
        deviation_tile(p, s, s.q, s.count, start, n, True)
        for j in range(s.count):
            for i in range(n):
                jacobian[j, start + i] = s.tile[s.rows[j] * PITCH + i]
        for i in range(n):
            jacobian[s.count, start + i] = -s.tile[s.parameters * PITCH + i]
    return 0


@apart
def deviations_of_trial(p: Problem, s: State, out_: Pointer) -> int:
    """Deviations of one pixel at its trial point."""
    out = numbers_at(out_, s.length)
    for start in range(0, s.length, s.tile_channels):
        n = min(s.tile_channels, s.length - start)
        deviation_tile(p, s, s.trial, 0, start, n, False)
        for i in range(n):
            out[start + i] = s.tile[s.parameters * PITCH + i]
    return 0
