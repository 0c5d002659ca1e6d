"""Workloads: small problems made with a fixed seed, described by their parts, from which
every tool makes its own model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import voigt_profile


def _gaussian(x: np.ndarray, area: float, centre: float, sigma: float) -> np.ndarray:
    return area / (sigma * np.sqrt(2 * np.pi)) * np.exp(-((x - centre) ** 2) / (2 * sigma**2))


def _voigt(x: np.ndarray, area: float, centre: float, sigma: float, gamma: float) -> np.ndarray:
    return area * voigt_profile(x - centre, sigma, gamma)


#: Kinds of parts: their functions of x and parameters.
SHAPES: dict[str, Callable[..., np.ndarray]] = {
    "gaussian": _gaussian,
    "voigt": _voigt,
    "offset": lambda x, offset: offset + np.zeros_like(x),
    "line": lambda x, a0, a1: a0 + a1 * x,
    "power law": lambda x, factor, r: factor * x**-r,
}


@dataclass(frozen=True)
class Part:
    """One term of a model.

    Attributes
    ----------
    kind : str
        Key of `SHAPES`.
    truth, start : tuple of float
        Parameters that data are made with, and from where fits begin.
    bounds : tuple of (float, float)
        Of each parameter; empty for none.
    """

    kind: str
    truth: tuple[float, ...]
    start: tuple[float, ...]
    bounds: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Workload:
    """A problem: a model and spectra of it.

    Attributes
    ----------
    name, title : str
        What it is called.
    parts : tuple of Part
        The model.
    x : float64 (n_channels,)
        Evenly spaced.
    noise : float
        Standard deviation of the data.
    """

    name: str
    title: str
    parts: tuple[Part, ...]
    x: np.ndarray
    noise: float

    @property
    def is_bounded(self) -> bool:
        """Whether fits keep bounds."""
        return any(part.bounds for part in self.parts)

    @property
    def start(self) -> np.ndarray:
        """Start of all parameters, part after part."""
        return np.array([value for part in self.parts for value in part.start])

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds of all parameters."""
        pairs = [pair for part in self.parts for pair in part.bounds or [(-np.inf, np.inf)] * len(part.start)]
        return np.array([low for low, _ in pairs]), np.array([high for _, high in pairs])

    def __call__(self, x: np.ndarray, *values: float) -> np.ndarray:
        """Evaluate the model."""
        total, at = np.zeros_like(x), 0
        for part in self.parts:
            total = total + SHAPES[part.kind](x, *values[at : at + len(part.start)])
            at += len(part.start)
        return total

    def data(self, pixels: int) -> np.ndarray:
        """Spectra (pixels, channels), each with parameters of its own within 5 % of the truth; the
        first are the same for any number.
        """
        truth = np.array([value for part in self.parts for value in part.truth])
        rows = []
        for pixel in range(pixels):
            random = np.random.default_rng([20, pixel])
            rows.append(
                self(self.x, *(truth * random.uniform(0.95, 1.05, truth.size)))
                + random.normal(0, self.noise, self.x.size)
            )
        return np.array(rows)


WORKLOADS: tuple[Workload, ...] = (
    Workload(
        "gaussian",
        "Gaussian + offset, 128 channels, 4 parameters",
        (Part("gaussian", (50, 5, 0.8), (30, 4.7, 1.0)), Part("offset", (3,), (1,))),
        np.linspace(0, 10, 128),
        0.5,
    ),
    Workload(
        "edge",
        "power law + two Gaussians, 512 channels, 8 parameters, with bounds",
        (
            Part("power law", (100, 2.5), (80, 2.2), ((0, 1e4), (0, 6))),
            Part("gaussian", (4, 2.5, 0.15), (3, 2.4, 0.2), ((0, 1e3), (2, 3), (0.02, 1))),
            Part("gaussian", (6, 4.0, 0.3), (4, 4.2, 0.25), ((0, 1e3), (3.5, 4.5), (0.02, 1))),
        ),
        np.linspace(1, 6, 512),
        0.4,
    ),
    Workload(
        "voigt",
        "Voigt + straight line, 256 channels, 6 parameters",
        (Part("voigt", (60, 5, 0.4, 0.3), (40, 5.2, 0.5, 0.2)), Part("line", (2, 0.3), (1, 0))),
        np.linspace(0, 10, 256),
        0.3,
    ),
)


def workload_of(name: str, among: Sequence[Workload] = WORKLOADS) -> Workload:
    """Find a workload by its name.

    Raises
    ------
    ValueError
        For an unknown name, listing those there are.
    """
    found = {workload.name: workload for workload in among}
    if name not in found:
        raise ValueError(f"no workload {name!r}; there are {', '.join(found)}")
    return found[name]
