"""Estimators of steps, from the levels on both sides and the areas between data and a sharp step."""

from __future__ import annotations

import math

import numpy as np

from xfit.modeling.estimators.rows import Estimates, edges_of, filled, levels, pick, sums


def _step(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    r"""Level on the left, height, place and softness of a step.

    The place is where a sharp step would have the area of the data; the softness is the area between that step and the
    data over the height. Both are integrals, so that noise averages out.
    """
    y = filled(x, y)
    left, right = levels(y)
    height = right - left
    low, high = x[0] - width[0] / 2, x[-1] + width[-1] / 2
    total = width.sum()
    place = high - (y * width).sum(axis=1) / height * (high - low) / total + left / height * (high - low)
    place = np.clip(place, x[0], x[-1])
    below = x < place[:, None]
    between = np.where(below, y - left[:, None], right[:, None] - y) * width
    softness = between.sum(axis=1) / height
    return left, height, place, np.maximum(softness, 0.1 * total / x.size)


def erf(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    r"""Estimate an error function: the area between it and a sharp step is :math:`A\sigma\sqrt{2/\pi}`.

    One that falls is one of negative sigma.
    """
    _, height, place, softness = _step(x, y, width)
    return {"A": np.abs(height), "sigma": np.sign(height) * softness * math.sqrt(math.pi / 2), "origin": place}


def logistic(x: np.ndarray, y: np.ndarray, width: np.ndarray, *, b: float) -> Estimates:
    r"""Estimate a logistic function: the area between it and a sharp step is :math:`2\ln 2\,a/c`; b stays as it is."""
    left, height, place, softness = _step(x, y, width)
    # One that falls is one of negative c: its level on the left is not zero.
    falls = np.abs(left) > np.abs(left + height)
    steepness = np.where(falls, -1.0, 1.0) * 2 * math.log(2) / softness
    return {
        "a": np.where(falls, left, left + height),
        "b": np.full(len(y), b),
        "c": steepness,
        "origin": place - math.log(b) / steepness if b > 0 else place,
    }


def arctan(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    """Estimate an inverse tangent; its tails never end, so that its width is that of the middle, roughly."""
    _, height, place, softness = _step(x, y, width)
    return {"A": height / math.pi * 1.1, "k": 1 / softness, "x0": place}


def eels_arctan(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    """Estimate an inverse tangent that is zero at one end, on the left for positive k; see `arctan`."""
    left, height, place, softness = _step(x, y, width)
    falls = np.abs(left) > np.abs(left + height)
    return {
        "A": np.where(falls, left, left + height) / math.pi * 1.1,
        "k": np.where(falls, -1.0, 1.0) / softness,
        "x0": place,
    }


def heaviside(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    """Estimate a sharp step by least squares: at the edge of a channel from which on the mean explains most."""
    y = filled(x, y)
    total, length = sums(y * width), np.concatenate([[0.0], np.cumsum(width)])
    above = total[:, -1:] - total[:, :-1]
    place = (above**2 / (length[-1] - length[:-1])).argmax(axis=1)
    return {"A": pick(above, place) / (length[-1] - length[place]), "n": edges_of(x)[place]}
