"""Components that need the whole axis at once: convolved with a response, or cumulated (Shirley backgrounds).

A component whose only free parameter is its amplitude (an edge at its tabulated energy) is *steady*: its curve over the
amplitude is kept from one evaluation, and one pixel, to the next, until another of its parameters or the response
changes.
"""

from __future__ import annotations

import numpy as np

from xfit.engine.evaluation.axis_plan import (
    ADDRESS,
    AMPLITUDE,
    BEGIN,
    CONVOLVED,
    COUNT,
    END,
    FACTOR,
    FIRST_PARAMETER,
    HEAD,
    LISTED,
    ORDER,
    SEEN,
    TRANSFORMED,
    XROW,
    WholeAxis,
    head_of,
)
from xfit.engine.evaluation.convolution import convolve
from xfit.engine.evaluation.difference_quotients import replace_rows
from xfit.engine.math.call import call_kernel
from xfit.engine.math.jit import inner
from xfit.engine.math.layout import PITCH, TILE


@inner
def _cumulate(plan: np.ndarray, order: int, n: int, numbers: np.ndarray, at: int, factor: float, total_at: int) -> None:
    """Add to each point ``factor`` times the sum over all points of larger x; keep that sum at
    ``total_at`` if that is not -1.
    """
    above = 0.0
    # Of the points of the same x that come before, which are not above it.
    level = 0.0
    for k in range(n):
        i = plan[order + k]
        if i < 0:
            i = -1 - i
        else:
            above += level
            level = 0.0
        value = numbers[at + i]
        numbers[at + i] = value + factor * above
        if total_at >= 0:
            numbers[total_at + i] = above
        level += value


@inner
def fill_whole(plan: np.ndarray, numbers: np.ndarray, x: np.ndarray, q: np.ndarray) -> None:
    """Evaluate the components on the whole axis; see `add_whole` for the results.

    Parameters
    ----------
    plan, numbers
        See `lay_out`.
    x : float64 (n_rows, n_channels rounded up to whole vectors)
        The engine's coordinates, for what is not convolved.
    q : float64 (n_parameters,)
        Values of all parameters.
    """
    head = head_of(plan)
    sum_at = head.out + head.parameters * head.pitch
    for i in range(head.pitch):
        numbers[sum_at + i] = 0.0
        numbers[head.rows + i] = 0.0
    # The first line is the sum of the values, of components that are not steady.
    line = 1
    varying = False
    for k in range(head.components):
        one = HEAD + LISTED * k
        convolved, steady = plan[one + CONVOLVED] != 0, plan[one + AMPLITUDE] >= 0
        if steady and _is_known(plan, numbers, q, one):
            continue
        _evaluate(plan, numbers, x, q, one, line)
        n = head.length if convolved else head.channels
        if plan[one + FACTOR] >= 0:
            _add_sums(plan, numbers, q, one, line, n)
        if steady:
            _remember(plan, numbers, q, one)
        else:
            varying |= convolved
            target = head.rows if convolved else sum_at
            for i in range(n):
                numbers[target + i] += numbers[head.values + i]
        if convolved:
            for r in range(plan[one + BEGIN], plan[one + END]):
                plan[head.targets + line] = plan[head.listed + r]
                line += 1
    if varying or line > 1:
        convolve(plan, numbers, line)
    for k in range(head.components):
        amplitude = plan[HEAD + LISTED * k + AMPLITUDE]
        if amplitude >= 0:
            source = head.out + amplitude * head.pitch
            for i in range(head.channels):
                numbers[sum_at + i] += q[amplitude] * numbers[source + i]


@inner
def _is_known(plan: np.ndarray, numbers: np.ndarray, q: np.ndarray, one: int) -> bool:
    """Whether the kept curve of a steady component is that at these parameters, with this response."""
    head = head_of(plan)
    if plan[one + SEEN] != plan[TRANSFORMED]:
        return False
    for k in range(plan[one + FIRST_PARAMETER], plan[one + FIRST_PARAMETER] + plan[one + COUNT]):
        if k != plan[one + AMPLITUDE] and q[k] != numbers[head.known + k]:
            return False
    return True


