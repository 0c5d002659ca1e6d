"""Steps along narrow curved valleys: bent by half their geodesic acceleration (Transtrum and Sethna, arXiv:1201.5885)."""

from __future__ import annotations

import numpy as np

from xfit.engine.math.jit import inner
from xfit.engine.math.layout import TILE
from xfit.engine.pixel.evaluate import Spectrum, Structure, deviation_tile
from xfit.engine.pixel.steps import RANK, scale_of, solve_cholesky, solve_triangular
from xfit.engine.pixel.tie_machine import Ties, apply_ties
from xfit.engine.pixel.workspace import Workspace, jacobian_of, length_of

#: Fraction of a step at which the curvature along it is measured.
_PROBE = 0.1


@inner
def bend_step(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    count: int,
    damping: float,
    by_qr: bool,
    ws: Workspace,
) -> None:
    """Add half the geodesic acceleration to the step, where it is small against the step itself.

    With ``v`` the step and ``r'' `` the second derivative of the residual along it, by differences, the
    acceleration solves the damped normal equations with ``-J'r''`` on the right.
    """
    n = spectrum.y.size
    jacobian_of(structure, ties, x, spectrum, count, ws, ws.curve)
    for k in range(ws.q.size):
        ws.trial[k] = ws.q[k]
    for j in range(count):
        ws.trial[ws.rows[j]] = ws.theta[j] + _PROBE * ws.step[j]
    apply_ties(ties, ws.trial, ws.stack)
    residual = ws.curve[count]
    for i in range(n):
        residual[i] /= -_PROBE
    for j in range(count):
        row = ws.curve[j]
        for i in range(n):
            residual[i] += row[i] * ws.step[j]
    for first in range(0, n, TILE):
        size = min(TILE, n - first)
        deviation_tile(
            structure, ties, x, spectrum, ws.trial, ws.rows, 0, ws.derivative, first, size, False, ws.spare, ws.tile
        )  # fmt: skip
        for i in range(size):
            residual[first + i] -= ws.tile[ws.q.size, i] / _PROBE
    for j in range(count):
        total = 0.0
        row = ws.curve[j]
        for i in range(n):
            total += row[i] * residual[i]
        ws.bend[j] = 2 / _PROBE * total
        # The solvers read the right-hand side from where the gradient is: lend them that place.
        ws.bend[j], ws.gram[count, j] = ws.gram[count, j], ws.bend[j]
    length = length_of(count, ws.step, ws)
    for j in range(count):
        ws.trial[j] = ws.step[j]
        ws.step[j] = 0.0
    if by_qr:
        solved = _solve_for_gradient(count, damping, ws)
    else:
        solved = (
            solve_cholesky(ws.gram, count, ws.norm, damping, ws.weight, ws.state, ws.chosen, ws.work, ws.step) > 0.0
        )
    usable = solved and length_of(count, ws.step, ws) <= 0.75 * length
    for j in range(count):
        ws.gram[count, j] = ws.bend[j]
        ws.step[j] = ws.trial[j] + (0.5 * ws.step[j] if usable else 0.0)


@inner
def _solve_for_gradient(count: int, damping: float, ws: Workspace) -> bool:
    """Solve with the triangular factor for the right-hand side ``J'b`` that stands in the Gram matrix."""
    factor = ws.jacobian
    for i in range(count):
        factor[count, i], ws.norm[i] = ws.norm[i], factor[count, i]
    # ws.norm keeps Q'r meanwhile; R'c = J'b gives the new right-hand side.
    for i in range(count):
        total = ws.gram[count, i]
        for j in range(i):
            total -= factor[i, j] * factor[count, j]
        factor[count, i] = total / factor[i, i] if factor[i, i] != 0.0 else 0.0
    solved = solve_triangular(factor, count, damping, ws.weight, ws.state, ws.work, ws.step) > RANK
    for i in range(count):
        factor[count, i] = ws.norm[i]
    scale_of(ws.gram, count, ws.norm)
    return solved
