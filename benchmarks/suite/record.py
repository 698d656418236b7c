"""What a run has found: measurements, and contenders that are missing from them."""

from __future__ import annotations

import statistics
from typing import Literal

import attrs

__all__ = ["Measurement", "Missing"]


@attrs.frozen
class Measurement:
    """One figure of one contender in one variant of a workload."""

    workload: str
    """``W1`` to ``W13``, or another short name."""
    variant: str
    """What distinguishes the rows of a workload: codec, fsync, p50 or p99."""
    contender: str
    """``own node``, ``other node``, a peer, or a limit."""
    unit: str
    values: list[float] = attrs.field(validator=attrs.validators.min_len(1))
    """One for each round; all contenders of a variant have the same rounds."""
    better: Literal["more", "less"] = attrs.field(validator=attrs.validators.in_(("more", "less")))
    checked: bool
    """Whether every result was compared with the source and was right."""
    note: str = ""

    @property
    def median(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.values)

    def speed_against(self, other: Measurement) -> list[float]:
        """Return, for each round, how many times better this is than ``other``; 1 is as good."""
        pairs = zip(self.values, other.values, strict=True)
        return [(ours / its if self.better == "more" else its / ours) for ours, its in pairs]


@attrs.frozen
class Missing:
    """A contender that takes no part."""

    contender: str
    why: str
    workload: str = ""
    """Workload and variant; empty: the whole run."""
