"""The scratch of the engine of one pixel, and what several of its parts do with it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from xfit.compile.special import square
from xfit.kernels.evaluate import Spectrum, Structure, aligned_rows, jacobian_at
from xfit.kernels.jit import inlined, inner
from xfit.kernels.steps import triangularise
from xfit.kernels.ties import STACK, Ties


class Workspace(NamedTuple):
    """Scratch of one engine call; see `workspace` for the shapes."""

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
    )


@inner
def factorise(structure: Structure, ties: Ties, x: np.ndarray, spectrum: Spectrum, count: int, ws: Workspace) -> None:
    """Leave the triangular factor of the Jacobian at the current point in ``ws.jacobian``."""
    jacobian_at(structure, ties, x, spectrum, ws.q, ws.rows, count, ws.derivative, ws.stack, ws.tile, ws.jacobian)
    triangularise(ws.jacobian, count, spectrum.y.size)


@inlined
def length_of(count: int, vector: np.ndarray, ws: Workspace) -> float:
    """Length of a vector of parameters in units of the damping's weights."""
    total = 0.0
    for j in range(count):
        total += square(ws.weight[j] * vector[j])
    return math.sqrt(total)
