"""The plan of what needs the whole axis at once: sizes, places and lists in two arrays, laid out here.

Every array that the engine hands down costs each of its calls seven numbers; so there are integers (`WholeAxis`, then
what is listed of each component and row) and numbers (parts that begin where the plan says).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xfit.engine.evaluation.fourier import transform_size, twiddles
from xfit.engine.math.jit import inner
from xfit.engine.math.layout import LANES, PITCH, VECTOR


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


TRANSFORMED = WholeAxis._fields.index("transformed")

#: Integers of each component: address, first parameter, number of parameters, row of coordinates, position of the
#: factor of what is cumulated or -1, whether convolved, where its rows begin and end among the listed rows, position of
#: the amplitude of a steady one or -1, row of the responses that its kept curve was convolved with, where its order
#: begins (see `order_of`).
ADDRESS, FIRST_PARAMETER, COUNT, XROW, FACTOR, CONVOLVED, BEGIN, END, AMPLITUDE, SEEN, ORDER = range(11)
LISTED = 11

#: No row of the responses: nothing is known yet.
_NEVER = -2
HEAD = len(WholeAxis._fields)


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
    listed = HEAD + LISTED * len(components)
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
def head_of(plan: np.ndarray) -> WholeAxis:
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
