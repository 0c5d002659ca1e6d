"""Packed rows of linear fits: values, errors and bias of all parameters from the solutions for the free ones, eight side by side."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from xfit.engine.linear.solve import Problems
from xfit.engine.math.jit import inner, inner_sums
from xfit.engine.math.vector import load, negation, reals, select, store
from xfit.engine.pixel.rows import (
    AIC,
    CHISQ,
    DOF,
    EVALUATIONS,
    LOSS_VALUE,
    RED_CHISQ,
    SCALARS,
    STATUS,
    Limits,
    write_criteria,
)
from xfit.engine.pixel.status import CONVERGED
from xfit.engine.simd.evaluate import vectors

SCALAR_COUNT = len(SCALARS)


class Affine(NamedTuple):
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

    offset: np.ndarray
    first: np.ndarray
    column: np.ndarray
    slope: np.ndarray


class Rows(NamedTuple):
    """Eight packed rows; vectors.

    Attributes
    ----------
    packed : float64 (n_columns * LANES,)
        The rows, but for the scalars.
    spread, mapped : float64 (n_parameters * k * LANES,)
        Rows of the root of the covariance of all parameters; the same times the middle where there is a penalty.
    """

    packed: np.ndarray
    spread: np.ndarray
    mapped: np.ndarray


def rows_of(n: int, k: int, n_columns: int) -> Rows:
    """Allocate eight rows of ``n`` parameters of which ``k`` are free."""
    rows = Rows(vectors(n_columns), vectors(n * k), vectors(n * k))
    # What no free parameter enters has no error.
    for array in rows:
        array[:] = np.nan
    return rows


@inner_sums
def fill_values(affine: Affine, free: np.ndarray, p: Problems, rows: Rows) -> None:
    """Fill in the values of all parameters and which are at a bound."""
    n = affine.offset.size
    for a in range(n):
        total = reals(affine.offset[a])
        for e in range(affine.first[a], affine.first[a + 1]):
            total += affine.slope[e] * load(p.solution, affine.column[e])
        store(rows.packed, a, total)
        store(rows.packed, 2 * n + a, reals(0.0))
    for j in range(free.size):
        value = load(p.solution, j)
        store(rows.packed, free[j], value)
        low, high = value <= load(p.lower, j), value >= load(p.upper, j)
        store(rows.packed, 2 * n + free[j], select(low, -1.0, select(high, 1.0, 0.0)))


@inner_sums
def _fill_spread(affine: Affine, count: int, p: Problems, rows: Rows) -> None:
    """Fill ``rows.spread``; NaN where a parameter depends on nothing that has an error."""
    for a in range(affine.offset.size):
        if affine.first[a] == affine.first[a + 1]:
            continue
        known = reals(0.0) != 0.0
        for k in range(count):
            store(rows.spread, a * count + k, reals(0.0))
        for e in range(affine.first[a], affine.first[a + 1]):
            j = affine.column[e]
            known = known | negation(load(p.scale, j) == 0.0)
            for k in range(count):
                place = a * count + k
                store(rows.spread, place, load(rows.spread, place) + affine.slope[e] * load(p.root, j * count + k))
        for k in range(count):
            store(rows.spread, a * count + k, select(known, load(rows.spread, a * count + k), math.nan))


@inner_sums
def _fill_mapped(n: int, count: int, p: Problems, rows: Rows) -> None:
    """Fill ``rows.mapped`` where there is a penalty."""
    for a in range(n):
        for k in range(count):
            total = reals(0.0)
            for m in range(count):
                total += load(p.middle, k * count + m) * load(rows.spread, a * count + m)
            store(rows.mapped, a * count + k, total)


@inner_sums
def _covariance(a: int, b: int, count: int, other: np.ndarray, rows: Rows) -> Any:
    """Covariance of two parameters, for data of unit variance."""
    total = reals(0.0)
    for k in range(count):
        total += load(rows.spread, a * count + k) * load(other, b * count + k)
    return total


@inner_sums
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
            store(rows.packed, n + a, math.sqrt(_covariance(a, a, count, other, rows) * scale))
    at = 3 * n + SCALAR_COUNT
    for pair in range(pairs.shape[0]):
        store(rows.packed, at + pair, _covariance(pairs[pair, 0], pairs[pair, 1], count, other, rows) * scale)
    at += pairs.shape[0]
    if limits.covariance:
        for a in range(n):
            for b in range(n):
                store(rows.packed, at + a * n + b, _covariance(a, b, count, other, rows) * scale)
        at += n * n
    if penalised:
        for a in range(n):
            total = reals(0.0)
            for e in range(affine.first[a], affine.first[a + 1]):
                total += affine.slope[e] * load(p.bias, affine.column[e])
            store(rows.packed, at + a, total)


@inner
def write_scalars(chisq: float, used: int, logs: float, count: int, limits: Limits, scalars: np.ndarray) -> float:
    """Write a pixel's scalars; return what its covariance is multiplied by."""
    dof = used - count
    red = chisq / dof if dof > 0 else math.nan
    scalars[DOF] = dof
    scalars[EVALUATIONS] = 1.0
    scalars[STATUS] = CONVERGED
    scalars[CHISQ] = scalars[LOSS_VALUE] = chisq
    scalars[RED_CHISQ] = red
    scalars[AIC] = logs
    write_criteria(chisq, used, count, limits, scalars)
    return red if limits.scale_covariance else 1.0
