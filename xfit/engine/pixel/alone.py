"""One pixel prepared and its row written: compiled once, for all that fit pixels."""

from __future__ import annotations

import numpy as np

from xfit.engine.evaluation.rare import set_response
from xfit.engine.evaluation.state import Outcome, Problem, State
from xfit.engine.lm.steps import rescale
from xfit.engine.math.entries import apart
from xfit.engine.math.jit import inner
from xfit.engine.math.widths import address_of
from xfit.engine.pixel import rows
from xfit.engine.pixel.packed_row import scalars_at
from xfit.engine.pixel.rows import Block, Limits, row_of
from xfit.engine.pixel.scalars import STATUS
from xfit.engine.pixel.standard_errors import finish
from xfit.engine.pixel.status import BAD_RESPONSE, CONVERGED


@apart
def prepare(p: Problem, s: State, block: Block, i: int) -> int:
    """Prepare a pixel; return 1 if it can be fitted. See `xfit.engine.pixel.rows.prepare`."""
    return 1 if rows.prepare(p, s, block, i) else 0


@inner
def prepare_with_response(p: Problem, s: State, block: Block, response: np.ndarray, i: int) -> bool:
    """Prepare a pixel, and set what components that need the whole axis are convolved with."""
    if prepare(p, s, block, i) == 0:
        return False
    row = row_of(response, i)
    if p.structure.plan.size > 0 and set_response(p, address_of(response[row]), response.shape[1], row) == 0:
        block.out[i, scalars_at(s.parameters) + STATUS] = BAD_RESPONSE
        return False
    return True


@apart
def write(p: Problem, s: State, block: Block, limits: Limits, i: int, chisq: float, nfev: int) -> int:
    """Write a converged pixel's row but for its errors, from the point and bounds in its state."""
    rows.write(p, s, Outcome(CONVERGED, chisq, nfev, False), chisq, limits, block.out[i])
    return 0


@apart
def write_all(
    p: Problem, s: State, block: Block, limits: Limits, i: int, status: int, loss: float, nfev: int, by_qr: int
) -> int:
    """Write a pixel's row, with errors if it converged, from the point, the bounds and the Gram matrix in its state."""
    rescale(s, True, False)
    outcome, chisq = rows.evaluate_solution(p, s, Outcome(status, loss, nfev, by_qr != 0))
    rows.write(p, s, outcome, chisq, limits, block.out[i])
    if status == CONVERGED:
        finish(p, s, outcome, block.pairs, limits, block.out[i])
    return 0
