"""Calls to shards of which some may be down."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

from deker_cluster.errors import (
    DekerBaseApplicationError,
    DekerIntegrityError,
    ShardUnavailableError,
)
from deker_cluster.integrity.report import Finding, Findings, Kind
from deker_cluster.registry.models import ShardState

if TYPE_CHECKING:
    from collections.abc import Callable

    from deker_cluster.transport.messages import ShardHandle
    from deker_cluster.transport.shard_table import ShardTable

__all__ = ["ShardReach"]

_T = TypeVar("_T")


class ShardReach:
    """Calls shards; one that cannot answer is reported once and not asked again.

    Otherwise each of many calls would wait for it until its deadline. Safe for threads.
    """

    def __init__(self, shards: ShardTable, findings: Findings) -> None:
        shards.refresh()  # a client may not have heard yet of those that have been given up
        self._shards = shards
        self._findings = findings
        self._down: set[int] = set()
        self._lock = threading.Lock()

    def numbers(self) -> list[int]:
        """Return the shards of the cluster's map, without those that have been given up."""
        return [shard.number for shard in self._shards.all() if shard.state != ShardState.LOST]

    def name(self, number: int) -> str:
        """Return what messages call a shard."""
        known = {shard.record.number: shard.name for shard in self._shards.all()}
        return known.get(number, str(number))

    def call(self, number: int, function: Callable[[ShardHandle], _T]) -> _T | None:
        """Return what `function` makes of the shard's handle; None if the shard cannot answer.

        Raises
        ------
        DekerIntegrityError
            It cannot answer, and the check is to stop at the first finding.
        """
        if number in self._down:
            return None
        try:
            shard = self._shards.get(number)
            if shard.state == ShardState.LOST:
                raise ShardUnavailableError(f"{shard.name} has been given up as lost")
            return function(shard.handle)
        except DekerIntegrityError:
            raise
        except (DekerBaseApplicationError, OSError) as error:
            with self._lock:
                known = number in self._down
                self._down.add(number)
            if not known:
                text = f"it cannot be looked at: {error}"
                self._findings.add(Finding(Kind.SHARD, text, shard=self.name(number)))
            return None
