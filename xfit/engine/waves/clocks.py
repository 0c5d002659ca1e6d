"""Clocks of chunks that are visited in turns: which visit may begin, so that what it sees does
not depend on who was faster.
"""

from __future__ import annotations

from xfit.engine.math.entries import entry
from xfit.engine.math.records import FlagCube, Flags, Integers, IntegerTable

#: Turns whose gains are kept: a neighbour is never more than one turn ahead.
RING = 4


@entry
def advance(
    pending: Integers,
    clock: Integers,
    running: Flags,
    first: Flags,
    unfinished: Flags,
    gained: FlagCube,
    neighbours: IntegerTable,
    facing: IntegerTable,
    limit: int,
    queue: Integers,
    ready: Integers,
) -> int:
    """Move clocks as far as they go without a visit, and list the visits that may begin.

    The visit of turn ``k + 1`` of a chunk sees what its neighbours were after their turn ``k``, so all their clocks
    must stand there. It is made if one of them gained something on the side of the chunk in that turn; else only the
    clock moves.

    Parameters
    ----------
    pending : int64 (any,)
        Chunks to look at.
    clock : int64 (n,)
        The last turn of each chunk that is over.
    running, unfinished : bool (n,)
        Whether a visit is under way; whether there is anything left to fit.
    first : bool (n,)
        Which chunks are visited in turn 1 whatever their neighbours have.
    gained : bool (n, m, RING)
        Whether a chunk gained something on the side of its neighbour ``m``, by turn.
    neighbours, facing : int64 (n, m)
        Neighbours of each chunk, -1 for none; which neighbour of that one it is.
    limit : int
        The last turn in which there can be a visit.
    queue : int64 (n,)
        Scratch.
    ready : int64 (n,)
        Filled with the chunks whose next visit may begin; they are marked as running.

    Returns
    -------
    int
        How many those are.
    """
    count = head = waiting = 0
    for c in pending:
        # The flag that a chunk is in the queue is in the sign of its clock, so that nothing has to be allocated.
        if clock[c] >= 0:
            clock[c] = -clock[c] - 1
            queue[(head + waiting) % queue.size] = c
            waiting += 1
    while waiting > 0:
        c = queue[head]
        head = (head + 1) % queue.size
        waiting -= 1
        k = -clock[c] - 1
        clock[c] = k
        if running[c] or k >= limit:
            continue
        held = False
        needed = k == 0 and first[c]
        for m in range(neighbours.shape[1]):
            other = neighbours[c, m]
            if other < 0:
                continue
            turn = clock[other] if clock[other] >= 0 else -clock[other] - 1
            if turn < k:
                held = True
            elif gained[other, facing[c, m], k % RING]:
                needed = True
        if held:
            continue
        if needed and unfinished[c]:
            running[c] = True
            ready[count] = c
            count += 1
            continue
        clock[c] = k + 1
        for m in range(neighbours.shape[1]):
            gained[c, m, (k + 1) % RING] = False
        for m in range(-1, neighbours.shape[1]):
            other = c if m < 0 else neighbours[c, m]
            if other >= 0 and clock[other] >= 0:
                clock[other] = -clock[other] - 1
                queue[(head + waiting) % queue.size] = other
                waiting += 1
    return count
