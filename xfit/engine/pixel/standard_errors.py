"""Errors of a pixel that converged, for every kind of loss, and its covariances."""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.evaluation.evaluate import gram_of
from xfit.engine.evaluation.loss_functions import (
    CUSTOM,
    GRADIENTS,
    LEAST_SQUARES,
    POISSON,
    SLOPES,
    SLOPES_SQUARED,
    SUMS,
)
from xfit.engine.evaluation.rare import tie_derivatives
from xfit.engine.evaluation.state import AT_LOWER, AT_UPPER, FREE, Outcome, Problem, State
from xfit.engine.lm.qr import factorise_jacobian
from xfit.engine.lm.steps import factorise, rescale, substitute
from xfit.engine.math.cholesky import at
from xfit.engine.math.elementary import square
from xfit.engine.math.jit import inner
from xfit.engine.math.widths import address_of
from xfit.engine.pixel.covariance import covariance_root, fill_sandwich
from xfit.engine.pixel.packed_row import further_at, scalars_at, stderr_at
from xfit.engine.pixel.rows import Limits
from xfit.engine.pixel.scalars import DOF, RED_CHISQ


@inner
def _add_penalty(s: State, alpha: float) -> None:
    """Add a penalty to the Gram matrix, keeping what it was in ``s.gram_trial``."""
    for k in range(at(s.count, 0)):
        s.gram_trial[k] = s.gram[k]
    for i in range(s.count):
        s.gram[at(i, i)] += alpha
    rescale(s, True, False)


@inner
def solve_held(s: State, gram: np.ndarray) -> bool:
    """Solve for what is free with the last row of a Gram matrix on the right, into ``s.step``; whether the
    parameters can be told apart.
    """
    for j in range(s.count):
        s.scale[j] = 1.0 / math.sqrt(gram[at(j, j)]) if s.side[j] == FREE else 0.0
        s.solution[j] = 0.0
    solved = factorise(s, gram, s.all_, 0.0)
    substitute(s, gram, s.all_)
    for j in range(s.count):
        s.step[j] = s.solution[j] * s.scale[j]
    return solved


@inner
def _write_bias(p: Problem, s: State, alpha: float, out: np.ndarray) -> None:
    """Write how far the solution is from the one without the penalty, which has no bias: ``-alpha inv(J'J) p``."""
    n, ties = s.parameters, p.ties
    begin = out.size - n
    for a in range(n):
        out[begin + a] = 0.0
    for j in range(s.count):
        s.gram_trial[at(s.count, j)] = -alpha * s.q[s.rows[j]]
    solved = solve_held(s, s.gram_trial)
    for j in range(s.count):
        out[begin + s.rows[j]] = s.step[j] if solved else math.nan
    # As in `covariance_root`, what is followed first.
    for d in range(ties.row.size - 1, -1, -1):
        out[begin + ties.tied[ties.row[d]]] += s.derivative[d] * out[begin + ties.column[d]]


@inner
def _write_errors(
    p: Problem, s: State, by_qr: bool, scale: float, pairs: np.ndarray, limits: Limits, out: np.ndarray
) -> None:
    """Write standard errors and covariances of a converged pixel."""
    n, spread = s.parameters, s.spread
    if limits.alpha > 0.0:
        _add_penalty(s, limits.alpha)
    if p.ties.row.size > 0:
        tie_derivatives(p, s, address_of(s.q), 0, address_of(s.derivative))
    used = covariance_root(p, s, by_qr)
    if used < 0 and not by_qr:
        factorise_jacobian(p, s)
        used = covariance_root(p, s, True)
    if used <= 0:
        return
    if p.loss.kind == CUSTOM:
        s.squares = True
        gram_of(p, s, s.q, s.gram_trial)
        s.squares = False
        fill_sandwich(s, s.gram_trial, used)
    if limits.alpha > 0.0:
        _write_bias(p, s, limits.alpha, out)
        fill_sandwich(s, s.gram_trial, used)
    for a in range(n):
        total = 0.0
        for k in range(used):
            total += square(spread[a, k])
        out[stderr_at(n) + a] = math.sqrt(total * scale)
    place = further_at(n)
    for pair in range(pairs.shape[0]):
        out[place + pair] = _product(spread, pairs[pair, 0], pairs[pair, 1], used) * scale
    place += pairs.shape[0]
    if limits.covariance:
        for a in range(n):
            for b in range(n):
                out[place + a * n + b] = _product(spread, a, b, used) * scale


@inner
def _product(spread: np.ndarray, a: int, b: int, used: int) -> float:
    """Dot product of two rows."""
    total = 0.0
    for k in range(used):
        total += spread[a, k] * spread[b, k]
    return total


@inner
def _hold_for_errors(s: State) -> None:
    """State of each parameter for the covariance: what lies on a bound has no error, everything else has."""
    for j in range(s.count):
        value = s.q[s.rows[j]]
        if value <= s.lower[j]:
            s.side[j] = AT_LOWER
        elif value >= s.upper[j]:
            s.side[j] = AT_UPPER
        else:
            s.side[j] = FREE


@inner
def finish(p: Problem, s: State, outcome: Outcome, pairs: np.ndarray, limits: Limits, out: np.ndarray) -> None:
    """Write the errors of a pixel that converged, whose row is written otherwise.

    For likelihoods and least squares they are from the inverse of Fisher's information. Those of robust losses are
    Huber's (Robust Statistics, Wiley 1981, section 7.6, doi:10.1002/0471725250): the sandwich of an estimate whose
    deviations have one distribution in all channels, so that few channels far out decide as little on the errors as on
    the values. Those of a custom loss are the sandwich as it stands, with a factor for the parameters that were fitted.
    """
    _hold_for_errors(s)
    scalars = out[scalars_at(s.parameters) :]
    kind, by_qr = p.loss.kind, outcome.by_qr
    scale = scalars[RED_CHISQ] if limits.scale_covariance else 1.0
    dof = scalars[DOF]
    if kind == CUSTOM:
        scale = s.used / dof if dof > 0 else math.nan
    elif kind != LEAST_SQUARES and kind != POISSON:
        scale = _huber_scale(s.work[SUMS], s.used, s.count)
        s.kind = LEAST_SQUARES
        gram_of(p, s, s.q, s.gram)
        rescale(s, True, False)
        by_qr = False
    _write_errors(p, s, by_qr, scale, pairs, limits, out)
    s.kind = kind


@inner
def _huber_scale(sums: np.ndarray, used: int, count: int) -> float:
    """Variance of the deviations as a robust loss sees it, with Huber's correction for the
    parameters that were fitted.
    """
    mean = sums[SLOPES] / used
    if used <= count or not mean > 0.0:
        return math.nan
    spread = max(sums[SLOPES_SQUARED] / used - mean * mean, 0.0)
    factor = 1.0 + count / used * spread / (mean * mean)
    return factor * factor * sums[GRADIENTS] / (used - count) / (mean * mean)
