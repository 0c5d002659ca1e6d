"""Components that need the whole axis at once: convolved with a response, or cumulated (Shirley backgrounds).

All that they need lies in two arrays, for every array that the engine hands down costs each of its calls seven numbers: integers
(`Plan`, then what is listed of each component and row) and numbers (parts that begin where the plan says).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xfit.kernels.call import call_kernel
from xfit.kernels.fourier import backward, forward, transform_size, twiddles
from xfit.kernels.jit import inlined, inlined_sums, inner, inner_sums
from xfit.kernels.layout import LANES, PITCH, TILE, VECTOR
from xfit.kernels.vector import load, store

#: Rows that are convolved at a time: as real and imaginary parts of `LANES` sequences.
_AT_ONCE = 2 * LANES


class Plan(NamedTuple):
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
    lines : int
        Number of rows that are convolved: the value, and derivatives.
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
        What is to be convolved: ``lines`` rows.
    out : int
        Results: a row for each parameter, then the sum of the values.
    transform, turns, work : int
        Transform of the response over ``size``; see `xfit.kernels.fourier`.
    """

    components: int
    channels: int
    length: int
    lead: int
    size: int
    parameters: int
    lines: int
    pitch: int
    transformed: int
    grid: int
    tile: int
    values: int
    rows: int
    out: int
    transform: int
    turns: int
    work: int


_TRANSFORMED = Plan._fields.index("transformed")

#: Integers that are listed of each component: address, first parameter, row of coordinates, position of the factor of what is
#: cumulated or -1, whether convolved, where its rows begin and end among the listed rows.
_ADDRESS, _FIRST, _XROW, _FACTOR, _CONVOLVED, _BEGIN, _END = range(7)
_LISTED = 7
_HEAD = len(Plan._fields)


@dataclass(frozen=True)
class WholeComponent:
    """A component that needs the whole axis; see `xfit.kernels.evaluate.Structure` for the first three.

    Attributes
    ----------
    address, first, xrow : int
        Of its kernel, its first parameter, and its coordinates.
    factor : int
        Position of the parameter that multiplies the sum over all channels of larger x; -1 for a component without.
    convolved : bool
        Whether it is convolved with the response.
    rows : sequence of int
        Positions of the parameters whose derivatives are needed.
    """

    address: int
    first: int
    xrow: int
    factor: int
    convolved: bool
    rows: Sequence[int]


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
        "transform": 2 * size,
        "turns": 2 * size,
        "work": 2 * size * LANES,
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
    head = Plan(len(components), channels, length, lead, size, parameters, lines, pitch, -1, **begins)
    ends = np.cumsum([len(c.rows) for c in components])
    listed = [
        (c.address, c.first, c.xrow, c.factor, int(c.convolved), end - len(c.rows), end)
        for c, end in zip(components, ends, strict=True)
    ]
    rows = [row for c in components for row in c.rows]
    return np.array([*head, *(number for one in listed for number in one), *rows], np.int64), numbers


@inlined
def _head(plan: np.ndarray) -> Plan:
    """Read the first integers."""
    return Plan(
        plan[0], plan[1], plan[2], plan[3], plan[4], plan[5], plan[6], plan[7], plan[8],
        plan[9], plan[10], plan[11], plan[12], plan[13], plan[14], plan[15], plan[16],
    )  # fmt: skip


@inner_sums
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


@inlined_sums
def _cumulate(numbers: np.ndarray, at: int, n: int, falls: bool, factor: float, total_at: int) -> None:
    """Add to each point ``factor`` times the sum over all points of larger x; keep that sum at ``total_at`` if that is not -1."""
    total = 0.0
    for k in range(n):
        i = k if falls else n - 1 - k
        value = numbers[at + i]
        numbers[at + i] = value + factor * total
        if total_at >= 0:
            numbers[total_at + i] = total
        total += value


@inner
def _convolve(plan: np.ndarray, numbers: np.ndarray) -> None:
    """Convolve ``rows`` with the response, as many at a time as fit, and hand them to ``out``."""
    head = _head(plan)
    listed = _HEAD + _LISTED * head.components
    work, turns = numbers[head.work :], numbers[head.turns : head.work]
    for first in range(0, head.lines, _AT_ONCE):
        count = min(_AT_ONCE, head.lines - first)
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
            row = head.parameters
            if first + line > 0:
                row = _row_of_line(plan, head.components, first + line - 1, listed)
            target = head.out + row * head.pitch
            begin = 2 * LANES * head.lead + (line % 2) * LANES + line // 2
            for i in range(head.channels):
                numbers[target + i] += work[begin + 2 * LANES * i]


