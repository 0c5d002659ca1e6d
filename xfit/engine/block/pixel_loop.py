"""The loop over the pixels of a block: side by side first, then one after another those that need more care."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xfit.engine.block.precompile import prepare_engine
from xfit.engine.evaluation.loss_functions import LEAST_SQUARES, POISSON
from xfit.engine.evaluation.state import Problem, State, state_of
from xfit.engine.math.layout import starting_only
from xfit.engine.pixel.attempts import Search, fit_singly
from xfit.engine.pixel.lanes import LaneFit, fit_side_by_side, is_simple, lanes_of
from xfit.engine.pixel.rows import Block, Limits


@dataclass
class Scratch:
    """Memory for the fits of pixels with the same free parameters; that for pixels side by
    side when it is first needed.
    """

    state: State
    lanes: LaneFit | None = None


def scratch_of(problem: Problem, free: np.ndarray, code: np.ndarray, bent: np.ndarray, channels: int) -> Scratch:
    """Allocate it.

    Parameters
    ----------
    problem : Problem
        What is fitted.
    free : int64 (count,)
        Positions of the free parameters.
    code : int64 (count,)
        What each is to `xfit.engine.lm.amplitudes`.
    bent : float64 (count,)
        The range of the coordinates for those that the model is not linear in, otherwise zero.
    channels : int
        Channels of the data.
    """
    # Amplitudes follow shapes by the algebra of least squares, which other losses resemble well enough for a start.
    code = code if problem.loss.kind == LEAST_SQUARES else starting_only(code)
    return Scratch(state_of(problem, free, channels, code, bent))


def fit_pixels(
    problem: Problem,
    side_by_side: Problem,
    block: Block,
    response: np.ndarray,
    free: np.ndarray,
    constants_hold: bool,
    pixels: np.ndarray,
    limits: Limits,
    search: Search,
    scratch: Scratch,
) -> None:
    """Fit the listed pixels of a block.

    Parameters
    ----------
    problem, side_by_side : Problem
        The model, with its kernels for one pixel and for pixels side by side.
    block : Block
        The data, and where the results go.
    response : float64 (n_pixels or 1, any)
        What components that need the whole axis are convolved with.
    free : int64 (count,)
        Positions of the free parameters.
    constants_hold : bool
        Whether the constants of the kernels (parameters that are seldom fitted) are the same for all pixels.
    pixels : int64 (any,)
        Which pixels to fit, in this order.
    limits : Limits
        How to fit.
    search : Search
        Where to begin.
    scratch : Scratch
        Memory; where the same is given again, data must have errors, masks and widths as before, or none.
    """
    state = scratch.state
    left = pixels
    together = problem.loss.kind in (LEAST_SQUARES, POISSON) and not (limits.project or search.chained)
    if side_by_side.structure.address.size and together and not len(search.points):
        if scratch.lanes is None:
            scratch.lanes = lanes_of(side_by_side, block, free, state, constants_hold)
        left = np.empty_like(pixels)
        simple = is_simple(problem, limits)
        if not simple:
            prepare_engine("alone")
        number = fit_side_by_side(problem, side_by_side, block, pixels, limits, state, scratch.lanes, simple, left)
        left = left[:number]
    if left.size:
        prepare_engine("pixel")
        fit_singly(problem, state, block, response, left, limits, search)
