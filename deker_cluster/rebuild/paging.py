"""Journal records from the registry, cut into batches where nothing is torn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgpack

from deker_cluster.rebuild.batches import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.models import JournalPage

__all__ = ["PAGE", "whole_batch"]

PAGE = 1000
"""Records that one call asks for."""


def whole_batch(registry: Registry, page: JournalPage) -> Batch:
    """Make a batch of a page's records that ends behind a whole commit.

    A commit to several arrays has made a record for each. A disk that had some of them, and no
    more, would tell of half a transaction.

    Parameters
    ----------
    page
        Not empty, its records without gaps. More is fetched when a single commit is longer.
    """
    records = list(page.records)
    while records[-1][0] < page.last:
        begin = _last_commit(records)
        if begin:
            return Batch(records[0][0] - 1, page.tokens, 0, tuple(records[:begin]))
        page = registry.journal_page(records[-1][0], PAGE)
        records += page.records
    return Batch(records[0][0] - 1, page.tokens, page.lowest_live, tuple(records))


def _last_commit(records: Sequence[tuple[int, bytes]]) -> int:
    """Return where the commit begins that the last record belongs to; the end if to none."""
    token = _token(records[-1][1])
    begin = len(records)
    while token is not None and begin and _token(records[begin - 1][1]) == token:
        begin -= 1
    return begin


def _token(record: bytes) -> bytes | None:
    kind, *values = msgpack.unpackb(record, raw=True, strict_map_key=False)
    return values[3] if kind == b"commit" else None
