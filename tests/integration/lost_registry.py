"""A storage whose registry is lost, in whole or in part."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
from click.testing import CliRunner

from deker_cluster import (
    AttributeSchema,
    Client,
    DimensionSchema,
    VArray,
    VArraySchema,
)
from deker_cluster.rebuild.differences import canonical
from deker_cluster.rebuild.dumping import dump_state
from deker_cluster.uri import parse_uri
from deker_coordinator import upkeep
from deker_coordinator.cli import main
from deker_coordinator.recovery import rebuild
from tests.integration.embedded import await_end

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from deker_cluster.rebuild.reconstruct import Reconstruction
    from tests.integration.conftest import Script


def held(client: Client) -> dict[str, Any]:
    """What the registry of a client holds that lasts."""
    return canonical(dump_state(client.session.registry))


def lose(root: Path) -> None:
    """Delete the registry's data, once everything has ended."""
    await_end(root)
    for path in (root / "registry").glob("appendonly*"):
        shutil.rmtree(path)


def keep_copy(root: Path) -> None:
    """Copy the registry's data, as a backup does that knows nothing of it."""
    await_end(root)
    shutil.copytree(root / "registry" / "appendonlydir", root.parent / "old")


def put_back(root: Path) -> None:
    """Put the copy in the place of the registry's data."""
    lose(root)
    shutil.copytree(root.parent / "old", root / "registry" / "appendonlydir")


SCHEMA = VArraySchema(
    dtype="int64",
    dimensions=[DimensionSchema("y", 8), DimensionSchema("x", 16)],
    vgrid=(2, 4),
    fill_value=-1,
    attributes=[AttributeSchema("n", int, True), AttributeSchema("t", str, False)],
)
CELLS = np.arange(128).reshape(8, 16)

UNFLUSHED = """
from deker_coordinator import upkeep
upkeep.FLUSH_EVERY_S = 3600
client = Client(f"file://{root}")
collection = client.get_collection("grids")
"""


def rebuilt(root: Path, **options: Any) -> Reconstruction:
    return rebuild(parse_uri(f"file://{root}"), **options)


def filled(client: Client) -> dict[str, VArray]:
    """Make arrays that were written, overwritten, cleared, changed, deleted."""
    collection = client.create_collection("grids", SCHEMA)
    arrays = {}
    for number in range(4):
        array = collection.create({"n": number}, {"t": f"text {number}"})
        assert isinstance(array, VArray)
        arrays[str(number)] = array
        array[...].update(CELLS + number)
    for turn in range(3):
        arrays["0"][:4, :8].update(np.full((4, 8), turn))
    arrays["1"][:, 4:8].clear()
    arrays["1"].update_custom_attributes({"t": "changed"})
    arrays.pop("3").delete()
    client.create_collection("gone", SCHEMA).create({"n": 1})[...].update(CELLS)
    gone = client.get_collection("gone")
    assert gone is not None
    gone.delete()
    return arrays


def lose_at_once(root: Path, start: Callable[..., Script], code: str) -> str:
    """Fill a storage, let another process change it, kill that at the line that it says then.

    The registry ends with it, and is lost. Returns the line.
    """
    with Client(f"file://{root}") as client:
        filled(client)
    script = start(f"{UNFLUSHED}{code}\nwait()\n", root)
    said = script.line()
    script.kill()
    lose(root)
    return said


def unjournaled(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave one write of eight tiles that only its files tell of."""
    with Client(f"file://{root}") as client:
        filled(client)
    with monkeypatch.context() as patch:
        patch.setattr(upkeep, "FLUSH_EVERY_S", 3600)
        with Client(f"file://{root}") as client:
            patch.setattr(client.session.journal, "flush", lambda: 0)
            client.get_collection("grids").filter({"n": 1}).first()[...].update(CELLS * 9)


def run(*words: str, code: int = 0) -> Any:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == code, result.output
    return json.loads(result.output) if "--json" in words else result.output


def without_times(plain: dict[str, Any]) -> dict[str, Any]:
    """A write that only files tell of has the time of its files."""
    for array in plain["arrays"].values():
        del array["time_ms"]
        array["history"] = {
            number: record["replaced"] for number, record in array["history"].items()
        }
    return plain
