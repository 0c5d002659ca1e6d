"""How the pixels of a block are fitted, the numbers of a model for one fit, and the layout of packed results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from xfit.engine.losses import LEAST_SQUARES, Loss
from xfit.engine.pixel.packed_row import at_bound_at, further_at, scalars_at, stderr_at
from xfit.engine.pixel.scalars import SCALARS


@dataclass(frozen=True)
class FitOptions:
    """How the pixels of a block are fitted; small, immutable and picklable.

    Attributes
    ----------
    tolerance : float
        A fit stops where its estimated distance to the minimum, in units of the residual variance, is below this.
    max_nfev : int or None
        Largest number of model evaluations of a pixel; None is ``100 * (n_free + 1)`` for each of
        two attempts.
    scale_covariance : bool
        Whether errors are scaled by the square root of the reduced chi-squared.
    covariance : bool
        Whether the covariance matrix of every pixel is kept.
    pairs : tuple of (int, int)
        Positions of pairs of parameters whose covariance is kept.
    loss : Loss
        What is minimised.
    starts : int
        From how many points each fit begins; the lowest minimum is kept.
    spread : tuple of (str, float)
        How far around the given start the others lie, by full parameter name; for the rest the bounds say it.
    chained : bool
        Whether each pixel begins where the one before it ended.
    optimizer : str
        Its name; see `xfit.engine.block.optimizers`.
    grad : {"exact", "2-point", "3-point", "cs"}
        Derivatives: compiled or, for SciPy's optimizers, by differences.
    optimizer_options : tuple of (str, any)
        Options of SciPy's optimizers.
    noise : tuple of float, optional
        Gain, offset and correlation of the detector, where the variance is to be estimated from the data.
    alpha : float
        Penalty on the sum of the squares of the parameters, of linear fits.
    """

    tolerance: float = 1e-12
    max_nfev: int | None = None
    scale_covariance: bool = True
    covariance: bool = False
    pairs: tuple[tuple[int, int], ...] = ()
    loss: Loss = LEAST_SQUARES
    starts: int = 1
    spread: tuple[tuple[str, float], ...] = ()
    chained: bool = False
    optimizer: str = "lm"
    grad: str = "exact"
    optimizer_options: tuple[tuple[str, Any], ...] = ()
    noise: tuple[float, float, float] | None = None
    alpha: float = 0.0


@dataclass(frozen=True)
class Columns:
    """Where each variable lies in a packed row.

    Parameters
    ----------
    n : int
        Number of parameters.
    covariance : bool
        Whether the covariance matrix is at the end.
    pairs : int
        Number of pairs of parameters whose covariance is kept.
    bias : bool
        Whether the bias of a penalty is at the very end.
    """

    n: int
    covariance: bool = False
    pairs: int = 0
    bias: bool = False

    @classmethod
    def of(cls, n: int, options: FitOptions) -> Columns:
        """Columns of a fit of ``n`` parameters."""
        return cls(n, options.covariance, len(options.pairs), options.alpha > 0)

    @property
    def total(self) -> int:
        """Length of a packed row."""
        matrix = self.n**2 if self.covariance else 0
        return further_at(self.n) + self.pairs + matrix + (self.n if self.bias else 0)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Columns of each variable."""
        n = self.n
        found = {
            "value": slice(0, stderr_at(n)),
            "stderr": slice(stderr_at(n), at_bound_at(n)),
            "at_bound": slice(at_bound_at(n), scalars_at(n)),
        }
        found |= {name: slice(scalars_at(n) + k, scalars_at(n) + k + 1) for k, name in enumerate(SCALARS)}
        at = further_at(n)
        if self.pairs:
            found["pair_covariance"] = slice(at, at + self.pairs)
        if self.covariance:
            found["covariance"] = slice(at + self.pairs, at + self.pairs + n**2)
        if self.bias:
            found["bias"] = slice(self.total - n, self.total)
        return found

    def scalar(self, name: str) -> int:
        """Column of a number that a pixel has once, such as "status"; see `xfit.engine.pixel.scalars`."""
        return scalars_at(self.n) + list(SCALARS).index(name)

    @property
    def of_values(self) -> slice:
        """Columns with values, errors and bounds met."""
        return slice(0, scalars_at(self.n))

    @property
    def after_scalars(self) -> slice:
        """Columns with covariances and bias."""
        return slice(further_at(self.n), self.total)

    def of_parameters(self, positions: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
        """Columns with values, errors, bounds met, covariances and bias of parameters, given the
        pairs whose covariance is kept.
        """
        among = np.isin(np.arange(self.n), positions)
        marks = {"value": among, "stderr": among, "at_bound": among, "bias": among}
        marks["covariance"] = (among[:, None] | among).ravel()
        marks["pair_covariance"] = np.array([among[a] or among[b] for a, b in pairs], bool)
        found = [np.arange(part.start, part.stop)[marks[name]] for name, part in self.slices.items() if name in marks]
        return np.concatenate(found)


@dataclass(frozen=True)
class Settings:
    """The numbers of a model for one fit: what the compiled program leaves open.

    Attributes
    ----------
    start, lower, upper : float64 (n_parameters,)
        Start values (of fixed parameters: their values) and bounds.
    free : bool (n_parameters,)
        Which parameters are fitted; tied ones are not free.
    active : bool (n_components,)
        Which components take part.
    """

    start: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    free: np.ndarray
    active: np.ndarray
