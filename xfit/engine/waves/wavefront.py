"""Where a wave of fits goes next: ranks of pixels by their good neighbours, and start values from these.

Pixels lie in a flat array with a margin, so that every neighbour of every pixel is in it: neighbours are fixed
distances apart.
"""

from __future__ import annotations

import math

from xfit.engine.math.entries import entry
from xfit.engine.math.records import Flags, Integers, Marks, Reals, RealTable

#: What a pixel is: to be fitted; fitted well, and a start for its neighbours; fitted well, but not a start any more;
#: not to be fitted.
LEFT, GOOD, SPENT, HOPELESS = range(4)


@entry
def rank(
    inside: Integers,
    mark: Marks,
    gained: Integers,
    tried: Integers,
    weight: Reals,
    offsets: Integers,
    decay: Reals,
    priority: Reals,
) -> float:
    """Rank the pixels that gained a good neighbour since they were tried, by the weights of all their good neighbours.

    Parameters
    ----------
    inside : int64 (n,)
        Places of the pixels.
    mark : int8 (all,)
        What each place is.
    gained, tried : int64 (all,)
        When each place became good, and when it was tried last.
    weight : float64 (all,)
        How much a good pixel counts.
    offsets, decay : int64 (m,), float64 (m,)
        Distances to the neighbours, and what these count by their distance.
    priority : float64 (n,)
        Filled; zero where a pixel is not to be fitted.

    Returns
    -------
    float
        The largest.
    """
    best = 0.0
    for k in range(inside.size):
        place = inside[k]
        total = 0.0
        if mark[place] == LEFT:
            news = False
            for o in range(offsets.size):
                other = place + offsets[o]
                if mark[other] == GOOD:
                    total += weight[other] * decay[o]
                    news = news or gained[other] > tried[place]
            total = total if news else 0.0
        priority[k] = total
        best = max(best, total)
    return best


@entry
def begin_at(
    places: Integers,
    mark: Marks,
    gained: Integers,
    tried: Integers,
    weight: Reals,
    offsets: Integers,
    decay: Reals,
    values: RealTable,
    alone: Flags,
    start: RealTable,
) -> None:
    """Start values of pixels: weighted means over their good neighbours, or what the heaviest of the new ones has.

    Parameters
    ----------
    places : int64 (n,)
        Where the pixels are.
    values : float64 (all, n_parameters)
        Values; NaN where a component takes no part, which does not count.
    alone : bool (n,)
        Whether to begin from one neighbour: of those that a pixel gained since it was tried the heaviest, of equal ones
        the first.
    start : float64 (n, n_parameters)
        Filled; NaN where no neighbour has a value.
    """
    for k in range(places.size):
        place = places[k]
        heaviest, one = 0.0, -1
        for o in range(offsets.size):
            other = place + offsets[o]
            if (
                alone[k]
                and mark[other] == GOOD
                and gained[other] > tried[place]
                and weight[other] * decay[o] > heaviest
            ):
                heaviest, one = weight[other] * decay[o], other
        for p in range(values.shape[1]):
            if one >= 0:
                start[k, p] = values[one, p]
                continue
            total = sum_of_weights = 0.0
            for o in range(offsets.size):
                other = place + offsets[o]
                if mark[other] == GOOD and not math.isnan(values[other, p]):
                    w = weight[other] * decay[o]
                    total += w * values[other, p]
                    sum_of_weights += w
            start[k, p] = total / sum_of_weights if sum_of_weights > 0.0 else math.nan
