"""Warnings of this package."""

from __future__ import annotations

__all__ = ["DekerWarning"]


class DekerWarning(UserWarning):
    """Something works, but not as well as it should."""
