"""Imports while others are at work at the same target."""

from __future__ import annotations

import numpy as np
import pytest

from deker_cluster import Client
from deker_cluster.exchange import import_array, import_storage
from deker_cluster.exchange.import_array import ArrayImport
from tests.integration.exchange_storage import SHAPE, OldStorage

ONES = np.ones(SHAPE)


@pytest.fixture
def old(tmp_path):
    made = OldStorage(tmp_path / "old")
    folder = made.collection("a")
    for number in range(4):
        made.array(folder, number, ONES * number)
    return made


def bring(old, client):
    (part,) = import_storage(old.root, client, progress=False).collections
    return part


def once(monkeypatch, owner, name, before):
    """Have something done before the first call of a method."""
    original = getattr(owner, name)
    calls = []

    def first(*words, **options):
        if not calls:
            calls.append(1)
            before()
        return original(*words, **options)

    monkeypatch.setattr(owner, name, first)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Client, "create_collection"),
        (ArrayImport, "_at_target"),
        (ArrayImport, "_metadata"),
        (import_array, "write_images"),
    ],
    ids=["collection", "array", "create", "write"],
)
def test_two_imports_at_once_complete_each_other(old, client, monkeypatch, owner, name):
    """Wherever one is when the other goes through, everything is there, and neither fails."""
    others = []

    def other():
        with Client(f"file://{client.root_path}") as second:
            others.append(bring(old, second))

    once(monkeypatch, owner, name, other)
    part = bring(old, client)
    assert not part.failures
    assert not others[0].failures
    assert part.arrays + part.skipped == 4
    found = client.get_collection("a")
    assert len(found) == 4
    for number in range(4):
        array = found.filter({"n": number}).first()
        np.testing.assert_array_equal(array[...].read(), ONES * number)


def test_what_somebody_writes_during_an_import_stays(old, client, monkeypatch):
    def write():
        for array in client.get_collection("a"):
            array[...].update(ONES * 77)

    once(monkeypatch, import_array, "write_images", write)
    part = bring(old, client)
    assert not part.failures
    assert len(client.get_collection("a")) == 4
    assert any((array[...].read() == 77).all() for array in client.get_collection("a"))
