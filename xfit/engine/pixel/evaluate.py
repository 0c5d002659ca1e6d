"""One pixel's model, Jacobian and Gram matrix, a tile of channels at a time."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from xfit.engine.math.call import call_kernel
from xfit.engine.math.jit import entry, inlined, inner, sums
from xfit.engine.math.layout import PITCH, TILE
from xfit.engine.pixel.difference_quotients import replace_rows, replace_tie_derivatives
from xfit.engine.pixel.gram import add_gram
from xfit.engine.pixel.loss_functions import LEAST_SQUARES, LOSS, SUMMED, SUMS, Deviations, apply_loss
from xfit.engine.pixel.tie_machine import Ties, tie_derivatives
from xfit.engine.pixel.whole_axis import add_whole, fill_whole, set_response


class Structure(NamedTuple):
    """The active components of a model as arrays.

    Attributes
    ----------
    address : int64 (n_components,)
        Address of each component's tile kernel.
    first, number : int64 (n_components,)
        Position of each component's first parameter, and how many it has.
    xrow : int64 (n_components,)
        Row of the coordinate array where each component's coordinates begin.
    idle : int64 (n_idle,)
        Positions of parameters of inactive components, whose Jacobian rows are zero.
    scratch : int
        Numbers of scratch that the kernels need at most.
    plan, numbers : int64 (any,), float64 (any,)
        Further components, which need the whole axis at once; see `xfit.engine.pixel.whole_axis`. Empty if there are none.
    """

    address: np.ndarray
    first: np.ndarray
    number: np.ndarray
    xrow: np.ndarray
    idle: np.ndarray
    scratch: int
    plan: np.ndarray
    numbers: np.ndarray


class Spectrum(NamedTuple):
    """One pixel's data as the engine wants them.

    Attributes
    ----------
    y : float64 (n,)
        Data times ``m``, zero where a channel is left out.
    m : float64 (n,)
        Factor of the model: channel width (for binned data) over the standard deviation; zero where a
        channel is left out.
    plain : bool
        Whether every ``m`` is one, so that it needs no multiplication.
    used : int
        Number of channels that take part.
    channels : int
        Number of channels; ``n`` is that rounded up to whole vectors, the rest being left out.
    deviations : Deviations
        The loss. For those of counts and of users, ``y`` and ``m`` are not divided by standard deviations.
    """

    y: np.ndarray
    m: np.ndarray
    plain: bool
    used: int
    channels: int
    deviations: Deviations


@inner
def weigh(
    y: np.ndarray,
    variance: np.ndarray,
    where: np.ndarray,
    width: np.ndarray,
    weighted: np.ndarray,
    factor: np.ndarray,
) -> tuple[bool, int, bool]:
    """Weigh one pixel's data and leave out what is masked or not finite.

    Parameters
    ----------
    y : float64 (n,)
        Data.
    variance, width : float64 (n,) or (0,)
        Variance and channel widths; empty where there is none.
    where : bool (n,) or (0,)
        Channels to use; empty for all.
    weighted, factor : float64 (at least n,)
        Filled with `Spectrum.y` and `Spectrum.m`.

    Returns
    -------
    plain : bool
        See `Spectrum`.
    used : int
        Channels that take part.
    valid : bool
        False where a channel in use has a variance of zero or below.
    """
    plain = variance.size == 0 and width.size == 0 and where.size == 0
    used = 0
    invalid = 0
    # Only arithmetic and selects in these loops, so that they vectorise; x - x is zero for finite x alone.
    if plain:
        for i in range(y.size):
            finite = y[i] - y[i] == 0.0
            weighted[i] = y[i] if finite else 0.0
            factor[i] = 1.0 if finite else 0.0
            used += 1 if finite else 0
        return used == y.size, used, True
    for i in range(y.size):
        factor[i] = 1.0 if y[i] - y[i] == 0.0 else 0.0
    if where.size:
        for i in range(y.size):
            factor[i] = factor[i] if where[i] else 0.0
    if variance.size:
        for i in range(y.size):
            v = variance[i]
            invalid += 1 if v <= 0.0 and factor[i] > 0.0 else 0
            factor[i] = factor[i] / math.sqrt(v) if v - v == 0.0 and v > 0.0 else 0.0
    for i in range(y.size):
        keep = factor[i] > 0.0
        used += 1 if keep else 0
        weighted[i] = y[i] * factor[i] if keep else 0.0
    if width.size:
        for i in range(y.size):
            factor[i] *= width[i]
    return False, used, invalid == 0


@sums
def sum_of_squares(values: np.ndarray) -> float:
    """Sum of the squares of an array."""
    total = 0.0
    for i in range(values.size):
        total += values[i] * values[i]
    return total


def aligned_rows(count: int) -> np.ndarray:
    """Rows of a tile that begin at cache lines, so that no vector straddles two."""
    raw = np.empty(count * PITCH + 8)
    skip = (-(raw.ctypes.data // 8)) % 8
    return raw[skip : skip + count * PITCH].reshape(count, PITCH)


@inlined
def fill_tile(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    q: np.ndarray,
    derivative: np.ndarray,
    start: int,
    n: int,
    careful: bool,
    spare: np.ndarray,
    tile: np.ndarray,
) -> None:
    """Evaluate the Jacobian and add the model to the last row, on ``n`` channels from ``start``.

    Row ``k`` of ``tile`` becomes the derivative with respect to parameter ``k`` (chain rule of the ties
    included); the row after the last parameter must hold what it is added to, the one after that is scratch.
    Where ``careful``, derivatives that are not finite where the model is are replaced by difference quotients.
    """
    last = q.size
    for row in structure.idle:
        for i in range(n):
            tile[row, i] = 0.0
    for k in range(structure.address.size):
        call_kernel(
            structure.address[k],
            x,
            structure.xrow[k] * x.shape[1] + start,
            x.shape[1],
            q,
            structure.first[k],
            tile,
            last * PITCH,
            tile,
            structure.first[k] * PITCH,
            n,
            derivative,
        )
    if careful:
        _replace_derivatives(structure, x, q, derivative, start, n, spare, tile)
    if structure.plan.size > 0:
        if start == 0:
            fill_whole(structure.plan, structure.numbers, x, q)
        add_whole(structure.plan, structure.numbers, start, n, last, tile)
    for d in range(ties.row.size):
        slope = derivative[d]
        target = tile[ties.column[d]]
        source = tile[ties.tied[ties.row[d]]]
        for i in range(n):
            target[i] += slope * source[i]


@inner
def _replace_derivatives(
    structure: Structure,
    x: np.ndarray,
    q: np.ndarray,
    scratch: np.ndarray,
    start: int,
    n: int,
    spare: np.ndarray,
    tile: np.ndarray,
) -> None:
    """Replace derivatives that are not finite where the model is; see `xfit.engine.pixel.difference_quotients`."""
    flat = tile.reshape(tile.size)
    for k in range(structure.address.size):
        first = structure.first[k]
        replace_rows(
            structure.address[k], x, structure.xrow[k] * x.shape[1] + start, x.shape[1], q, first, structure.number[k],
            flat, first * PITCH, q.size * PITCH, n, spare, 0, scratch,
        )  # fmt: skip


@inlined
def deviation_tile(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    q: np.ndarray,
    rows: np.ndarray,
    count: int,
    derivative: np.ndarray,
    start: int,
    n: int,
    careful: bool,
    spare: np.ndarray,
    tile: np.ndarray,
) -> None:
    """Fill a tile with the weighed Jacobian rows in use and, in the row after the last parameter, the deviations.

    A channel that is left out has zeros everywhere, whatever the model is there (it may well be NaN).
    """
    f = tile[q.size]
    y, m = spectrum.y[start : start + n], spectrum.m[start : start + n]
    squared = spectrum.deviations.loss.kind == LEAST_SQUARES
    for i in range(n):
        f[i] = -y[i] if spectrum.plain and squared else 0.0
    fill_tile(structure, ties, x, q, derivative, start, n, careful, spare, tile)
    if spectrum.plain and squared:
        for i in range(spectrum.channels - start, n):
            f[i] = 0.0
            for j in range(count):
                tile[rows[j], i] = 0.0
        return
    factor = m
    if squared:
        for i in range(n):
            f[i] = m[i] * f[i] - y[i] if m[i] != 0.0 else 0.0
    else:
        factor = tile[q.size + 1][:n]
        apply_loss(spectrum.deviations, start, y, m, n, f, factor)
    for j in range(count):
        row = tile[rows[j]]
        for i in range(n):
            row[i] = factor[i] * row[i] if factor[i] != 0.0 else 0.0


@inlined
def gram_at(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    q: np.ndarray,
    rows: np.ndarray,
    count: int,
    derivative: np.ndarray,
    stack: np.ndarray,
    careful: bool,
    spare: np.ndarray,
    tile: np.ndarray,
    gram: np.ndarray,
) -> float:
    """Evaluate the model at ``q`` and form the Gram matrix of the free Jacobian rows and the residual.

    Parameters
    ----------
    rows : int64 (count + 3,)
        Positions of the free parameters, then that of the residual row, the rest repeats it.
    count : int
        Number of free parameters.
    careful : bool
        Whether to replace derivatives that are not finite where the model is.
    spare : float64 ((n_parameters + 3) * PITCH,)
        Scratch for that.
    gram : float64 (count + 1, count + 1)
        Lower triangle: ``J'J``, then ``J'r`` and ``r'r`` in the last row.

    Returns
    -------
    float
        The loss, which stands in the last row's last place; for least squares the sum of squared deviations.
    """
    for i in range(count + 1):
        for j in range(i + 1):
            gram[i, j] = 0.0
    squared = spectrum.deviations.loss.kind == LEAST_SQUARES
    if not squared:
        for k in range(SUMMED):
            spectrum.deviations.work[SUMS, k] = 0.0
    tie_derivatives(ties, q, derivative, stack)
    if careful:
        replace_tie_derivatives(ties, q, derivative, stack)
    for start in range(0, spectrum.y.size, TILE):
        n = min(TILE, spectrum.y.size - start)
        deviation_tile(structure, ties, x, spectrum, q, rows, count, derivative, start, n, careful, spare, tile)
        add_gram(tile, rows, count + 1, n, gram)
    for j in range(count):
        gram[count, j] = -gram[count, j]
    if not squared:
        gram[count, count] = spectrum.deviations.work[SUMS, LOSS]
    return gram[count, count]


@inner
def jacobian_at(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    q: np.ndarray,
    rows: np.ndarray,
    count: int,
    derivative: np.ndarray,
    stack: np.ndarray,
    spare: np.ndarray,
    tile: np.ndarray,
    jacobian: np.ndarray,
) -> None:
    """Fill ``jacobian`` (count + 1, at least n): the weighted free Jacobian rows and the residual, all channels."""
    tie_derivatives(ties, q, derivative, stack)
    replace_tie_derivatives(ties, q, derivative, stack)
    for start in range(0, spectrum.y.size, TILE):
        n = min(TILE, spectrum.y.size - start)
        deviation_tile(structure, ties, x, spectrum, q, rows, count, derivative, start, n, True, spare, tile)
        for j in range(count):
            for i in range(n):
                jacobian[j, start + i] = tile[rows[j], i]
        for i in range(n):
            jacobian[count, start + i] = -tile[q.size, i]


@entry
def evaluate_pixels(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    width: np.ndarray,
    response: np.ndarray,
    values: np.ndarray,
    pixels: np.ndarray,
    scratch: np.ndarray,
    tile: np.ndarray,
    out: np.ndarray,
) -> None:
    """Evaluate the sum of the active components for the listed pixels.

    Parameters
    ----------
    x : float64 (n_rows, n_channels)
        Coordinates of the components.
    width : float64 (n_channels,), or (0,) for data that are not binned
        Channel widths.
    response : float64 (n_pixels or 1, any)
        What the components that need it are convolved with.
    values : float64 (n_pixels, n_parameters)
        Values of all parameters, tied ones included.
    pixels : int64 (any,)
        Which pixels to evaluate.
    scratch : float64 (any,)
        For the kernels.
    tile : float64 (at least n_parameters + 1, PITCH)
        Scratch; see `aligned_rows`.
    out : float64 (n_pixels, n_channels)
        Written in place; left as it is where the response is not finite.
    """
    last = values.shape[1]
    for i in pixels:
        row = i if response.shape[0] > 1 else 0
        if structure.plan.size > 0 and not set_response(structure.plan, structure.numbers, response[row], row):
            continue
        for start in range(0, x.shape[1], TILE):
            n = min(TILE, x.shape[1] - start)
            for c in range(n):
                tile[last, c] = 0.0
            fill_tile(structure, ties, x, values[i], scratch, start, n, False, scratch, tile)
            for c in range(n):
                out[i, start + c] = tile[last, c] * (width[start + c] if width.size else 1.0)
