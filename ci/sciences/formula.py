"""A formula of a science: its text, the same written by hand in NumPy, its parameters, and where it is fitted."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

N_CHANNELS = 101


@dataclass(frozen=True)
class Formula:
    """A formula with all that a comparison of two fits of it needs.

    Parameters
    ----------
    name : str
        What it is called.
    text : str
        In the language of `xfit.components.Expression`.
    reference : callable
        ``reference(x, *parameters)`` in NumPy, written by hand from the source and not from the text.
    parameters : mapping of str to (float, float)
        True value and start value of each parameter, in the order of the reference's arguments.
    ranges : sequence of tuple
        ``(first, last)`` of equidistant channels, or ``(first, last, core)`` of channels that are dense within ``core``
        about zero and reach far from there.
    source : str
        Where the formula comes from.
    bounds : mapping of str to (float, float), optional
        Bounds that both fits have, where the formula's domain demands them.

    Raises
    ------
    ValueError
        If the parameters are not the reference's arguments.
    """

    name: str
    text: str
    reference: Callable[..., Any]
    parameters: Mapping[str, tuple[float, float]]
    ranges: tuple[tuple[float, ...], ...]
    source: str
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        arguments = list(inspect.signature(self.reference).parameters)[1:]
        if arguments != list(self.parameters):
            raise ValueError(f"{self.name}: parameters {list(self.parameters)} must be the reference's {arguments}")

    @property
    def truth(self) -> np.ndarray:
        """True values."""
        return np.array([true for true, _ in self.parameters.values()], float)

    @property
    def start(self) -> np.ndarray:
        """Start values."""
        return np.array([start for _, start in self.parameters.values()], float)

    def values(self, x: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """The formula in NumPy, which may overflow where its limit is finite."""
        with np.errstate(all="ignore"):
            return np.broadcast_to(self.reference(x, *parameters), x.shape).astype(float)


def channels(limits: tuple[float, ...]) -> np.ndarray:
    """Coordinate of a range; exactly 0 where it begins or has its middle there."""
    first, last = limits[:2]
    core = limits[2] if len(limits) > 2 else None
    if core is None:
        return np.linspace(first, last, N_CHANNELS)
    return core * np.sinh(np.linspace(np.arcsinh(first / core), np.arcsinh(last / core), N_CHANNELS))


def data(formula: Formula, limits: tuple[float, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Coordinate and data: the truth, deviations that no parameter follows, and noise.

    Channels in which the formula itself has no finite value at the truth, such as 0/0, are left out.
    """
    x = channels(limits)
    y = formula.values(x, formula.truth)
    known = np.isfinite(y)
    x, y = x[known], y[known]
    scale = np.abs(y).max()
    noise = np.random.default_rng(seed).normal(0.0, 5e-3 * scale, y.size)
    return x, y + 1e-3 * scale * np.sin(37.0 * np.arange(y.size)) + noise
