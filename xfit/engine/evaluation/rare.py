"""What few models need, compiled apart and only for these: ties, components that need the whole axis,
losses other than least squares.
"""

from __future__ import annotations

from xfit.engine.evaluation import convolution, loss_functions, tie_machine, whole_axis
from xfit.engine.evaluation.difference_quotients import replace_tie_derivatives
from xfit.engine.evaluation.state import Problem, State
from xfit.engine.math.entries import Pointer, apart
from xfit.engine.math.layout import PITCH
from xfit.engine.math.widths import numbers_at


@apart
def apply_ties(p: Problem, s: State, q: Pointer) -> int:
    """Set the tied entries of a point from the others."""
    tie_machine.apply_ties(p.ties, numbers_at(q, p.parameters), s.stack)
    return 0


@apart
def tie_derivatives(p: Problem, s: State, q: Pointer, careful: int, derivative: Pointer) -> int:
    """Evaluate the derivatives of the ties at a point; where ``careful``, those that are not finite are replaced."""
    point, out = numbers_at(q, p.parameters), numbers_at(derivative, p.ties.row.size)
    tie_machine.tie_derivatives(p.ties, point, out, s.stack)
    if careful != 0:
        replace_tie_derivatives(p.ties, point, out, s.stack)
    return 0


@apart
def set_response(p: Problem, response: Pointer, size: int, row: int) -> int:
    """Set what components are convolved with; return 0 if it is not finite."""
    structure = p.structure
    return 1 if convolution.set_response(structure.plan, structure.numbers, numbers_at(response, size), row) else 0


@apart
def add_whole(p: Problem, q: Pointer, start: int, n: int, tile: Pointer) -> int:
    """Add components that need the whole axis to a tile; they are evaluated with the first one."""
    structure, last = p.structure, p.parameters
    if start == 0:
        whole_axis.fill_whole(structure.plan, structure.numbers, p.x, numbers_at(q, last))
    rows = numbers_at(tile, (last + 1) * PITCH)
    whole_axis.add_whole(structure.plan, structure.numbers, start, n, last, rows)
    return 0


@apart
def apply_loss(p: Problem, s: State, start: int, n: int) -> int:
    """Turn the model of a tile into deviations and factors; see `xfit.engine.evaluation.loss_functions`."""
    loss_functions.apply_loss(p.loss, s, start, n)
    return 0