@inner
def _remember(plan: np.ndarray, numbers: np.ndarray, q: np.ndarray, one: int) -> None:
    """Note what the curve of a steady component is computed with."""
    head = head_of(plan)
    plan[one + SEEN] = plan[TRANSFORMED]
    for k in range(plan[one + FIRST_PARAMETER], plan[one + FIRST_PARAMETER] + plan[one + COUNT]):
        numbers[head.known + k] = q[k]


@inner
def _place(plan: np.ndarray, head: WholeAxis, one: int, line: int, r: int) -> int:
    """Where the derivative of the r-th row that is listed of a component goes."""
    if plan[one + CONVOLVED] != 0:
        return head.rows + (line + r - plan[one + BEGIN]) * head.pitch
    return head.out + plan[head.listed + r] * head.pitch


@inner
def _evaluate(plan: np.ndarray, numbers: np.ndarray, x: np.ndarray, q: np.ndarray, one: int, line: int) -> None:
    """Run a component's kernel over its whole axis."""
    head = head_of(plan)
    convolved = plan[one + CONVOLVED] != 0
    width = head.pitch if convolved else x.shape[1]
    last = head.tile + head.parameters * PITCH
    for start in range(0, width, TILE):
        n = min(TILE, width - start)
        for i in range(n):
            numbers[last + i] = 0.0
        at = plan[one + XROW] * width + start
        target = head.tile + plan[one + FIRST_PARAMETER] * PITCH
        first = plan[one + FIRST_PARAMETER]
        count = plan[one + COUNT]
        address = plan[one + ADDRESS]
        if convolved:
            at += head.grid
            call_kernel(address, numbers, at, width, q, first, numbers, last, numbers, target, n, numbers)
            replace_rows(
                address,
                numbers,
                at,
                width,
                q,
                head.parameters,
                first,
                count,
                numbers,
                target,
                last,
                n,
                numbers,
                head.spare,
                numbers,
            )
        else:
            call_kernel(address, x, at, width, q, first, numbers, last, numbers, target, n, numbers)
            replace_rows(
                address,
                x,
                at,
                width,
                q,
                head.parameters,
                first,
                count,
                numbers,
                target,
                last,
                n,
                numbers,
                head.spare,
                numbers,
            )
        for i in range(n):
            numbers[head.values + start + i] = numbers[last + i]
        for r in range(plan[one + BEGIN], plan[one + END]):
            source = head.tile + plan[head.listed + r] * PITCH
            place = _place(plan, head, one, line, r) + start
            for i in range(n):
                numbers[place + i] = numbers[source + i]


@inner
def _add_sums(plan: np.ndarray, numbers: np.ndarray, q: np.ndarray, one: int, line: int, n: int) -> None:
    """Add to a component's value and derivatives their sums over all points of larger x."""
    head = head_of(plan)
    position = plan[one + FACTOR]
    order = plan[one + ORDER]
    kept = -1
    for r in range(plan[one + BEGIN], plan[one + END]):
        place = _place(plan, head, one, line, r)
        if plan[head.listed + r] == position:
            kept = place
        else:
            _cumulate(plan, order, n, numbers, place, q[position], -1)
    _cumulate(plan, order, n, numbers, head.values, q[position], kept)


@inner
def add_whole(plan: np.ndarray, numbers: np.ndarray, start: int, n: int, last: int, tile: np.ndarray) -> None:
    """Add to the rows of a tile what `fill_whole` has left of these channels."""
    head = head_of(plan)
    value = head.out + last * head.pitch + start
    for i in range(n):
        tile[last * PITCH + i] += numbers[value + i]
    for r in range(head.listed, head.targets):
        source = head.out + plan[r] * head.pitch + start
        target = plan[r] * PITCH
        for i in range(n):
            tile[target + i] = numbers[source + i]
