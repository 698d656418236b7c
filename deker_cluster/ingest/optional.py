"""The libraries that read inputs: optional, and loaded when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from deker_cluster.errors import DekerValidationError

__all__ = ["needed"]


def needed(library: str, what: str) -> Any:
    """Return an optional library.

    Raises
    ------
    DekerValidationError
        It is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise DekerValidationError(
            f"{what} needs {library} ({error}): pip install 'deker-cluster[ingest]'"
        ) from error
