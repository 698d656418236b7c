"""Commands that look at what a storage holds, on a directory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from deker_cluster import (
    AttributeSchema,
    DimensionSchema,
    TimeDimensionSchema,
    VArray,
    VArraySchema,
)
from tests.integration.commands import run, told
from tests.integration.shapes import check, flag, maybe, number, text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deker_cluster import Client
    from tests.integration.conftest import Script

STATUS = {
    "uri": text,
    "mode": text,
    "cluster": {"id": text, "epoch": number},
    "whole": flag,
    "problems": [text],
    "registry": {
        "kind": text,
        "version": text,
        "role": text,
        "appendonly": flag,
        "appendfsync": text,
        "weaknesses": [text],
        "latency_ms": number,
    },
    "nodes": [{"name": text, "zone": (text, maybe), "shards": [int], "tiles": int, "bytes": int}],
    "shards": [
        {
            "number": int,
            "uuid": text,
            "actor": text,
            "node": (text, maybe),
            "zone": (text, maybe),
            "path": text,
            "state": text,
            "draining": flag,
            "weight": number,
            "beat_age_s": (*number, maybe),
            "free_bytes": (int, maybe),
            "total_bytes": (int, maybe),
            "tiles": int,
            "bytes": int,
        }
    ],
    "tiles": {
        "stored": int,
        "bytes": int,
        "copies_missing": int,
        "one_copy_left": int,
        "unreadable": int,
        "damaged_entries": int,
    },
    "moves": {
        "paused": flag,
        "bytes_per_s": number,
        "waiting": {str: int},
        "progress": None,
    },
    "damage": {"files": int, "more": flag, "first": [None]},
}

SUMMARY: dict[str, Any] = {
    "name": text,
    "id": text,
    "type": text,
    "dtype": text,
    "named_shape": {str: int},
    "vgrid": [int],
    "replication": int,
    "arrays": int,
}

TILE = {
    "tile": [int],
    "ordinal": int,
    "cells": [[int]],
    "version": (int, maybe),
    "bytes": (int, maybe),
    "holders": [{"shard": int, "actor": text, "node": (text, maybe), "state": text}],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the storage is; its services end by themselves, other tests wait for that."""
    return tmp_path / "data"


@pytest.fixture
def named(client: Client) -> list[VArray]:
    """Three arrays with attributes, and an axis of time."""
    schema = VArraySchema(
        dtype="float32",
        dimensions=[
            TimeDimensionSchema("t", 4, datetime(2023, 1, 1, tzinfo=UTC), timedelta(days=1)),
            DimensionSchema("x", 6, labels=[*"abcdef"]),
        ],
        vgrid=(2, 2),
        attributes=[AttributeSchema("n", int, True), AttributeSchema("note", str, False)],
    )
    collection = client.create_collection("named [red]", schema)
    return [collection.create({"n": n}, {"note": f"[bold]{n}"}) for n in range(3)]  # type: ignore[misc]


def test_status_is_for_people_and_programs(uri: str, filled: VArray) -> None:
    found = told("status", uri)
    check(found, STATUS)
    assert found["whole"]
    assert found["problems"] == []
    assert found["mode"] == "library"
    (shard,) = found["shards"]
    assert (shard["tiles"], shard["state"], shard["path"]) == (4, "up", "shards/s0")
    assert found["tiles"]["stored"] == 4
    assert found["tiles"]["bytes"] == shard["bytes"] > 64 * 8
    shown = run("status", uri)
    assert "appendfsync always" in shown
    assert "shards/s0" in shown


def test_status_asks_shards_if_it_is_told_to(uri: str, filled: VArray) -> None:
    (shard,) = told("status", uri, "--latency")["shards"]
    assert shard["latency_ms"] >= 0


