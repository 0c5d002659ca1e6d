"""The Gram matrix of a few long rows, register-blocked: the larger part of a fit's arithmetic."""

from __future__ import annotations

import numpy as np

from xfit.engine.math.jit import inner, sums


@sums
def _block3(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, u: np.ndarray, v: np.ndarray, w: np.ndarray, n: int
) -> tuple[float, float, float, float, float, float, float, float, float]:
    """Nine dot products of three rows with three rows, each row loaded once."""
    au = av = aw = bu = bv = bw = cu = cv = cw = 0.0
    for i in range(n):
        ai, bi, ci, ui, vi, wi = a[i], b[i], c[i], u[i], v[i], w[i]
        au += ai * ui
        av += ai * vi
        aw += ai * wi
        bu += bi * ui
        bv += bi * vi
        bw += bi * wi
        cu += ci * ui
        cv += ci * vi
        cw += ci * wi
    return au, av, aw, bu, bv, bw, cu, cv, cw


@sums
def _triangle3(a: np.ndarray, b: np.ndarray, c: np.ndarray, n: int) -> tuple[float, float, float, float, float, float]:
    """The six distinct dot products among three rows."""
    aa = ab = ac = bb = bc = cc = 0.0
    for i in range(n):
        ai, bi, ci = a[i], b[i], c[i]
        aa += ai * ai
        ab += ai * bi
        ac += ai * ci
        bb += bi * bi
        bc += bi * ci
        cc += ci * ci
    return aa, ab, ac, bb, bc, cc


@inner
def add_gram(tile: np.ndarray, rows: np.ndarray, count: int, n: int, gram: np.ndarray) -> None:
    """Add the dot products of ``count`` rows of a tile to the lower triangle of ``gram``.

    Parameters
    ----------
    tile : float64 (all rows, PITCH)
        Jacobian rows and the residual.
    rows : int64 (at least count rounded up to a multiple of three,)
        Which rows of the tile; what fills up the last group of three repeats a row and is not kept.
    count, n : int
        Number of rows and of channels.
    gram : float64 (at least count, at least count)
        The sums, added to in place.
    """
    for i in range(0, count, 3):
        a, b, c = tile[rows[i]], tile[rows[i + 1]], tile[rows[i + 2]]
        for j in range(0, i, 3):
            u, v, w = tile[rows[j]], tile[rows[j + 1]], tile[rows[j + 2]]
            au, av, aw, bu, bv, bw, cu, cv, cw = _block3(a, b, c, u, v, w, n)
            gram[i, j] += au
            gram[i, j + 1] += av
            gram[i, j + 2] += aw
            if i + 1 < count:
                gram[i + 1, j] += bu
                gram[i + 1, j + 1] += bv
                gram[i + 1, j + 2] += bw
            if i + 2 < count:
                gram[i + 2, j] += cu
                gram[i + 2, j + 1] += cv
                gram[i + 2, j + 2] += cw
        aa, ab, ac, bb, bc, cc = _triangle3(a, b, c, n)
        gram[i, i] += aa
        if i + 1 < count:
            gram[i + 1, i] += ab
            gram[i + 1, i + 1] += bb
        if i + 2 < count:
            gram[i + 2, i] += ac
            gram[i + 2, i + 1] += bc
            gram[i + 2, i + 2] += cc