@inlined
def _row_of_line(plan: np.ndarray, components: int, line: int, listed: int) -> int:
    """Position of the parameter that a convolved row is the derivative with respect to."""
    for k in range(components):
        one = _HEAD + _LISTED * k
        if plan[one + _CONVOLVED] != 0:
            count = plan[one + _END] - plan[one + _BEGIN]
            if line < count:
                return int(plan[listed + plan[one + _BEGIN] + line])
            line -= count
    return -1


@inlined_sums
def _multiply(work: np.ndarray, transform: np.ndarray, size: int) -> None:
    """Multiply all sequences, point by point, by the transform of the response."""
    for j in range(size):
        re, im = load(work, 2 * j), load(work, 2 * j + 1)
        c, s = transform[2 * j], transform[2 * j + 1]
        store(work, 2 * j, re * c - im * s)
        store(work, 2 * j + 1, re * s + im * c)


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
    listed = _HEAD + _LISTED * head.components
    for i in range((head.parameters + 1) * head.pitch):
        numbers[head.out + i] = 0.0
    for i in range(head.pitch):
        numbers[head.rows + i] = 0.0
    line = 1
    for k in range(head.components):
        one = _HEAD + _LISTED * k
        convolved, begin, end = plan[one + _CONVOLVED] != 0, plan[one + _BEGIN], plan[one + _END]
        _evaluate(plan, numbers, x, q, one, line, listed)
        n = head.length if convolved else head.channels
        if plan[one + _FACTOR] >= 0:
            _add_sums(plan, numbers, x, q, one, line, listed, n)
        target = head.rows if convolved else head.out + head.parameters * head.pitch
        for i in range(n):
            numbers[target + i] += numbers[head.values + i]
        if convolved:
            line += end - begin
    if head.size > 0:
        _convolve(plan, numbers)


@inlined
def _place(plan: np.ndarray, head: Plan, one: int, line: int, r: int, listed: int) -> int:
    """Where the derivative of the r-th row that is listed of a component goes."""
    if plan[one + _CONVOLVED] != 0:
        return head.rows + (line + r - plan[one + _BEGIN]) * head.pitch
    return head.out + plan[listed + r] * head.pitch


@inlined
def _evaluate(
    plan: np.ndarray, numbers: np.ndarray, x: np.ndarray, q: np.ndarray, one: int, line: int, listed: int
) -> None:
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
        if convolved:
            call_kernel(
                plan[one + _ADDRESS],
                numbers,
                head.grid + at,
                width,
                q,
                first,
                numbers,
                last,
                numbers,
                target,
                n,
                numbers,
            )
        else:
            call_kernel(plan[one + _ADDRESS], x, at, width, q, first, numbers, last, numbers, target, n, numbers)
        for i in range(n):
            numbers[head.values + start + i] = numbers[last + i]
        for r in range(plan[one + _BEGIN], plan[one + _END]):
            source = head.tile + plan[listed + r] * PITCH
            place = _place(plan, head, one, line, r, listed) + start
            for i in range(n):
                numbers[place + i] = numbers[source + i]


@inlined
def _add_sums(
    plan: np.ndarray, numbers: np.ndarray, x: np.ndarray, q: np.ndarray, one: int, line: int, listed: int, n: int
) -> None:
    """Add to a component's value and derivatives their sums over all points of larger x."""
    head = _head(plan)
    position = plan[one + _FACTOR]
    row = plan[one + _XROW]
    if plan[one + _CONVOLVED] != 0:
        at = head.grid + row * head.pitch
        falls = numbers[at + 1] < numbers[at]
    else:
        falls = x[row, 1] < x[row, 0]
    kept = -1
    for r in range(plan[one + _BEGIN], plan[one + _END]):
        place = _place(plan, head, one, line, r, listed)
        if plan[listed + r] == position:
            kept = place
        else:
            _cumulate(numbers, place, n, falls, q[position], -1)
    _cumulate(numbers, head.values, n, falls, q[position], kept)


@inlined
def add_whole(plan: np.ndarray, numbers: np.ndarray, start: int, n: int, last: int, tile: np.ndarray) -> None:
    """Add to the rows of a tile what `fill_whole` has left of these channels."""
    head = _head(plan)
    listed = _HEAD + _LISTED * head.components
    value = head.out + last * head.pitch + start
    for i in range(n):
        tile[last, i] += numbers[value + i]
    for r in range(listed, plan.size):
        source = head.out + plan[r] * head.pitch + start
        target = tile[plan[r]]
        for i in range(n):
            target[i] = numbers[source + i]
