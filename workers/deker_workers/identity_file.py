"""The small files that say what a directory is: read with care, for anybody may have made them."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_identity"]

_LIMIT_BYTES = 1 << 16


def read_identity(path: Path) -> Any:
    """Return the JSON value in a file.

    Raises
    ------
    ValueError
        It is no JSON, too deep, too long, or no regular file.
    OSError
        It cannot be read; FileNotFoundError if it is not there.
    """
    # A pipe would be waited for, a device or an endless file would fill the memory.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LIMIT_BYTES:
            raise ValueError(f"a file of at most {_LIMIT_BYTES} bytes was expected")
        text = os.read(descriptor, _LIMIT_BYTES)
    finally:
        os.close(descriptor)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("the JSON in it is too deep") from error
