"""Ray Data, which is an optional part of Ray."""

from __future__ import annotations

import importlib
from typing import Any

from deker_cluster.errors import DekerClientError

__all__ = ["ray_data"]


def ray_data() -> Any:
    """Return the module ``ray.data``.

    Raises
    ------
    DekerClientError
        It is not installed.
    """
    try:
        return importlib.import_module("ray.data")
    except ImportError as error:
        raise DekerClientError(
            f'Ray Data is not installed ({error}); pip install "deker-cluster[ray-data]"'
        ) from error
