"""Notes about what ingestions have put into tiles: they go with the array, and only with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deker_cluster.errors import DekerInstanceNotExistsError, DekerValidationError

if TYPE_CHECKING:
    from deker_cluster.registry import Registry


def test_notes_are_kept_and_replaced(registry: Registry, array: str) -> None:
    assert registry.ingested(array, [0, 5]) == [None, None]
    registry.note_ingested(array, {5: b"five", 2**53 - 1: b"\0last"})
    registry.note_ingested(array, {5: b"cinq", 6: b""})
    assert registry.ingested(array, [0, 2**53 - 1, 5, 6]) == [None, b"\0last", b"cinq", b""]
    many = {ordinal: b"%d" % ordinal for ordinal in range(9001)}
    registry.note_ingested(array, many)
    assert registry.ingested(array, many) == list(many.values())
    assert registry.ingested(array, []) == []


def test_notes_are_no_commits(registry: Registry, array: str) -> None:
    registry.note_ingested(array, {0: b"x"})
    assert registry.all_entries(array).values == {}
    assert registry.entries(array, [0]).generation == 0


def test_they_go_with_the_array(registry: Registry, array: str) -> None:
    registry.note_ingested(array, {0: b"x"}, "c1")
    with pytest.raises(DekerInstanceNotExistsError):
        registry.ingested(array, [0], "another")
    registry.delete_array(array)
    with pytest.raises(DekerInstanceNotExistsError):
        registry.ingested(array, [0])
    with pytest.raises(DekerInstanceNotExistsError):
        registry.note_ingested(array, {0: b"x"})
    registry.create_array("c1", array, None, "{}")
    assert registry.ingested(array, [0]) == [None]


def test_ordinals_that_are_none(registry: Registry, array: str) -> None:
    with pytest.raises(DekerValidationError, match="named twice"):
        registry.ingested(array, [1, 1])
    with pytest.raises(DekerValidationError, match="ordinals"):
        registry.note_ingested(array, {-1: b"x"})
