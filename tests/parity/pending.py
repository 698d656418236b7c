"""Differences that are known and not yet mended: empty when the work is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.parity.comparing import Intended

__all__ = ["PENDING"]

PENDING: tuple[Intended, ...] = ()
