"""Speeds over interleaved rounds: a slow spell of the machine meets all tools of a round."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Speeds:
    """Fits per second of one tool over the rounds.

    Attributes
    ----------
    median, low, high : float
        Over the rounds.
    lead : float or None
        Median over the rounds of how many times faster the reference was in the same round; None without any.
    """

    median: float
    low: float
    high: float
    lead: float | None


def speeds_of(rounds: Sequence[float | None], reference: Sequence[float | None]) -> Speeds | None:
    """Summarise rounds, of which some may have failed (None); None where all have.

    Parameters
    ----------
    rounds, reference : sequence of float or None
        Fits per second of a tool and of the reference, round by round.

    Examples
    --------
    >>> speeds_of([100, 50, None], [400, 300, 500])
    Speeds(median=75.0, low=50, high=100, lead=5.0)
    """
    done = [speed for speed in rounds if speed is not None]
    if not done:
        return None
    ratios = [
        mine / theirs
        for mine, theirs in zip(reference, rounds, strict=False)
        if mine is not None and theirs is not None
    ]
    return Speeds(statistics.median(done), min(done), max(done), statistics.median(ratios) if ratios else None)
