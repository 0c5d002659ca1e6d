"""The shapes that generated kernels and the engine agree on."""

from __future__ import annotations

#: Channels that a "tile" kernel is given at a time: all rows of a Jacobian tile stay in the first or second level cache.
TILE = 512

#: Length of a tile's row: not a power of two, or all rows would compete for the same lines of the cache.
PITCH = TILE + 8

#: Channels are rounded up to a multiple of this, so that loops over them need no slow remainder.
VECTOR = 8

#: What a parameter can be to the engine, besides the position of the amplitude that its derivative is proportional to.
LINEAR, OTHER = -1, -2

#: Pixels that a "lanes" kernel fits side by side: two AVX-512 or four AVX2 vectors of doubles.
LANES = 16

#: Channels that a "lanes" kernel is given at a time.
LANE_TILE = 32
