"""Errors of calls that are made in another process: they arrive as what they are."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any


def carried(function: Callable[..., Any], *arguments: Any) -> Any:
    """Make a call; what it raises can be carried to another process.

    An error is carried with its cause and its context, and where one of these can't be, `distributed` makes a mere
    ``Exception`` of its text: then it goes without them.
    """
    try:
        return function(*arguments)
    except Exception as raised:
        error = raised
    # Not within the clause, which would make what was raised its own context.
    raise _portable(error)


def _portable(error: Exception) -> Exception:
    """The error without the causes that can't be pickled."""
    link: BaseException | None = error
    while link is not None:
        cause, context = link.__cause__, link.__context__
        if cause is not None and not _can_be_pickled(cause):
            link.__cause__ = cause = None
        if context is not None and not _can_be_pickled(context):
            suppressed, link.__context__ = link.__suppress_context__, None
            link.__suppress_context__ = suppressed
        link = cause
    return error


def _can_be_pickled(error: BaseException) -> bool:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        # Whatever a class raises that was not made for it.
        return False
    return True
