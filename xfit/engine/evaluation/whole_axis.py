"""Components that need the whole axis at once: convolved with a response, or cumulated (Shirley backgrounds).

A component whose only free parameter is its amplitude (an edge at its tabulated energy) is *steady*: its curve over the
amplitude is kept from one evaluation, and one pixel, to the next, until another of its parameters or the response
changes.

All that they need lies in two arrays, for every array that the engine hands down costs each of its calls seven numbers:
integers (`WholeAxis`, then what is listed of each component and row) and numbers (parts that begin where the plan
says).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xfit.engine.evaluation.difference_quotients import replace_rows
from xfit.engine.evaluation.fourier import backward, forward, transform_size, twiddles
from xfit.engine.math.call import call_kernel
from xfit.engine.math.jit import inner
from xfit.engine.math.layout import LANES, PITCH, TILE, VECTOR
from xfit.engine.math.vector import load, store
from xfit.engine.math.widths import fused

#: Rows that are convolved at a time: as real and imaginary parts of `LANES` sequences.
_AT_ONCE = 2 * LANES


class WholeAxis(NamedTuple):
    """Sizes, and where in the numbers each part begins; the first integers, in this order.

    Attributes
    ----------
    components : int
        How many components need the whole axis.
    channels : int
        Number of channels of the data.
    length : int
        Number of points at which convolved components are evaluated: ``channels`` and the response's less one.
    lead : int
        Points before the first channel: the response's less one.
    size : int
        Points of the transforms; zero where nothing is convolved.
    parameters : int
        Number of parameters of the model.
    listed, targets : int
        Where in the integers the rows are listed whose derivatives are needed, and then, for each row that is
        convolved, the position of its parameter; the orders of what is cumulated follow.
    pitch : int
        Length of a row of ``grid`` and ``rows``.
    transformed : int
        Row of the responses that ``transform`` is made from; -1 before the first.
    grid : int
        Coordinates of the convolved components, as the engine's.
    tile : int
        A tile for the kernels, aligned to cache lines.
    values : int
        Value of one component.
    rows : int
        What is to be convolved: the value, and derivatives.
    out : int
        Results: a row for each parameter, then the sum of the values.
    known : int
        Parameters that the kept curves of steady components were computed with.
    transform, turns, work : int
        Transform of the response over ``size``; see `xfit.engine.evaluation.fourier`.
    spare : int
        Scratch of `xfit.engine.evaluation.difference_quotients`.
    """

    components: int
    channels: int
    length: int
    lead: int
    size: int
    parameters: int
    listed: int
    targets: int
    pitch: int
    transformed: int
    grid: int
    tile: int
    values: int
    rows: int
    out: int
    known: int
    transform: int
    turns: int
    work: int
    spare: int


_TRANSFORMED = WholeAxis._fields.index("transformed")

#: Integers of each component: address, first parameter, number of parameters, row of coordinates, position of the
#: factor of what is cumulated or -1, whether convolved, where its rows begin and end among the listed rows, position of
#: the amplitude of a steady one or -1, row of the responses that its kept curve was convolved with, where its order
#: begins (see `order_of`).
_ADDRESS, _FIRST, _COUNT, _XROW, _FACTOR, _CONVOLVED, _BEGIN, _END, _AMPLITUDE, _SEEN, _ORDER = range(11)
_LISTED = 11

#: No row of the responses: nothing is known yet.
_NEVER = -2
_HEAD = len(WholeAxis._fields)


@dataclass(frozen=True)
class WholeComponent:
    """A component that needs the whole axis; see `xfit.engine.evaluation.state.Structure` for address, first and xrow.

    Attributes
    ----------
    address, first, count, xrow : int
        Of its kernel, its first parameter, how many it has, and its coordinates.
    factor : int
        Position of the parameter that multiplies the sum over all channels of larger x; -1 for a component without.
    convolved : bool
        Whether it is convolved with the response.
    rows : sequence of int
        Positions of the parameters whose derivatives are needed.
    amplitude : int
        Position of the parameter that it is in proportion to, if that is the only one among ``rows``; else -1.
    order : int64 (n_points,)
        In which order its points are summed (see `order_of`); empty for a component without ``factor``.
    """

    address: int
    first: int
    count: int
    xrow: int
    factor: int
    convolved: bool
    rows: Sequence[int]
    amplitude: int
    order: np.ndarray


def order_of(x: np.ndarray) -> np.ndarray:
    """Points from the largest coordinate to the smallest; ``-1 - i`` for a point ``i`` whose
    coordinate is that of the one before.

    Parameters
    ----------
    x : float64 (n_points,)
        Coordinates, in any order.

    Returns
    -------
    int64 (n_points,)
    """
    order = np.argsort(-x, kind="stable").astype(np.int64)
    again = np.concatenate([[False], np.diff(x[order]) == 0])
    return np.where(again, -1 - order, order)


def lay_out(
    components: Sequence[WholeComponent], parameters: int, channels: int, grid: np.ndarray, response: int
) -> tuple[np.ndarray, np.ndarray]:
    """Lay out the two arrays.

    Parameters
    ----------
    components : sequence of WholeComponent
        At least one.
    parameters : int
        Number of parameters of the model.
    channels : int
        Number of channels of the data.
    grid : float64 (n_rows, channels + response - 1, rounded up to whole vectors)
        Coordinates of the convolved components.
    response : int
        Number of points of the response; 0 for none.

    Returns
    -------
    plan : int64
    numbers : float64
    """
    lead = max(response - 1, 0)
    length = channels + lead
    size = transform_size(length) if any(c.convolved for c in components) else 0
    lines = 1 + sum(len(c.rows) for c in components if c.convolved)
    pitch = -(-length // VECTOR) * VECTOR
    parts = {
        "grid": grid.size,
        "tile": (parameters + 1) * PITCH,
        "values": pitch,
        "rows": lines * pitch,
        "out": (parameters + 1) * pitch,
        "known": parameters,
        "transform": 2 * size,
        "turns": 2 * size,
        "work": 2 * size * LANES,
        "spare": (parameters + 3) * PITCH,
    }
    at, begins = 0, {}
    for name, count in parts.items():
        begins[name] = at
        at += -(-count // LANES) * LANES
    raw = np.zeros(at + LANES)
    skip = (-(raw.ctypes.data // 8)) % LANES
    numbers = raw[skip : skip + at]
    numbers[: grid.size] = grid.ravel()
    numbers[begins["turns"] : begins["turns"] + 2 * size] = twiddles(size) if size else 0.0
    listed = _HEAD + _LISTED * len(components)
    rows = [row for c in components for row in c.rows]
    head = WholeAxis(
        len(components), channels, length, lead, size, parameters, listed, listed + len(rows), pitch, -1, **begins
    )
    ends = np.cumsum([len(c.rows) for c in components])
    sizes = np.array([c.order.size for c in components])
    orders = head.targets + lines + np.cumsum(sizes) - sizes
    each = [
        (
            c.address,
            c.first,
            c.count,
            c.xrow,
            c.factor,
            int(c.convolved),
            end - len(c.rows),
            end,
            c.amplitude,
            _NEVER,
            order,
        )
        for c, end, order in zip(components, ends, orders, strict=True)
    ]
    integers = np.array([*head, *(n for one in each for n in one), *rows, *([parameters] * lines)], np.int64)
    return np.concatenate([integers, *(c.order for c in components)]), numbers


@inner
def _head(plan: np.ndarray) -> WholeAxis:
    """Read the first integers."""
    return WholeAxis(
        plan[0],
        plan[1],
        plan[2],
        plan[3],
        plan[4],
        plan[5],
        plan[6],
        plan[7],
        plan[8],
        plan[9],
        plan[10],
        plan[11],
        plan[12],
        plan[13],
        plan[14],
        plan[15],
        plan[16],
        plan[17],
        plan[18],
        plan[19],
    )


@inner
def set_response(plan: np.ndarray, numbers: np.ndarray, response: np.ndarray, row: int) -> bool:
    """Transform a pixel's response, unless it is that of the pixel before.

    Parameters
    ----------
    plan, numbers
        See `lay_out`.
    response : float64 (n,)
        The pixel's.
    row : int
        Which row of the block's responses it is.

    Returns
    -------
    bool
        Whether it is finite.
    """
    head = _head(plan)
    if head.size == 0 or head.transformed == row:
        return True
    total = 0.0
    for value in response:
        total += value - value
    if total != 0.0:
        return False
    work = numbers[head.work :]
    for i in range(2 * head.size * LANES):
        work[i] = 0.0
    for j in range(response.size):
        work[2 * j * LANES] = response[j] / head.size
    turns = numbers[head.turns : head.work]
    forward(work, head.size, turns)
    for i in range(2 * head.size):
        numbers[head.transform + i] = work[i * LANES]
    plan[_TRANSFORMED] = row
    return True


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
def _convolve(plan: np.ndarray, numbers: np.ndarray, lines: int) -> None:
    """Convolve ``rows`` with the response, as many at a time as fit, and hand them to ``out``."""
    head = _head(plan)
    work, turns = numbers[head.work :], numbers[head.turns : head.work]
    for first in range(0, lines, _AT_ONCE):
        count = min(_AT_ONCE, lines - first)
        for i in range(2 * head.size * LANES):
            work[i] = 0.0
        for line in range(count):
            source = head.rows + (first + line) * head.pitch
            lane = (line % 2) * LANES + line // 2
            for i in range(head.length):
                work[2 * LANES * i + lane] = numbers[source + i]
        forward(work, head.size, turns)
        _multiply(work, numbers[head.transform :], head.size)
        backward(work, head.size, turns)
        for line in range(count):
            row = plan[head.targets + first + line]
            target = head.out + row * head.pitch
            begin = 2 * LANES * head.lead + (line % 2) * LANES + line // 2
            if row == head.parameters:
                for i in range(head.channels):
                    numbers[target + i] += work[begin + 2 * LANES * i]
            else:
                for i in range(head.channels):
                    numbers[target + i] = work[begin + 2 * LANES * i]


@inner
def _multiply(work: np.ndarray, transform: np.ndarray, size: int) -> None:
    """Multiply all sequences, point by point, by the transform of the response."""
    for j in range(size):
        re, im = load(work, 2 * j), load(work, 2 * j + 1)
        c, s = transform[2 * j], transform[2 * j + 1]
        store(work, 2 * j, fused(re, c, -(im * s)))
        store(work, 2 * j + 1, fused(re, s, im * c))


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
    head = _head(plan)
    sum_at = head.out + head.parameters * head.pitch
    for i in range(head.pitch):
        numbers[sum_at + i] = 0.0
        numbers[head.rows + i] = 0.0
    # The first line is the sum of the values, of components that are not steady.
    line = 1
    varying = False
    for k in range(head.components):
        one = _HEAD + _LISTED * k
        convolved, steady = plan[one + _CONVOLVED] != 0, plan[one + _AMPLITUDE] >= 0
        if steady and _is_known(plan, numbers, q, one):
            continue
        _evaluate(plan, numbers, x, q, one, line)
        n = head.length if convolved else head.channels
        if plan[one + _FACTOR] >= 0:
            _add_sums(plan, numbers, q, one, line, n)
        if steady:
            _remember(plan, numbers, q, one)
        else:
            varying |= convolved
            target = head.rows if convolved else sum_at
            for i in range(n):
                numbers[target + i] += numbers[head.values + i]
        if convolved:
            for r in range(plan[one + _BEGIN], plan[one + _END]):
                plan[head.targets + line] = plan[head.listed + r]
                line += 1
    if varying or line > 1:
        _convolve(plan, numbers, line)
    for k in range(head.components):
        amplitude = plan[_HEAD + _LISTED * k + _AMPLITUDE]
        if amplitude >= 0:
            source = head.out + amplitude * head.pitch
            for i in range(head.channels):
                numbers[sum_at + i] += q[amplitude] * numbers[source + i]


@inner
def _is_known(plan: np.ndarray, numbers: np.ndarray, q: np.ndarray, one: int) -> bool:
    """Whether the kept curve of a steady component is that at these parameters, with this response."""
    head = _head(plan)
    if plan[one + _SEEN] != plan[_TRANSFORMED]:
        return False
    for k in range(plan[one + _FIRST], plan[one + _FIRST] + plan[one + _COUNT]):
        if k != plan[one + _AMPLITUDE] and q[k] != numbers[head.known + k]:
            return False
    return True


@inner
def _remember(plan: np.ndarray, numbers: np.ndarray, q: np.ndarray, one: int) -> None:
    """Note what the curve of a steady component is computed with."""
    head = _head(plan)
    plan[one + _SEEN] = plan[_TRANSFORMED]
    for k in range(plan[one + _FIRST], plan[one + _FIRST] + plan[one + _COUNT]):
        numbers[head.known + k] = q[k]


@inner
def _place(plan: np.ndarray, head: WholeAxis, one: int, line: int, r: int) -> int:
    """Where the derivative of the r-th row that is listed of a component goes."""
    if plan[one + _CONVOLVED] != 0:
        return head.rows + (line + r - plan[one + _BEGIN]) * head.pitch
    return head.out + plan[head.listed + r] * head.pitch


@inner
def _evaluate(plan: np.ndarray, numbers: np.ndarray, x: np.ndarray, q: np.ndarray, one: int, line: int) -> None:
    """Run a component's kernel over its whole axis."""
    head = _head(plan)
    convolved = plan[one + _CONVOLVED] != 0
    width = head.pitch if convolved else x.shape[1]
    last = head.tile + head.parameters * PITCH
    for start in range(0, width, TILE):
        n = min(TILE, width - start)
        for i in range(n):
            numbers[last + i] = 0.0
        at = plan[one + _XROW] * width + start
        target = head.tile + plan[one + _FIRST] * PITCH
        first = plan[one + _FIRST]
        count = plan[one + _COUNT]
        address = plan[one + _ADDRESS]
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
        for r in range(plan[one + _BEGIN], plan[one + _END]):
            source = head.tile + plan[head.listed + r] * PITCH
            place = _place(plan, head, one, line, r) + start
            for i in range(n):
                numbers[place + i] = numbers[source + i]


@inner
def _add_sums(plan: np.ndarray, numbers: np.ndarray, q: np.ndarray, one: int, line: int, n: int) -> None:
    """Add to a component's value and derivatives their sums over all points of larger x."""
    head = _head(plan)
    position = plan[one + _FACTOR]
    order = plan[one + _ORDER]
    kept = -1
    for r in range(plan[one + _BEGIN], plan[one + _END]):
        place = _place(plan, head, one, line, r)
        if plan[head.listed + r] == position:
            kept = place
        else:
            _cumulate(plan, order, n, numbers, place, q[position], -1)
    _cumulate(plan, order, n, numbers, head.values, q[position], kept)


@inner
def add_whole(plan: np.ndarray, numbers: np.ndarray, start: int, n: int, last: int, tile: np.ndarray) -> None:
    """Add to the rows of a tile what `fill_whole` has left of these channels."""
    head = _head(plan)
    value = head.out + last * head.pitch + start
    for i in range(n):
        tile[last * PITCH + i] += numbers[value + i]
    for r in range(head.listed, head.targets):
        source = head.out + plan[r] * head.pitch + start
        target = plan[r] * PITCH
        for i in range(n):
            tile[target + i] = numbers[source + i]
