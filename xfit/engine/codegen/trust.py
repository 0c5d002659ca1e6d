"""Folders and files of machine code: whether anybody else can have written them, and private ones instead."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path


def why_not_private(folder: Path, *, owners: Iterable[int] = ()) -> str:
    """Say why code in a folder may be of somebody else.

    Parameters
    ----------
    folder : Path
        Which need not exist. Links are followed.
    owners : iterable of int
        Users who are trusted beside this one and root: who installed the program could have written anything into it.

    Returns
    -------
    str
        Empty for a folder that is not there, and for one that its owner, who is trusted, alone may write. Where users
        are not told apart by numbers (Windows), it is left to the system, whose folders of users are private.
    """
    if not hasattr(os, "getuid"):
        return ""
    try:
        found = folder.stat()
    except OSError:
        return ""
    if found.st_uid not in {os.geteuid(), 0, *owners}:
        return f"{folder} belongs to another user (number {found.st_uid})"
    if _others_may_write(found):
        return (
            f"other users may write {folder} (mode {stat.filemode(found.st_mode)}); chmod 700 makes it private, "
            "after a look at what is in it"
        )
    return ""


def _others_may_write(found: os.stat_result) -> bool:
    # A group of the user's own number has nobody else in it, by the convention of most systems.
    private = found.st_gid == found.st_uid or found.st_gid == 0
    return bool(found.st_mode & stat.S_IWOTH) or bool(found.st_mode & stat.S_IWGRP and not private)


def is_own(file: Path, *, owners: Iterable[int] = ()) -> bool:
    """Whether nobody else can have written a file in a folder that is private by `why_not_private`.

    Others' files may have been left there while it was not. Files that anybody may write are no worse than their folder
    if nobody else may enter it.
    """
    if not hasattr(os, "getuid"):
        return True
    found = file.lstat()
    closed = not file.parent.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH)
    return (
        found.st_uid in {os.geteuid(), 0, *owners}
        and stat.S_ISREG(found.st_mode)
        and (closed or not _others_may_write(found))
    )


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, that only the user may enter, whatever the umask.

    Raises
    ------
    OSError
        Where it can't be made.
    """
    for each in reversed([folder, *folder.parents]):
        if not each.exists():
            each.mkdir(mode=0o700, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder")
