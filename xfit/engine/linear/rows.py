"""Packed rows of linear fits: values, errors and bias of all parameters from the solutions for the
free ones, eight side by side.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xfit.engine.evaluation.loss_functions import LEAST_SQUARES
from xfit.engine.linear.solve import Problems
from xfit.engine.math.jit import inner
from xfit.engine.math.layout import LANES
from xfit.engine.math.records import Integers, Reals, Record, Vectors
from xfit.engine.math.vector import negation, reals, select
from xfit.engine.math.widths import get, put
from xfit.engine.pixel.likelihood import write_goodness
from xfit.engine.pixel.packed_row import at_bound_at, further_at, stderr_at
from xfit.engine.pixel.rows import Limits
from xfit.engine.pixel.scalars import AIC, DOF, EVALUATIONS, RED_CHISQ, STATUS
from xfit.engine.pixel.status import CONVERGED


class Affine(Record):
    """All parameters as linear functions of the free ones, row by row.

    Attributes
    ----------
    offset : float64 (n_parameters,)
        Their values where all free ones are zero; NaN for those of components that are switched off.
    first : int64 (n_parameters + 1,)
        Where the entries of each parameter begin and end.
    column, slope : int64 (any,), float64 (any,)
        Which free parameter (counted among these) enters, and its factor.
    """

    offset: Reals
    first: Integers
    column: Integers
    slope: Reals


class Rows(Record, wide=True):
    """Eight packed rows; vectors.

    Attributes
    ----------
    packed : float64 (n_columns * LANES,)
        The rows, but for the scalars.
    spread, mapped : float64 (n_parameters * k * LANES,)
        Rows of the root of the covariance of all parameters; the same times the middle where there is a penalty.
    """

    packed: Vectors
    spread: Vectors
    mapped: Vectors


def rows_of(n: int, k: int, n_columns: int) -> Rows:
    """Allocate eight rows of ``n`` parameters of which ``k`` are free."""
    # What no free parameter enters has no error.
    return Rows(*(np.full(number * LANES, np.nan) for number in (n_columns, n * k, n * k)))


@inner
def fill_values(affine: Affine, free: np.ndarray, p: Problems, rows: Rows) -> None:
    """Fill in the values of all parameters and which are at a bound."""
    n = affine.offset.size
    for a in range(n):
        total = reals(affine.offset[a])
        for e in range(affine.first[a], affine.first[a + 1]):
            total += affine.slope[e] * get(p.solution, affine.column[e])
        put(rows.packed, a, total)
        put(rows.packed, at_bound_at(n) + a, reals(0.0))
    for j in range(free.size):
        value = get(p.solution, j)
        put(rows.packed, free[j], value)
        low, high = value <= get(p.lower, j), value >= get(p.upper, j)
        put(rows.packed, at_bound_at(n) + free[j], select(low, -1.0, select(high, 1.0, 0.0)))


@inner
def _fill_spread(affine: Affine, count: int, p: Problems, rows: Rows) -> None:
    """Fill ``rows.spread``; NaN where a parameter depends on nothing that has an error."""
    for a in range(affine.offset.size):
        if affine.first[a] == affine.first[a + 1]:
            continue
        known = reals(0.0) != 0.0
        for k in range(count):
            put(rows.spread, a * count + k, reals(0.0))
        for e in range(affine.first[a], affine.first[a + 1]):
            j = affine.column[e]
            known = known | negation(get(p.scale, j) == 0.0)
            for k in range(count):
                place = a * count + k
                put(rows.spread, place, get(rows.spread, place) + affine.slope[e] * get(p.root, j * count + k))
        for k in range(count):
            put(rows.spread, a * count + k, select(known, get(rows.spread, a * count + k), math.nan))


@inner
def _fill_mapped(n: int, count: int, p: Problems, rows: Rows) -> None:
    """Fill ``rows.mapped`` where there is a penalty."""
    for a in range(n):
        for k in range(count):
            total = reals(0.0)
            for m in range(count):
                total += get(p.middle, k * count + m) * get(rows.spread, a * count + m)
            put(rows.mapped, a * count + k, total)


@inner
def _covariance(a: int, b: int, count: int, other: np.ndarray, rows: Rows) -> Any:
    """Covariance of two parameters, for data of unit variance."""
    total = reals(0.0)
    for k in range(count):
        total += get(rows.spread, a * count + k) * get(other, b * count + k)
    return total


@inner
def fill_errors(affine: Affine, scale: Any, pairs: np.ndarray, limits: Limits, p: Problems, rows: Rows) -> None:
    """Fill in errors and covariances of all parameters, and the bias of a penalty.

    Parameters
    ----------
    scale : vector
        What covariances for data of unit variance are multiplied by.
    """
    n, count = affine.offset.size, p.all_.size
    _fill_spread(affine, count, p, rows)
    penalised = limits.alpha > 0.0
    if penalised:
        _fill_mapped(n, count, p, rows)
    other = rows.mapped if penalised else rows.spread
    for a in range(n):
        if affine.first[a] < affine.first[a + 1]:
            put(rows.packed, stderr_at(n) + a, math.sqrt(_covariance(a, a, count, other, rows) * scale))
    at = further_at(n)
    for pair in range(pairs.shape[0]):
        put(rows.packed, at + pair, _covariance(pairs[pair, 0], pairs[pair, 1], count, other, rows) * scale)
    at += pairs.shape[0]
    if limits.covariance:
        for a in range(n):
            for b in range(n):
                put(rows.packed, at + a * n + b, _covariance(a, b, count, other, rows) * scale)
        at += n * n
    if penalised:
        for a in range(n):
            total = reals(0.0)
            for e in range(affine.first[a], affine.first[a + 1]):
                total += affine.slope[e] * get(p.bias, affine.column[e])
            put(rows.packed, at + a, total)


@inner
def write_scalars(chisq: float, used: int, logs: float, count: int, limits: Limits, scalars: np.ndarray) -> float:
    """Write a pixel's scalars; return what its covariance is multiplied by."""
    scalars[DOF] = used - count
    scalars[EVALUATIONS] = 1.0
    scalars[STATUS] = CONVERGED
    scalars[AIC] = logs
    write_goodness(chisq, chisq, used, count, LEAST_SQUARES, limits.scale_covariance, scalars)
    return scalars[RED_CHISQ] if limits.scale_covariance else 1.0
