"""Steps of one pixel along narrow curved valleys: bent by half their geodesic acceleration (Transtrum
and Sethna, arXiv:1201.5885).
"""

from __future__ import annotations

from xfit.engine.evaluation.evaluate import deviations_of_trial, jacobian_of, tie_point
from xfit.engine.evaluation.state import DAMPING, Problem, State
from xfit.engine.lm.qr import RANK, solve_triangular
from xfit.engine.lm.steps import length_of, substitute
from xfit.engine.math.cholesky import at
from xfit.engine.math.jit import inner
from xfit.engine.math.widths import address_of

#: Fraction of a step at which the curvature along it is measured.
_PROBE = 0.1

#: Largest length of the acceleration over that of the step.
_LARGEST = 0.75


@inner
def _curvature(p: Problem, s: State) -> None:
    """Leave the Jacobian in ``s.curve`` and, after it, half the deviations' second derivative
    along the step times `_PROBE`.
    """
    jacobian_of(p, s, 1)
    for k in range(s.parameters):
        s.trial[k] = s.q[k]
    for j in range(s.count):
        s.trial[s.rows[j]] = s.q[s.rows[j]] + _PROBE * s.step[j]
    tie_point(p, s, s.trial)
    bending = s.curve[s.count]
    for i in range(s.length):
        bending[i] /= -_PROBE
    for j in range(s.count):
        row = s.curve[j]
        for i in range(s.length):
            bending[i] += row[i] * s.step[j]
    # Steps of least squares alone are bent, which have no weights of the channels.
    probed = s.weight_of_channels
    deviations_of_trial(p, s, address_of(probed))
    for i in range(s.length):
        bending[i] -= probed[i] / _PROBE


@inner
def bend_step(p: Problem, s: State) -> None:
    """Add half the geodesic acceleration to the step, where it is small against the step itself.

    With ``v`` the step and ``r'' `` the second derivative of the deviations along it, by differences, the acceleration
    solves the damped normal equations with ``-J'r''`` on the right.
    """
    _curvature(p, s)
    count = s.count
    for j in range(count):
        total = 0.0
        for i in range(s.length):
            total += s.curve[j, i] * s.curve[count, i]
        # The solvers read the right-hand side from where the gradient is: lend them that place.
        s.full_step[j], s.gram[at(count, j)] = s.gram[at(count, j)], 2 / _PROBE * total
    length = length_of(s, s.step)
    for j in range(count):
        s.taken[j] = s.step[j]
        s.step[j] = 0.0
        s.solution[j] = 0.0
    if s.by_qr:
        solved = _solve_for_gradient(s)
    else:
        # The factor at this damping is still there.
        substitute(s, s.gram, s.all_)
        solved = True
        for j in range(count):
            s.step[j] = s.solution[j] * s.scale[j]
    usable = solved and length_of(s, s.step) <= _LARGEST * length
    for j in range(count):
        s.gram[at(count, j)] = s.full_step[j]
        s.step[j] = s.taken[j] + (0.5 * s.step[j] if usable else 0.0)


@inner
def _solve_for_gradient(s: State) -> bool:
    """Solve with the triangular factor for the right-hand side ``J'b`` that stands in the Gram matrix."""
    factor, count = s.jacobian, s.count
    for i in range(count):
        factor[count, i], s.factor[i] = s.factor[i], factor[count, i]
    # s.factor keeps Q'r meanwhile; R'c = J'b gives the new right-hand side.
    for i in range(count):
        total = s.gram[at(count, i)]
        for j in range(i):
            total -= factor[i, j] * factor[count, j]
        factor[count, i] = total / factor[i, i] if factor[i, i] != 0.0 else 0.0
    solved = solve_triangular(s, s.known[DAMPING]) > RANK
    for i in range(count):
        factor[count, i] = s.factor[i]
    return solved
