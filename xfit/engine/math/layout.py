"""The shapes that generated kernels and the engine agree on."""

from __future__ import annotations

import numpy as np

from xfit.engine.math.processor import has_fused, has_wide_vectors, lanes

#: Channels that a kernel is given at a time: all rows of a Jacobian tile stay in the first or second level cache.
TILE = 512

#: Length of a tile's row: not a power of two, or all rows would compete for the same lines of the cache.
PITCH = TILE + 8

#: Channels are rounded up to a multiple of this, so that loops over them need no slow remainder.
VECTOR = 8

#: What a parameter can be to the engine, besides the position of the amplitude that its derivative is proportional to.
LINEAR, OTHER = -1, -2

#: An amplitude that takes its best value at the start only, and what a shape of it is: `SHAPED` minus the amplitude's
#: position. What else their derivatives depend on is not known, or the algebra holds only nearly (of losses that are no
#: least squares).
STARTING, SHAPED = -3, -4

#: Whether the processor multiplies and adds with one rounding.
FUSED = has_fused()

#: Pixels that the engine fits side by side: the elements of its vectors. Results are the same whatever it is.
LANES = lanes()

#: Channels of one pixel whose sums of products are kept apart, so that they are the same whatever the processor's
#: vectors are.
SPAN = 8

#: Whether the processor's vectors hold so many numbers; and how many are added at a time where there are more sums than
#: registers, in as many passes.
WIDE_SUMS = has_wide_vectors()
GROUP = SPAN if WIDE_SUMS else SPAN // 2
PASSES = SPAN // GROUP

#: Channels that a kernel of `LANES` pixels is given at a time: the same for all, for sums are begun anew with each
#: tile.
LANE_TILE = 64

#: Length of a row of such a tile: not a multiple of 4096 bytes, or loads would wait for stores to other rows.
LANE_PITCH = LANE_TILE + 3


def starting_only(code: np.ndarray) -> np.ndarray:
    """Codes of parameters whose amplitudes take their best values at the start only."""
    found = np.where(code >= 0, SHAPED - code, code)
    return np.where(code == LINEAR, STARTING, found)
