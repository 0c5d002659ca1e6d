"""States of the engine for tests of its parts."""

from __future__ import annotations

import numpy as np

import xfit
from xfit.engine.codegen.loss_kernels import load_loss
from xfit.engine.codegen.program import Channels, LoadedProgram, Program
from xfit.engine.evaluation.state import Problem, State, state_of
from xfit.engine.losses import Loss


def state_for(
    model: xfit.Model, x: np.ndarray, y: np.ndarray, code: np.ndarray | None = None
) -> tuple[LoadedProgram, Problem, State]:
    """A problem, and the state of one pixel with the data ``y`` and all parameters free and without
    bounds, at the model's values.
    """
    program = Program.from_model(model).load()
    count = len(program.program.components)
    structure = program.structure(np.ones(count, bool), np.zeros(count, bool), Channels(x, np.empty((0, 0)), 0))
    parameters = len(program.program.parameters)
    problem = Problem(structure, program.ties, x, load_loss(Loss()), parameters)
    state = state_of(problem, np.arange(parameters), x.shape[1], code)
    state.y[: y.size], state.m[: y.size] = y, 1.0
    state.plain = state.whole = True
    state.used = y.size
    state.lower[:], state.upper[:] = -np.inf, np.inf
    return program, problem, state


def triangle_of(matrix: np.ndarray) -> np.ndarray:
    """Lower triangle of a matrix, row by row, as the engine keeps it."""
    return matrix[np.tril_indices(len(matrix))]


def state_at(jacobian: np.ndarray, deviations: np.ndarray) -> State:
    """State of one pixel with a Gram matrix, at parameters of zero: as many as the Jacobian has rows."""
    count, channels = jacobian.shape
    x = np.zeros((1, -(-channels // 8) * 8))
    model = xfit.Model([xfit.components.Polynomial(count - 1, name="p")])
    _, _, state = state_for(model, x, np.zeros(channels))
    rows = np.vstack([jacobian, deviations])
    state.gram[:] = triangle_of(rows @ rows.T)
    state.inverse[:] = 1 / np.linalg.norm(jacobian, axis=1)
    state.weight[:] = 1 / state.inverse
    state.jacobian[:, :channels] = rows
    state.q[:] = 0.0
    return state
