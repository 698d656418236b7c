"""Give a file a name that nothing has yet, in one step."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["rename_new"]

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1

_UNKNOWN_HERE = frozenset({errno.EINVAL, errno.ENOSYS})
"""What a kernel or a file system says that cannot rename without replacing."""
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""What a file system says that gives no file a second name."""


def rename_new(old: Path, new: Path) -> None:
    """Rename a file within a file system; what has the new name is never replaced.

    A plain rename would replace it, and looking first leaves a gap. Where the system has no other
    rename, the file gets a second name and loses the first: a crash in between leaves it both.

    Raises
    ------
    FileExistsError
        Something has the new name; nothing was changed.
    OSError
        Nothing was changed.
    """
    rename = _system_call()
    if rename is not None:
        failed = rename(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), _RENAME_NOREPLACE)
        if not failed:
            return
        code = ctypes.get_errno()
        if code not in _UNKNOWN_HERE:
            raise OSError(code, os.strerror(code), str(old), None, str(new))
    try:
        new.hardlink_to(old)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if new.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(new)) from error
        old.rename(new)
    else:
        old.unlink()


@lru_cache(maxsize=1)
def _system_call() -> Callable[[int, bytes, int, bytes, int], int] | None:
    if sys.platform != "linux":
        return None
    # Python has no name for it; some C libraries have none either.
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is not None:
        function.argtypes = (
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.c_uint,
        )
    return function
