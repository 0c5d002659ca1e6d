"""PixelProblem: the fit of one pixel as functions of its free parameters, for optimizers that are written in Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xfit.engine.block.cancellation import check
from xfit.engine.block.options import Columns
from xfit.engine.block.tied_values import slopes_of_ties
from xfit.engine.evaluation.loss_functions import LEAST_SQUARES
from xfit.engine.evaluation.state import UNKNOWN, Problem, state_of
from xfit.engine.losses import Loss
from xfit.engine.math.cholesky import triangle
from xfit.engine.pixel.objective import begin_pixel, deviations_at, end_pixel, loss_at
from xfit.engine.pixel.rows import Block, Limits
from xfit.engine.pixel.scalars import CRITERIA
from xfit.engine.pixel.status import CONVERGED

#: What a loss that is not finite counts as: larger than any, but finite, for line searches do not know infinities.
ENORMOUS = 1e100


@dataclass(frozen=True)
class Pixels:
    """Pixels of a block that are fitted by the same model with the same free parameters.

    Attributes
    ----------
    problem, block, response, free, limits
        See `xfit.engine.block.pixel_loop.fit_pixels`.
    y, variance : float64 or float32 (n_pixels, n_channels)
        Data and variance as linear fits read them.
    loss : Loss
        What is minimised; it may be a Python function of arrays, of which ``limits`` knows nothing.
    varying : frozenset of str
        What differs from pixel to pixel: "start", "variance", "where", "response".
    """

    problem: Problem
    block: Block
    response: np.ndarray
    free: np.ndarray
    limits: Limits
    loss: Loss
    y: np.ndarray
    variance: np.ndarray
    varying: frozenset[str] = frozenset()


class UnknownDerivativeError(ArithmeticError):
    """A derivative that is not finite where the model is; it ends the fit of a pixel."""


class PixelProblem:
    """Loss, deviations and derivatives of one pixel after another.

    Parameters
    ----------
    pixels : Pixels
        Which they are.
    """

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels
        self._channels = pixels.block.y.shape[1]
        self._state = state_of(pixels.problem, pixels.free, self._channels)
        self.nfev = 0

    def begin(self, i: int) -> bool:
        """Turn to a pixel; False where it can't be fitted, which is written already."""
        p, s = self.pixels, self._state
        ready = begin_pixel(p.problem, s, p.block, p.response, i)
        self._i, self.nfev, self.used = i, 0, s.used
        self._kept: tuple[bytes, float] = (b"", 0.0)
        self.best: tuple[float, np.ndarray] = (ENORMOUS, s.first.copy())
        return bool(ready)

    @property
    def start(self) -> np.ndarray:
        """Start values of the free parameters."""
        return self._state.first.copy()

    @property
    def parameters(self) -> np.ndarray:
        """All parameters where the pixel was evaluated last, or begins."""
        return self._state.q.copy()

    @property
    def used_channels(self) -> np.ndarray:
        """Which channels count, bool (n_channels,)."""
        used: np.ndarray = self._state.m[: self._channels] != 0.0
        return used

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds of the free parameters."""
        return self._state.lower.copy(), self._state.upper.copy()

    def inside(self, theta: np.ndarray) -> np.ndarray:
        """Parameters moved to the nearer bound where rounding has taken them beyond."""
        return np.minimum(np.maximum(np.asarray(theta, np.float64), self._state.lower), self._state.upper)

    def loss(self, theta: np.ndarray) -> float:
        """Loss at the free parameters ``theta`` (n_free,)."""
        check()
        theta = self.inside(theta)
        key = theta.tobytes()
        if self._kept[0] != key:
            self.nfev += 1
            value = self._of_arrays(theta) if self.pixels.loss.function is not None else self._of_engine(theta)
            self._kept = (key, value if np.isfinite(value) else ENORMOUS)
            if self._kept[1] < self.best[0]:
                self.best = (self._kept[1], theta)
        return self._kept[1]

    def _of_engine(self, theta: np.ndarray) -> float:
        return float(loss_at(self.pixels.problem, self._state, theta))

    def _of_arrays(self, theta: np.ndarray) -> float:
        """Loss by a user's function, of the channels in use."""
        model, y, weight = self.curve(theta)
        function: Any = self.pixels.loss.function
        value = np.asarray(function(y, model, weight))
        if value.shape != ():
            raise TypeError(
                f"the loss {self.pixels.loss.name!r} returned an array of shape {value.shape}; it must return one "
                "number"
            )
        return float(value)

    def curve(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Model, data and weights (inverse variances) of the channels in use."""
        deviations, _ = self.deviations(theta)
        factor, weighted = self._state.m[: self._channels], self._state.y[: self._channels]
        used = factor != 0.0
        # For binned data the factor has the channel's width in it, which cancels out of what is compared.
        width = self.pixels.block.width if self.pixels.block.width.size else np.ones(self._channels)
        root = factor[used] / width[used]
        return (deviations[used] + weighted[used]) / root, weighted[used] / root, root**2

    def seen_by_kernel(self, theta: np.ndarray) -> np.ndarray:
        """Data, model and weights of the channels in use as a compiled loss of a user's is given them: (3, n_used)."""
        deviations, _ = self.deviations(theta)
        used, weighted = self.used_channels, self._state.y[: self._channels]
        return np.stack(
            [weighted[used], deviations[used] + weighted[used], self._state.weight_of_channels[: self._channels][used]]
        )

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        """Gradient of the loss (n_free,).

        Raises
        ------
        UnknownDerivativeError
            Where it is not finite although the loss is.
        """
        self._derived(theta)
        count = self.pixels.free.size
        return -2.0 * self._state.gram[triangle(count) : triangle(count) + count]

    def hessian(self, theta: np.ndarray) -> np.ndarray:
        """Matrix of second derivatives by Gauss and Newton (n_free, n_free); raises as `gradient`."""
        self._derived(theta)
        count = self.pixels.free.size
        lower = np.zeros((count, count))
        lower[np.tril_indices(count)] = self._state.gram[: triangle(count)]
        return 2.0 * (lower + np.tril(lower, -1).T)

    def _derived(self, theta: np.ndarray) -> None:
        """Leave loss and derivatives of the engine in the workspace."""
        if self.loss(theta) < ENORMOUS and self._state.flags[UNKNOWN] != 0:
            raise UnknownDerivativeError

    def jacobian(self, theta: np.ndarray) -> np.ndarray:
        """Jacobian of the deviations (n_channels, n_free); raises as `gradient`."""
        found = self.deviations(theta)[1].copy()
        if not np.isfinite(found).all():
            raise UnknownDerivativeError
        return found

    def deviations(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Deviations of the model from the data in standard deviations (n_channels,) and their
        Jacobian (n_channels, n_free).
        """
        check()
        s = self._state
        kind = s.kind
        s.kind = LEAST_SQUARES
        deviations_at(self.pixels.problem, s, self.inside(theta))
        s.kind = kind
        self._kept = (b"", 0.0)
        rows = self._state.jacobian[:, : self._channels]
        return -rows[-1], rows[:-1].T

    def linear_map(self) -> tuple[np.ndarray, np.ndarray]:
        """All parameters as linear functions of the free ones near the start, where their
        ties are: (n,) and (n, n_free).

        What belongs to components that are switched off is NaN.
        """
        p, q, ties = self.pixels, self._state.q, self.pixels.problem.ties
        start = self.start
        slopes = np.zeros((q.size, start.size))
        slopes[p.free, np.arange(start.size)] = 1.0
        derivative = slopes_of_ties(ties, q)
        # From the end: what a tie follows comes after it.
        for d in reversed(range(ties.row.size)):
            slopes[ties.tied[ties.row[d]]] += derivative[d] * slopes[ties.column[d]]
        offset = q - slopes @ start
        offset[p.problem.structure.idle] = np.nan
        return offset, slopes

    def end(self, theta: np.ndarray, otherwise: int) -> None:
        """Write the pixel as one whose fit ended at ``theta``, with the status ``otherwise`` if that is no minimum."""
        p = self.pixels
        theta = self.inside(theta)
        mine = self.loss(theta) if p.loss.function is not None else 0.0
        end_pixel(
            p.problem, self._state, p.block, self._i, theta, otherwise, p.loss.function is None, self.nfev, p.limits
        )
        if p.loss.function is not None:
            self._overwrite(mine, otherwise)

    def _overwrite(self, loss: float, status: int) -> None:
        """Take out of a pixel's row what is of least squares: a Python function has no errors and no likelihood."""
        columns, row = self._columns, self.pixels.block.out[self._i]
        row[columns.slices["stderr"]] = np.nan
        row[columns.after_scalars.start :] = np.nan
        for name in CRITERIA:
            row[columns.scalar(name)] = np.nan
        row[columns.scalar("loss")] = loss
        row[columns.scalar("status")] = status

    @property
    def _columns(self) -> Columns:
        return Columns(self.pixels.block.start.shape[1])

    @property
    def converged(self) -> bool:
        """Whether the pixel that was written last has converged."""
        return bool(self.pixels.block.out[self._i, self._columns.scalar("status")] == CONVERGED)

    @property
    def red_chisq(self) -> float:
        """Reduced chi-squared of the pixel that was written last."""
        return float(self.pixels.block.out[self._i, self._columns.scalar("red_chisq")])
