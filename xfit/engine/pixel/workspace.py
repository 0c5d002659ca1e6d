"""The scratch of the engine of one pixel, and what several of its parts do with it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from xfit.engine.math.elementary import square
from xfit.engine.math.jit import inlined, inner
from xfit.engine.math.layout import PITCH
from xfit.engine.pixel.evaluate import Spectrum, Structure, aligned_rows, gram_at, jacobian_at
from xfit.engine.pixel.steps import triangularise
from xfit.engine.pixel.tie_machine import STACK, Ties

#: What `Workspace.flags` say: whether derivatives had to be replaced before, so that they are looked at at once; whether some could not be
#: replaced at the point that was evaluated last; and, set from another thread, whether fits are to be given up.
CAREFUL, UNKNOWN, STOP = 0, 1, 2


class Workspace(NamedTuple):
    """Scratch of one engine call; see `workspace` for the shapes.

    ``apart`` keeps the bounds of parameters that are held at a kink meanwhile; NaN for all others.
    """

    q: np.ndarray
    trial: np.ndarray
    theta: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    rows: np.ndarray
    gram: np.ndarray
    gram_trial: np.ndarray
    norm_trial: np.ndarray
    theta_trial: np.ndarray
    state_trial: np.ndarray
    code: np.ndarray
    norm: np.ndarray
    weight: np.ndarray
    state: np.ndarray
    chosen: np.ndarray
    step: np.ndarray
    work: np.ndarray
    tile: np.ndarray
    jacobian: np.ndarray
    curve: np.ndarray
    bend: np.ndarray
    derivative: np.ndarray
    stack: np.ndarray
    best: np.ndarray
    first: np.ndarray
    kept: np.ndarray
    full: np.ndarray
    taken: np.ndarray
    moved: np.ndarray
    spare: np.ndarray
    flags: np.ndarray
    bent: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    claim: np.ndarray
    apart: np.ndarray


class Outcome(NamedTuple):
    """How the fit of one pixel ended."""

    status: int
    loss: float
    nfev: int
    by_qr: bool


def workspace(n_parameters: int, count: int, n_channels: int, n_derivatives: int) -> Workspace:
    """Allocate what one engine call needs, for every pixel that it fits."""
    return Workspace(
        np.empty(n_parameters),
        np.empty(n_parameters),
        np.empty(count),
        np.empty(count),
        np.empty(count),
        np.empty(count + 4, np.int64),
        np.empty((count + 1, count + 1)),
        np.empty((count + 1, count + 1)),
        np.empty(count),
        np.empty(count),
        np.empty(count, np.int64),
        np.empty(count, np.int64),
        np.empty(count),
        np.empty(count),
        np.empty(count, np.int64),
        np.empty(count, np.int64),
        np.empty(count),
        np.empty((count + 1, max(2 * count, count + 1))),
        aligned_rows(n_parameters + 2),
        np.empty((count + 1, n_channels)),
        np.empty((count + 1, n_channels)),
        np.empty(count),
        np.empty(max(n_derivatives, 1)),
        np.empty(STACK),
        np.empty(count),
        np.empty(count),
        np.empty(count),
        np.zeros(count),
        np.zeros(count),
        np.zeros(count),
        np.empty((n_parameters + 3) * PITCH),
        np.zeros(3, np.int64),
        np.zeros(count),
        np.empty(count),
        np.empty(count),
        np.zeros(1),
        np.empty((2, count)),
    )


@inner
def gram_of(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    count: int,
    q: np.ndarray,
    ws: Workspace,
    gram: np.ndarray,
) -> float:
    """Evaluate the model at ``q``; see `xfit.engine.pixel.evaluate.gram_at`.

    Derivatives are looked at where their Gram matrix is not finite although the loss is, and replaced; ``ws.flags[UNKNOWN]`` says whether
    some could not be.
    """
    careful = ws.flags[CAREFUL] != 0
    loss = 0.0
    for _ in range(2):
        loss = gram_at(
            structure, ties, x, spectrum, q, ws.rows, count, ws.derivative, ws.stack, careful, ws.spare, ws.tile, gram
        )  # fmt: skip
        known = True
        for j in range(count):
            known = known and math.isfinite(gram[j, j]) and math.isfinite(gram[count, j])
        ws.flags[UNKNOWN] = 1 if math.isfinite(loss) and not known else 0
        if careful or ws.flags[UNKNOWN] == 0:
            break
        careful = True
        ws.flags[CAREFUL] = 1
    return loss


@inner
def jacobian_of(
    structure: Structure, ties: Ties, x: np.ndarray, spectrum: Spectrum, count: int, ws: Workspace, jacobian: np.ndarray
) -> None:
    """Fill ``jacobian`` at the current point; see `xfit.engine.pixel.evaluate.jacobian_at`."""
    jacobian_at(
        structure, ties, x, spectrum, ws.q, ws.rows, count, ws.derivative, ws.stack, ws.spare, ws.tile, jacobian
    )  # fmt: skip


@inner
def factorise(structure: Structure, ties: Ties, x: np.ndarray, spectrum: Spectrum, count: int, ws: Workspace) -> None:
    """Leave the triangular factor of the Jacobian at the current point in ``ws.jacobian``."""
    jacobian_of(structure, ties, x, spectrum, count, ws, ws.jacobian)
    triangularise(ws.jacobian, count, spectrum.y.size)


@inlined
def length_of(count: int, vector: np.ndarray, ws: Workspace) -> float:
    """Length of a vector of parameters in units of the damping's weights."""
    total = 0.0
    for j in range(count):
        total += square(ws.weight[j] * vector[j])
    return math.sqrt(total)