def test_status_names_what_is_not_whole(client: Client, uri: str, filled: VArray) -> None:
    registry = client.session.registry
    registry.report_damage([(filled.id, 0, 1, 0)])
    found = told("status", uri, code=1)
    assert found["damage"]["files"] == 1
    assert found["damage"]["first"][0]["array_id"] == filled.id
    assert "damaged" in found["problems"][0]
    registry.forget_damage(registry.damage(10))
    assert told("status", uri)["whole"]
    record = registry.collection("grids")
    assert record is not None
    registry.update_collection(record, {"replication": 2})
    found = told("status", uri, code=1)
    assert found["tiles"]["copies_missing"] == found["tiles"]["one_copy_left"] == 4
    registry.update_collection(record, {"replication": 1})
    registry.update_shard(0, {"state": "down"})
    found = told("status", uri, code=1)
    assert found["tiles"]["unreadable"] == 4
    assert any("is down" in problem for problem in found["problems"])
    assert "problem: 4 tiles cannot be read" in run("status", uri, code=1)
    registry.update_shard(0, {"state": "up"})


def test_collections(uri: str, client: Client, named: list[VArray], grid: VArray) -> None:
    found = told("collections", uri)
    check(found, {"collections": [SUMMARY]})
    assert [each["name"] for each in found["collections"]] == ["grids", "named [red]"]
    assert found["collections"][1]["arrays"] == 3
    assert found["collections"][1]["named_shape"] == {"t": 4, "x": 6}
    shown = run("collections", uri)
    assert "named [red]" in shown
    assert "t: 4, x: 6" in shown


def test_describe_a_collection(uri: str, filled: VArray) -> None:
    found = told("describe", uri, "grids")
    check(
        found,
        {
            **SUMMARY,
            "tile_shape": [int],
            "fill_value": int,
            "schema": None,
            "options": None,
            "retention": {"generations": int, "age_s": number, "changes": int},
            "tiles": int,
            "bytes": int,
        },
    )
    assert (found["tiles"], found["tile_shape"], found["fill_value"]) == (4, [4, 4], -1)
    assert "4 x 4" in run("describe", uri, "grids")


def test_describe_an_array(uri: str, filled: VArray, named: list[VArray]) -> None:
    found = told("describe", uri, "grids", filled.id)
    assert found["id"] == filled.id
    assert (found["generation"], found["tiles"], found["tiles_possible"]) == (1, 4, 8)
    assert found["written"] is not None
    found = told("describe", uri, "named [red]", named[1].id)
    assert found["primary_attributes"] == {"n": 1}
    assert (found["tiles"], found["written"]) == (0, None)
    shown = run("describe", uri, "named [red]", named[1].id)
    assert "[bold]1" in shown


def test_what_is_not_there_is_named(uri: str, filled: VArray) -> None:
    assert "'nothing'; there are: grids" in run("describe", uri, "nothing", code=3)
    assert "deker-cluster ls" in run("describe", uri, "grids", "nonsense", code=3)
    other = "00000000-0000-4000-8000-000000000000"
    assert f"has no array {other}" in run("tiles", uri, "grids", other, code=3)


def test_ls_goes_page_by_page(uri: str, named: list[VArray]) -> None:
    ids: list[str] = []
    after: list[object] = []
    while True:
        page = told("ls", uri, "named [red]", "--limit", 2, *after)
        check(
            page,
            {
                "arrays": [
                    {
                        "id": text,
                        "primary_attributes": {"n": int},
                        "custom_attributes": {"note": text},
                        "generation": int,
                    }
                ],
                "next": (int, maybe),
                "total": int,
            },
        )
        assert page["total"] == 3
        ids += [array["id"] for array in page["arrays"]]
        if page["next"] is None:
            break
        after = ["--after", page["next"]]
    assert ids == [array.id for array in named]
    shown = run("ls", uri, "named [red]", "--limit", 2)
    assert "[bold]0" in shown
    assert "2 of 3; go on with --after" in shown


