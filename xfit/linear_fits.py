"""Linear fits of a block: one design for all pixels where they share it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xfit.kernels.linear import Shared, fit_alike, fit_linear_singly, fit_weighted
from xfit.kernels.linear_rows import Affine, small_of
from xfit.kernels.pixel import buffer_of
from xfit.kernels.workspace import workspace
from xfit.pixel_problem import PixelProblem, Pixels

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
    affine : Affine
        All parameters as linear functions of the free ones.
    """

    columns: np.ndarray
    base: np.ndarray
    affine: Affine


class Alike(NamedTuple):
    """A design with weights that all pixels share, decomposed; see `xfit.kernels.linear.fit_alike`."""

    rows: np.ndarray
    weight: np.ndarray
    directions: np.ndarray
    mixed: np.ndarray
    to_solution: np.ndarray
    used: int
    logs: float


Known = dict[bytes, tuple[Design | None, Alike | None, Shared | None]]


def fit_linear(pixels: Pixels, which: np.ndarray, known: Known) -> None:
    """Fit the listed pixels and write their rows.

    Parameters
    ----------
    which : int64 (any,)
        Which pixels.
    known : dict
        Designs of this block's models, by their active components; filled.
    """
    structure = pixels.structure
    key = b"|".join(each.tobytes() for each in (structure.address, structure.first, structure.idle, pixels.free))
    shared = not pixels.varying & {"start", "response"}
    left = which
    if shared and which.size:
        if key not in known:
            design = _design(pixels)
            plain = not pixels.varying & {"variance", "where"}
            alike = _alike(pixels, design) if design is not None and plain and _unbounded(pixels) else None
            together = None if design is None else _shared(pixels, design, plain)
            known[key] = design, alike, together
        design, alike, equations = known[key]
        if design is not None and alike is not None:
            left = _fit_alike(pixels, design, alike, which)
        if design is not None and equations is not None and left.size:
            left = _fit_weighted(pixels, design, equations, left)
    if left.size:
        _fit_singly(pixels, left)


def _unbounded(pixels: Pixels) -> bool:
    """Whether nothing but least squares decides: no bounds, no penalty."""
    block, free = pixels.block, pixels.free
    inside = np.isneginf(block.lower[:, free]).all() and np.isposinf(block.upper[:, free]).all()
    return bool(inside) and pixels.limits.alpha == 0.0


def _design(pixels: Pixels) -> Design | None:
    """Take the design from the engine: derivatives of a pixel without data at the start values."""
    block = pixels.block
    m = block.y.shape[1]
    empty = block._replace(
        start=block.start[:1],
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
        return None
    start = problem.start
    model, jacobian = problem.deviations(start)
    columns = np.ascontiguousarray(jacobian)
    base = model - columns @ start
    if not (np.isfinite(columns).all() and np.isfinite(base).all()):
        return None
    offset, slopes = problem.linear_map()
    row, column = np.nonzero(slopes)
    first = np.searchsorted(row, np.arange(offset.size + 1)).astype(np.int64)
    return Design(columns, base, Affine(offset, first, column.astype(np.int64), slopes[row, column]))


def _alike(pixels: Pixels, design: Design) -> Alike | None:
    """Decompose a design that all pixels share with its weights; None where its columns depend on each other."""
    block, k = pixels.block, pixels.free.size
    weight = _shared_weights(pixels)
    used = int((weight > 0).sum())
    if used < max(k, 1) or np.isnan(weight).any():
        return None
    root = np.sqrt(weight)
    scaled = design.columns * root[:, None]
    norm = np.sqrt((scaled**2).sum(0))
    if not (norm > 0).all():
        return None
    u, sizes, vt = np.linalg.svd(scaled / norm, full_matrices=False)
    if sizes[-1] <= _RANK * sizes[0]:
        return None
    directions = np.zeros((-(-k // 3) * 3, weight.size))
    directions[:k] = u.T * root
    logs = -np.log(weight[weight > 0]).sum() if block.variance.size else 0.0
    rows = np.ascontiguousarray(design.columns.T)
    return Alike(rows, weight, directions, directions @ design.base, vt.T / sizes / norm[:, None], used, float(logs))


def _fit_alike(pixels: Pixels, design: Design, alike: Alike, which: np.ndarray) -> np.ndarray:
    """Fit pixels that share design and weights; return those with channels of their own left out."""
    block = pixels.block
    left = np.empty_like(which)
    number = fit_alike(
        block.y, which, design.base, *alike, design.affine, block.pairs, pixels.limits, small_of(pixels.free),
        np.full(block.out.shape[1], np.nan), left, block.out,
    )  # fmt: skip
    return left[:number]


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


def _shared(pixels: Pixels, design: Design, plain: bool) -> Shared:
    """Normal equations of pixels with the same weights; of none if they are not the same."""
    weight = _shared_weights(pixels) if plain else np.full(design.base.size, np.nan)
    k, m = pixels.free.size, weight.size
    rows = np.zeros((-(-k // 3) * 3, m))
    if np.isnan(weight).any():
        return Shared(weight, rows[:0], weight[:0], rows[:0], 0, 0.0)
    rows[:k] = design.columns.T * weight
    logs = -np.log(weight[weight > 0]).sum() if pixels.block.variance.size else 0.0
    used = int((weight > 0).sum())
    return Shared(weight, rows, rows @ design.base, rows[:k] @ design.columns, used if used >= k else 0, float(logs))


def _fit_weighted(pixels: Pixels, design: Design, shared: Shared, which: np.ndarray) -> np.ndarray:
    """Fit pixels by normal equations; return those that need a QR factorisation."""
    block, free = pixels.block, pixels.free
    k, m = free.size, block.y.shape[1]
    if not design.columns.any(axis=0).all():
        return which
    rows = np.zeros((-(-k // 3) * 3, m))
    rows[:k] = design.columns.T
    left = np.empty_like(which)
    number = fit_weighted(
        block.y, block.variance, block.where, np.ascontiguousarray(block.lower[:, free]), np.ascontiguousarray(block.upper[:, free]), which,
        design.base, block.width, rows, np.empty(m), np.empty(m), shared, design.affine, block.pairs, pixels.limits,
        small_of(free), left, block.out,
    )  # fmt: skip
    return left[:number]


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
