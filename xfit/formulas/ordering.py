"""An order in which things that follow each other can be evaluated."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def in_order(starts: Iterable[K], followed: Callable[[K], Iterable[K]], name: Callable[[K], str] = str) -> list[K]:
    """Put what is tied after what it follows.

    Parameters
    ----------
    starts : iterable
        Where to begin.
    followed : callable
        What each follows.
    name : callable, optional
        How it is called in errors.

    Returns
    -------
    list
        The starts and all that they follow, each once.

    Raises
    ------
    ValueError
        Where they go in a circle.
    """
    done: dict[K, None] = {}
    path: dict[K, None] = {}
    for start in starts:
        # Not by recursion: chains may be longer than Python's stack is deep.
        stack = [iter([start])]
        while stack:
            following = next(stack[-1], None)
            if following is None:
                stack.pop()
                if path:
                    done.setdefault(path.popitem()[0])
            elif following in path:
                circle = [*list(path)[list(path).index(following) :], following]
                raise ValueError(f"ties go in a circle: {' -> '.join(map(name, circle))}")
            elif following not in done:
                path[following] = None
                stack.append(iter(followed(following)))
    return list(done)
