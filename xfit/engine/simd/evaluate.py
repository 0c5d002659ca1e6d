"""Model, Jacobian and Gram matrix of eight pixels side by side, a tile of channels at a time.

Arrays here are flat; their unit is a vector that holds a number of each of the eight pixels (`xfit.engine.math.vector`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from xfit.engine.math.call import call_kernel
from xfit.engine.math.jit import inlined_sums
from xfit.engine.math.layout import LANE_PITCH, LANE_TILE, LANES
from xfit.engine.math.vector import load, reals, select, store
from xfit.engine.pixel.evaluate import Structure
from xfit.engine.pixel.loss_functions import POISSON, CompiledLoss, poisson
from xfit.engine.pixel.tie_machine import Ties, tie_derivatives


class Spectra(NamedTuple):
    """Data of the eight pixels.

    Attributes
    ----------
    y, m : float64 (n_channels * LANES,)
        As in `xfit.engine.pixel.evaluate.Spectrum`.
    channels : int
        Number of channels.
    plain : bool
        Whether ``m`` is one in every channel in use.
    loss : CompiledLoss
        Least squares, or that of counts.
    smallest : float64 (LANES,)
        See `xfit.engine.pixel.loss_functions.Deviations`.
    total : float64 (LANES,)
        Scratch: the loss, where it is not the sum of the squares.
    """

    y: np.ndarray
    m: np.ndarray
    channels: int
    plain: bool
    loss: CompiledLoss
    smallest: np.ndarray
    total: np.ndarray


def vectors(count: int) -> np.ndarray:
    """Allocate vectors, each in a cache line."""
    raw = np.zeros(count * LANES + 8)
    skip = (-(raw.ctypes.data // 8)) % 8
    return raw[skip : skip + count * LANES]


def triangle(count: int) -> int:
    """Return the number of elements of a lower triangle with so many rows; for Python."""
    return count * (count + 1) // 2


@inlined_sums
def at(i: int, j: int) -> int:
    """Where the lower triangle of a matrix has its row i, column j."""
    return i * (i + 1) // 2 + j


@inlined_sums
def _fill(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    q: np.ndarray,
    parameters: int,
    derivative: np.ndarray,
    scratch: np.ndarray,
    start: int,
    size: int,
    tile: np.ndarray,
) -> None:
    """Fill the Jacobian rows of a tile and add the model to the row after the last parameter."""
    for row in structure.idle:
        for i in range(size):
            store(tile, row * LANE_PITCH + i, reals(0.0))
    for k in range(structure.address.size):
        call_kernel(
            structure.address[k],
            x,
            structure.xrow[k] * x.shape[1] + start,
            x.shape[1],
            q,
            structure.first[k] * LANES,
            tile,
            parameters * LANE_PITCH * LANES,
            tile,
            structure.first[k] * LANE_PITCH * LANES,
            size,
            scratch,
        )
    for d in range(ties.row.size):
        slope = load(derivative, d)
        target = ties.column[d] * LANE_PITCH
        source = ties.tied[ties.row[d]] * LANE_PITCH
        for i in range(size):
            store(tile, target + i, load(tile, target + i) + slope * load(tile, source + i))


@inlined_sums
def _deviate(
    spectra: Spectra, rows: np.ndarray, count: int, residual: int, start: int, size: int, whole: bool, tile: np.ndarray
) -> None:
    """Weigh a filled tile and take the data away; channels that are left out become zero, whatever the model is there."""
    y, m = spectra.y, spectra.m
    if spectra.loss.kind == POISSON:
        _deviate_counts(spectra, rows, count, residual, start, size, tile)
        return
    if spectra.plain and whole:
        return
    if spectra.plain:
        for i in range(size):
            used = load(m, start + i) != 0.0
            store(tile, residual + i, select(used, load(tile, residual + i), 0.0))
    else:
        for i in range(size):
            factor = load(m, start + i)
            deviation = factor * load(tile, residual + i) - load(y, start + i)
            store(tile, residual + i, select(factor != 0.0, deviation, 0.0))
    for j in range(count):
        row = rows[j] * LANE_PITCH
        for i in range(size):
            factor = load(m, start + i)
            store(tile, row + i, select(factor != 0.0, factor * load(tile, row + i), 0.0))


@inlined_sums
def _deviate_counts(
    spectra: Spectra, rows: np.ndarray, count: int, residual: int, start: int, size: int, tile: np.ndarray
) -> None:
    """Turn a filled tile into the least-squares problem that the loss of counts is near the model; add up the loss."""
    loss = spectra.loss
    part = 1.0 / loss.dispersion
    scale = math.sqrt(part)
    smallest = load(spectra.smallest, 0)
    total = load(spectra.total, 0)
    for i in range(size):
        factor = load(spectra.m, start + i)
        used = factor != 0.0
        mean = select(used, factor * load(tile, residual + i) + loss.shift, 1.0)
        value, deviation, root = poisson(load(spectra.y, start + i), mean, smallest)
        total += select(used, value * part, 0.0)
        store(tile, residual + i, select(used, deviation * scale, 0.0))
        weight = factor * root * scale
        for j in range(count):
            row = rows[j] * LANE_PITCH + i
            store(tile, row, select(used, weight * load(tile, row), 0.0))
    store(spectra.total, 0, total)


@inlined_sums
def _add(gram: np.ndarray, place: int, value: float) -> None:
    """Add to an element."""
    store(gram, place, load(gram, place) + value)


@inlined_sums
def _add_block(tile: np.ndarray, rows: np.ndarray, i: int, j: int, count: int, size: int, gram: np.ndarray) -> None:
    """Add the dot products of three rows with three rows."""
    a, b, c = rows[i] * LANE_PITCH, rows[i + 1] * LANE_PITCH, rows[i + 2] * LANE_PITCH
    u, v, w = rows[j] * LANE_PITCH, rows[j + 1] * LANE_PITCH, rows[j + 2] * LANE_PITCH
    au = av = aw = bu = bv = bw = cu = cv = cw = reals(0.0)
    for k in range(size):
        ak, bk, ck = load(tile, a + k), load(tile, b + k), load(tile, c + k)
        uk, vk, wk = load(tile, u + k), load(tile, v + k), load(tile, w + k)
        au += ak * uk
        av += ak * vk
        aw += ak * wk
        bu += bk * uk
        bv += bk * vk
        bw += bk * wk
        cu += ck * uk
        cv += ck * vk
        cw += ck * wk
    _add(gram, at(i, j), au)
    _add(gram, at(i, j + 1), av)
    _add(gram, at(i, j + 2), aw)
    if i + 1 < count:
        _add(gram, at(i + 1, j), bu)
        _add(gram, at(i + 1, j + 1), bv)
        _add(gram, at(i + 1, j + 2), bw)
    if i + 2 < count:
        _add(gram, at(i + 2, j), cu)
        _add(gram, at(i + 2, j + 1), cv)
        _add(gram, at(i + 2, j + 2), cw)


@inlined_sums
def _add_triangle(tile: np.ndarray, rows: np.ndarray, i: int, count: int, size: int, gram: np.ndarray) -> None:
    """Add the dot products among three rows."""
    a, b, c = rows[i] * LANE_PITCH, rows[i + 1] * LANE_PITCH, rows[i + 2] * LANE_PITCH
    aa = ab = ac = bb = bc = cc = reals(0.0)
    for k in range(size):
        ak, bk, ck = load(tile, a + k), load(tile, b + k), load(tile, c + k)
        aa += ak * ak
        ab += ak * bk
        ac += ak * ck
        bb += bk * bk
        bc += bk * ck
        cc += ck * ck
    _add(gram, at(i, i), aa)
    if i + 1 < count:
        _add(gram, at(i + 1, i), ab)
        _add(gram, at(i + 1, i + 1), bb)
    if i + 2 < count:
        _add(gram, at(i + 2, i), ac)
        _add(gram, at(i + 2, i + 1), bc)
        _add(gram, at(i + 2, i + 2), cc)


@inlined_sums
def gram_of_lanes(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectra: Spectra,
    whole: bool,
    q: np.ndarray,
    rows: np.ndarray,
    count: int,
    derivative: np.ndarray,
    scratch: np.ndarray,
    tile: np.ndarray,
    gram: np.ndarray,
) -> None:
    """Evaluate the model at ``q`` and form the Gram matrix of the free Jacobian rows and the residual.

    Parameters
    ----------
    structure : Structure
        With the addresses of kernels of vectors.
    whole : bool
        Whether no channel of any of the pixels is left out.
    q : float64 (n_parameters * LANES,)
        Values of all parameters, tied ones included.
    rows : int64 (count + 3,)
        Positions of the free parameters, then that of the residual row, repeated.
    gram : float64 (triangle of count + 1, times LANES)
        Filled with ``J'J``, then ``J'r`` and ``r'r`` in the last row; see `at`.
    """
    parameters = rows[count]
    residual = parameters * LANE_PITCH
    squared = spectra.loss.kind != POISSON
    for k in range(at(count + 1, 0)):
        store(gram, k, reals(0.0))
    store(spectra.total, 0, reals(0.0))
    for start in range(0, spectra.channels, LANE_TILE):
        size = min(LANE_TILE, spectra.channels - start)
        for i in range(size):
            store(tile, residual + i, -load(spectra.y, start + i) if spectra.plain and squared else reals(0.0))
        _fill(structure, ties, x, q, parameters, derivative, scratch, start, size, tile)
        _deviate(spectra, rows, count, residual, start, size, whole, tile)
        for i in range(0, count + 1, 3):
            for j in range(0, i, 3):
                _add_block(tile, rows, i, j, count + 1, size, gram)
            _add_triangle(tile, rows, i, count + 1, size, gram)
    for j in range(count):
        store(gram, at(count, j), -load(gram, at(count, j)))
    if not squared:
        store(gram, at(count, count), load(spectra.total, 0))


@inlined_sums
def derivatives_of_lanes(
    ties: Ties, q: np.ndarray, parameters: int, one: np.ndarray, slopes: np.ndarray, stack: np.ndarray, out: np.ndarray
) -> None:
    """Fill ``out`` with the derivatives of the ties at the eight points ``q``; ``one`` and ``slopes`` are scratch."""
    if ties.row.size == 0:
        return
    for lane in range(LANES):
        for k in range(parameters):
            one[k] = q[k * LANES + lane]
        tie_derivatives(ties, one, slopes, stack)
        for d in range(ties.row.size):
            out[d * LANES + lane] = slopes[d]
