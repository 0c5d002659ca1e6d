"""Packed rows of linear fits: values, errors and bias of all parameters from the solution for the free ones."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from xfit.kernels.bounded import invert_norms, solve_free
from xfit.kernels.jit import inner
from xfit.kernels.pixel import (
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
from xfit.kernels.status import CONVERGED

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


class Small(NamedTuple):
    """Scratch for small matrices of k rows; ``free`` is the positions of the free parameters among all."""

    gram: np.ndarray
    matrix: np.ndarray
    work: np.ndarray
    root: np.ndarray
    half: np.ndarray
    right: np.ndarray
    now: np.ndarray
    inverse: np.ndarray
    solution: np.ndarray
    bias: np.ndarray
    held: np.ndarray
    one: np.ndarray
    other: np.ndarray
    free: np.ndarray


def small_of(free: np.ndarray) -> Small:
    """Allocate scratch for so many free parameters."""
    k = free.size
    gram, matrix, work, root, half = (np.zeros((k + 3, k + 3)) for _ in range(5))
    lines = np.zeros(k), np.zeros(k), np.zeros(k), np.zeros(k), np.zeros(k, bool), np.zeros(k), np.zeros(k), free
    return Small(gram, matrix, work, root, half, np.zeros(k + 3), *lines)


@inner
def root_of_inverse(count: int, s: Small) -> None:
    """Fill ``s.root`` with S such that ``S S'`` is the inverse of the free part of ``s.matrix``, whose factor is in ``s.work``."""
    for column in range(count):
        row = s.root[column]
        for i in range(count):
            row[i] = 0.0
        if s.held[column]:
            continue
        # Row ``column`` of the transposed inverse of the factor.
        row[column] = s.work[column, column] * s.inverse[column]
        for i in range(column + 1, count):
            if s.held[i]:
                continue
            total = 0.0
            for k in range(column, i):
                total -= s.work[i, k] * row[k]
            row[i] = total * s.work[i, i]


@inner
def penalise_root(alpha: float, count: int, s: Small) -> None:
    """Turn the root of ``inv(A)``, with the penalty in A, into that of ``inv(A) G inv(A)``; fill ``s.bias``.

    The bias is the distance from the solution without penalty, ``-alpha inv(G) p``: that solution has none, so that this is off by
    chance alone. NaN where there is no such solution.
    """
    for j in range(count):
        s.one[j] = -alpha * s.solution[j]
        s.now[j] = 0.0
    invert_norms(s.gram, count, s.other)
    if solve_free(s.gram, s.one, count, s.held, s.now, s.other, s.work, s.bias) <= 0.0:
        for j in range(count):
            s.bias[j] = math.nan
    # M = S' G S and its Cholesky factor, as for a sandwich.
    for k in range(count):
        for m in range(k + 1):
            total = 0.0
            for i in range(count):
                for j in range(count):
                    total += s.root[i, k] * s.gram[max(i, j), min(i, j)] * s.root[j, m]
            s.half[k, m] = total
    for k in range(count):
        for m in range(k + 1):
            total = s.half[k, m]
            for j in range(m):
                total -= s.half[k, j] * s.half[m, j]
            if m == k:
                s.half[k, k] = math.sqrt(max(total, 0.0))
            else:
                s.half[k, m] = total / s.half[m, m] if s.half[m, m] > 0.0 else 0.0
    for j in range(count):
        for m in range(count):
            total = 0.0
            for k in range(m, count):
                total += s.root[j, k] * s.half[k, m]
            s.root[j, m] = total


@inner
def _row_of_root(a: int, affine: Affine, count: int, s: Small, row: np.ndarray) -> bool:
    """Row of the root for any parameter; False where it depends on nothing that has an error."""
    known = False
    for k in range(count):
        row[k] = 0.0
    for e in range(affine.first[a], affine.first[a + 1]):
        j = affine.column[e]
        if s.held[j]:
            continue
        known = True
        for k in range(count):
            row[k] += affine.slope[e] * s.root[j, k]
    return known


@inner
def write_values(affine: Affine, lower: np.ndarray, upper: np.ndarray, s: Small, out: np.ndarray) -> None:
    """Write the values of all parameters and which are at a bound."""
    n = affine.offset.size
    for a in range(n):
        total = affine.offset[a]
        for e in range(affine.first[a], affine.first[a + 1]):
            total += affine.slope[e] * s.solution[affine.column[e]]
        out[a] = total
        out[2 * n + a] = 0.0
    for j in range(s.free.size):
        value = s.solution[j]
        out[s.free[j]] = value
        if value <= lower[j]:
            out[2 * n + s.free[j]] = -1.0
        elif value >= upper[j]:
            out[2 * n + s.free[j]] = 1.0


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


@inner
def write_covariance(
    affine: Affine, count: int, scale: float, pairs: np.ndarray, limits: Limits, s: Small, out: np.ndarray
) -> None:
    """Write errors and covariances of all parameters, and the bias of a penalty."""
    n = affine.offset.size
    at = 3 * n + SCALAR_COUNT
    for a in range(n):
        if affine.first[a] == affine.first[a + 1]:
            continue
        if _row_of_root(a, affine, count, s, s.one):
            total = 0.0
            for k in range(count):
                total += s.one[k] * s.one[k]
            out[n + a] = math.sqrt(total * scale)
    for pair in range(pairs.shape[0]):
        out[at + pair] = _covariance(pairs[pair, 0], pairs[pair, 1], affine, count, s) * scale
    at += pairs.shape[0]
    if limits.with_covariance:
        for a in range(n):
            for b in range(n):
                out[at + a * n + b] = _covariance(a, b, affine, count, s) * scale
    if limits.alpha > 0.0:
        for a in range(n):
            total = 0.0
            for e in range(affine.first[a], affine.first[a + 1]):
                total += affine.slope[e] * s.bias[affine.column[e]]
            out[out.size - n + a] = total


@inner
def _covariance(a: int, b: int, affine: Affine, count: int, s: Small) -> float:
    """Covariance of two parameters, for data of unit variance."""
    if not (_row_of_root(a, affine, count, s, s.one) and _row_of_root(b, affine, count, s, s.other)):
        return math.nan
    total = 0.0
    for k in range(count):
        total += s.one[k] * s.other[k]
    return total
