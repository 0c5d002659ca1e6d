"""Linear fits of a block: all pixels at once where they share the design, by products of large matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xfit.kernels.linear import fit_linear_singly, solve_rows, weigh_rows, write_rows
from xfit.kernels.pixel import buffer_of
from xfit.kernels.status import SINGULAR
from xfit.kernels.workspace import workspace
from xfit.pixel_problem import PixelProblem, Pixels

#: Pixels whose matrices are multiplied at a time: their data, weights and products stay in the cache.
_ROWS = 128

#: Singular values of the design below this part of the largest are zero.
_RANK = 1e-13


@dataclass(frozen=True)
class Design:
    """The model of all pixels as a linear function of the free parameters.

    Attributes
    ----------
    columns : float64 (n_channels, k)
        Derivatives, times the channel widths of binned data.
    base : float64 (n_channels,)
        The model with all free parameters at zero.
    offset, slopes : float64 (n_parameters,), float64 (n_parameters, k)
        All parameters as linear functions of the free ones.
    """

    columns: np.ndarray
    base: np.ndarray
    offset: np.ndarray
    slopes: np.ndarray


def fit_linear(pixels: Pixels, which: np.ndarray) -> None:
    """Fit the listed pixels and write their rows."""
    block = pixels.block
    shared = block.start.shape[0] == 1 and pixels.response.shape[0] == 1
    left = which
    if shared and which.size:
        design = _design(pixels)
        if np.isfinite(design.columns).all() and np.isfinite(design.base).all():
            plain = block.variance.shape[0] == 1 and block.where.shape[0] == 1
            left = _fit_alike(pixels, design, which) if plain and _unbounded(pixels) else which
            if left.size:
                left = _fit_weighted(pixels, design, left)
    if left.size:
        _fit_singly(pixels, left)


def _unbounded(pixels: Pixels) -> bool:
    """Whether nothing but least squares decides: no bounds, no penalty."""
    block, free = pixels.block, pixels.free
    inside = np.isneginf(block.lower[:, free]).all() and np.isposinf(block.upper[:, free]).all()
    return bool(inside) and pixels.limits.alpha == 0.0


def _design(pixels: Pixels) -> Design:
    """Take the design from the engine: derivatives of a pixel without data at the start values."""
    block = pixels.block
    m = block.y.shape[1]
    empty = block._replace(
        y=np.zeros((1, m)),
        variance=np.empty((1, 0)),
        where=np.empty((1, 0), bool),
        # Starts need not lie within the bounds here.
        lower=np.full((1, block.start.shape[1]), -np.inf),
        upper=np.full((1, block.start.shape[1]), np.inf),
        out=np.full((1, block.out.shape[1]), np.nan),
    )
    problem = PixelProblem(Pixels(pixels.structure, pixels.ties, pixels.x, empty, pixels.response, pixels.free, pixels.limits, pixels.loss))  # fmt: skip
    if not problem.begin(0):
        nothing = np.full((m, pixels.free.size), np.nan)
        return Design(nothing, nothing[:, 0], nothing[0], nothing[:0])
    start = problem.start
    model, jacobian = problem.deviations(start)
    columns = np.ascontiguousarray(jacobian)
    base = model - columns @ start
    offset, slopes = problem.linear_map()
    return Design(columns, base, offset, slopes)


def _fit_alike(pixels: Pixels, design: Design, which: np.ndarray) -> np.ndarray:
    """Fit pixels that share design and weights by one pseudo-inverse; return those with channels of their own left out."""
    block, k = pixels.block, pixels.free.size
    weight = _shared_weights(pixels)
    used = int((weight > 0).sum())
    if weight.size == 0 or used < max(k, 1) or np.isnan(weight).any():
        return which
    root = np.sqrt(weight)
    scaled = design.columns * root[:, None]
    norm = np.sqrt((scaled**2).sum(0))
    if not (norm > 0).all():
        return which
    u, sizes, vt = np.linalg.svd(scaled / norm, full_matrices=False)
    if sizes[-1] <= _RANK * sizes[0]:
        return which
    half = vt.T / sizes / norm[:, None]
    inverse = (half @ u.T * root).T.copy()
    covariance = (half @ half.T)[None]
    logs = -np.log(weight[weight > 0]).sum() if block.variance.size else 0.0
    left = []
    rows = _Rows(pixels, design)
    for first in range(0, which.size, _ROWS):
        batch = which[first : first + _ROWS]
        y = block.y[batch] - design.base
        if used < y.shape[1]:
            y[:, weight == 0] = 0.0
        solution = y @ inverse
        y -= solution @ design.columns.T
        if block.variance.size:
            y *= root
        chisq = np.einsum("ij,ij->i", y, y)
        whole = np.isfinite(chisq)
        if not whole.all():
            left.append(batch[~whole])
            batch, solution, chisq = batch[whole], solution[whole], chisq[whole]
        n = batch.size
        fault = np.zeros(n, np.int64)
        rows.write(batch, fault, np.full(n, used), chisq, np.full(n, logs), np.ascontiguousarray(solution), covariance)
    return np.concatenate(left) if left else which[:0]


def _shared_weights(pixels: Pixels) -> np.ndarray:
    """Inverse variances of the channels of all pixels, zero where one is left out, NaN where one is not valid."""
    block = pixels.block
    weight = np.ones(block.y.shape[1])
    if block.variance.size:
        variance = block.variance[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            weight = np.where(np.isfinite(variance), np.where(variance > 0, 1 / variance, np.nan), 0.0)
    if block.where.size:
        weight = np.where(block.where[0], weight, 0.0)
    return weight


def _fit_weighted(pixels: Pixels, design: Design, which: np.ndarray) -> np.ndarray:
    """Fit pixels by normal equations, all of a batch in one product; return those that need a QR factorisation."""
    block, free = pixels.block, pixels.free
    k, m = free.size, block.y.shape[1]
    norm = np.sqrt((design.columns**2).sum(0))
    if not (norm > 0).all():
        return which
    a, b = np.tril_indices(k)
    products = np.ascontiguousarray(design.columns[:, a] * design.columns[:, b])
    weight, weighted, factor = np.empty((_ROWS, m)), np.empty((_ROWS, m)), np.empty(m)
    rows = _Rows(pixels, design)
    left = []
    for first in range(0, which.size, _ROWS):
        batch = which[first : first + _ROWS]
        n = batch.size
        used, fault, logs = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n)
        y = block.y[batch]
        variance = block.variance if block.variance.shape[0] == 1 else block.variance[batch]
        where = block.where if block.where.shape[0] == 1 else block.where[batch]
        weigh_rows(y, variance, where, design.base, block.width, weight[:n], weighted[:n], factor, used, logs, fault)
        solution, covariance, bias = np.empty((n, k)), np.empty((n, k, k)), np.zeros((n, k))
        lower, upper = rows.bounds(batch)
        solve_rows(
            weight[:n] @ products, weighted[:n] @ design.columns, lower, upper, pixels.limits.alpha, used, fault, solution,
            covariance, bias, np.empty((5 * k + 1, k + 1)), np.empty(k, bool),
        )  # fmt: skip
        solution[fault != 0] = 0.0
        y -= solution @ design.columns.T
        chisq = np.einsum("ij,ij,ij->i", y, y, weight[:n])
        singular = fault == SINGULAR
        left.append(batch[singular])
        keep = ~singular
        rows.write(
            batch[keep], fault[keep], used[keep], chisq[keep], logs[keep], solution[keep], covariance[keep], bias[keep]
        )  # fmt: skip
    return np.concatenate(left) if left else which[:0]


class _Rows:
    """Packed rows of pixels that are solved."""

    def __init__(self, pixels: Pixels, design: Design) -> None:
        self._pixels, self._design = pixels, design
        block, free = pixels.block, pixels.free
        self._lower = np.ascontiguousarray(block.lower[:, free])
        self._upper = np.ascontiguousarray(block.upper[:, free])
        self._scratch = np.empty((block.start.shape[1], free.size))

    def bounds(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds of the free parameters of a batch."""
        if self._lower.shape[0] == 1:
            return self._lower, self._upper
        return self._lower[batch], self._upper[batch]

    def write(
        self,
        batch: np.ndarray,
        fault: np.ndarray,
        used: np.ndarray,
        chisq: np.ndarray,
        logs: np.ndarray,
        solution: np.ndarray,
        covariance: np.ndarray,
        bias: np.ndarray | None = None,
    ) -> None:
        """Write the rows of a batch."""
        pixels = self._pixels
        lower, upper = self.bounds(batch)
        out = np.full((batch.size, pixels.block.out.shape[1]), np.nan)
        write_rows(
            fault, used, chisq, logs, solution, covariance, lower, upper, self._design.offset, self._design.slopes, pixels.free,
            pixels.block.pairs, np.zeros((1, pixels.free.size)) if bias is None else bias, pixels.limits, self._scratch, out,
        )  # fmt: skip
        pixels.block.out[batch] = out


def _fit_singly(pixels: Pixels, which: np.ndarray) -> None:
    """Fit pixels whose design is their own, or whose normal equations are too ill-conditioned."""
    count, n, width = pixels.free.size, pixels.block.start.shape[1], pixels.x.shape[1]
    ws = workspace(n, count, width, pixels.ties.row.size)
    ws.rows[:count] = pixels.free
    ws.rows[count:] = n
    fit_linear_singly(
        pixels.structure, pixels.ties, pixels.x, pixels.block, pixels.response, pixels.free, which, pixels.limits,
        np.empty(count, bool), buffer_of(width, n, count), ws,
    )  # fmt: skip
