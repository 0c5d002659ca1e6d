"""Transforms of sequences side by side: products of transforms give circular convolutions, as NumPy's do."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.vectors import vectors
from xfit.engine.evaluation.fourier import backward, forward, transform_size, twiddles
from xfit.engine.math.layout import LANES

SIZES = [4, 8, 12, 16, 24, 32, 48, 96, 128, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144]


def packed(z: np.ndarray) -> np.ndarray:
    work = vectors(2 * len(z))
    work[:] = np.stack([z.real, z.imag], axis=1).ravel()
    return work


def unpacked(work: np.ndarray) -> np.ndarray:
    parts = work.reshape(-1, 2, LANES)
    return parts[:, 0] + 1j * parts[:, 1]


@pytest.mark.parametrize("size", SIZES)
def test_circular_convolution_of_all_lanes(size: int) -> None:
    random = np.random.default_rng(size)
    one, other = (random.normal(size=(size, LANES)) + 1j * random.normal(size=(size, LANES)) for _ in range(2))
    turns = twiddles(size)
    a, b = packed(one), packed(other)
    forward(a, size, turns)
    forward(b, size, turns)
    product = packed(unpacked(a) * unpacked(b) / size)
    backward(product, size, turns)
    expected = np.fft.ifft(np.fft.fft(one, axis=0) * np.fft.fft(other, axis=0), axis=0)
    # Errors of a transform grow with the logarithm of its size (Gentleman and Sande 1966): some 1e-16 * log2(6144) * 3
    # transforms.
    assert np.abs(unpacked(product) - expected).max() < 4e-15 * np.abs(expected).max()


@pytest.mark.parametrize("size", SIZES)
def test_frequencies_are_all_there(size: int) -> None:
    """In an order of its own, but each once: a spike at point t has frequencies of modulus one
    that sum to zero, but for t = 0.
    """
    work = packed(np.zeros((size, LANES), complex))
    for lane in range(LANES):
        work[(2 * (lane % size)) * LANES + lane] = 1.0
    forward(work, size, twiddles(size))
    found = unpacked(work)
    np.testing.assert_allclose(np.abs(found), 1.0, rtol=1e-14)
    np.testing.assert_allclose(found.sum(axis=0)[1 : min(size, LANES)], 0.0, atol=1e-13 * size)
    np.testing.assert_allclose(found[:, 0], 1.0, rtol=1e-14)


def test_sizes_are_the_next_that_can_be_transformed() -> None:
    possible = sorted({2**k for k in range(2, 14)} | {3 * 2**k for k in range(2, 12)})
    for length in range(1, 6145):
        assert transform_size(length) == next(size for size in possible if size >= length)