def test_tiles_tells_where_a_slice_is(uri: str, filled: VArray) -> None:
    found = told("tiles", uri, "grids", filled.id, "2:6, 5")
    check(found, {"array": text, "generation": int, "touched": int, "tiles": [TILE]})
    first, second = found["tiles"]
    assert (first["tile"], first["cells"]) == ([0, 1], [[0, 4], [4, 8]])
    assert first["version"] is not None
    assert [holder["shard"] for holder in first["holders"]] == [0]
    assert (second["tile"], second["version"], second["holders"]) == ([1, 1], None, [])
    assert told("tiles", uri, "grids", filled.id)["touched"] == 8
    assert "shard-s0" in run("tiles", uri, "grids", filled.id, "0")
    some = told("tiles", uri, "grids", filled.id, "--limit", 3)
    assert (some["touched"], len(some["tiles"])) == (8, 3)
    assert "3 of 8 tiles" in run("tiles", uri, "grids", filled.id, "--limit", 3)
    assert "selects nothing" in run("tiles", uri, "grids", filled.id, "3:3", code=3)
    assert len(told("tiles", uri, "grids", filled.id, "--", "-1, 0")["tiles"]) == 1


def test_tiles_takes_coordinates(uri: str, named: list[VArray]) -> None:
    array = named[0]
    found = told("tiles", uri, "named [red]", array.id, "'2023-01-03':, 'b'")
    assert [tile["tile"] for tile in found["tiles"]] == [[1, 0]]
    for wrong in ("'2024-01-01'", "9", "0, 0, 0", "0, 'z'"):
        assert "Error" in run("tiles", uri, "named [red]", array.id, wrong, code=3)


def test_locks_are_listed_and_cleared(
    uri: str, root: Path, filled: VArray, start: Callable[..., Script]
) -> None:
    script = start(
        """
client = Client(f"file://{root}")
(array,) = client.get_collection("grids")
lease = client.session.registry.acquire([(array.id, [0, 1, 2, 3, 5])], "somebody", 600.0)
say(lease.token)
wait()
""",
        root,
    )
    token = int(script.line())
    found = told("locks", uri)
    check(
        found,
        {
            "locks": [
                {
                    "collection": text,
                    "array": text,
                    "tiles": [[int]],
                    "owner": text,
                    "since": text,
                    "remaining_s": number,
                    "token": int,
                }
            ]
        },
    )
    (lock,) = found["locks"]
    assert (lock["token"], lock["owner"], lock["array"]) == (token, "somebody", filled.id)
    assert lock["tiles"] == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 1]]
    assert "and 2 more" in run("locks", uri)
    assert "no collection" in run("locks", uri, "--collection", "nothing", code=3)
    assert told("locks", uri, "--clear")["cleared"] == 1
    assert told("locks", uri) == {"locks": []}
    assert run("locks", uri) == "nobody writes at the moment\n"
    script.kill()


def test_gc_sweeps_what_is_due(uri: str, root: Path, client: Client, filled: VArray) -> None:
    client.session.registry.update_settings(garbage_grace_s=3600)
    filled.delete()
    found = told("gc", uri)
    check(found, {"swept": int, "waiting": int})
    assert found == {"swept": 0, "waiting": 1}
    files = list((root / "shards").rglob("*.h5"))
    assert len(files) == 4
    assert "still in their grace time: 1" in run("gc", uri)


def test_rebalancing_a_directory(uri: str, client: Client, filled: VArray) -> None:
    found = told("rebalance", uri, "--pause", "--rate", "50M")
    assert found == {"paused": True, "bytes_per_s": 50 * 2**20}
    assert told("status", uri)["moves"]["paused"]
    assert told("rebalance", uri, "--resume", "--rate", "0") == {
        "paused": False,
        "bytes_per_s": 0,
    }
    assert "any speed" in run("rebalance", uri, "--resume")
    for words in (("rebalance",), ("drain", "0"), ("repair",), ("repair", "--lost", "0")):
        shown = run(words[0], uri, *words[1:], code=3)
        assert f"deker://{client.root_path}" in shown
    (shard,) = client.session.registry.shard_map().shards
    assert not shard.info.get("draining")
    assert shard.info.get("state", "up") == "up"
