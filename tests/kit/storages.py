"""Small storages for the chaos rows: arrays of few tiles whose cells all say who wrote them."""

from __future__ import annotations

import contextlib
import io
import time
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np

from deker_cluster import Client, DimensionSchema, VArraySchema
from deker_cluster.errors import RegistryUnavailableError
from deker_cluster.integrity import check_integrity
from deker_cluster.tilefile.layout import parse_tile_path
from deker_coordinator.garbage import sweep
from tests.kit.processes import await_server_end

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from deker_cluster import VArray

__all__ = [
    "ROWS",
    "TORN",
    "array_of",
    "cells_of",
    "id_of",
    "make_array",
    "open_client",
    "problems",
    "settle",
    "storage",
    "stored_files",
    "sweep_now",
    "tiles_of",
]

ROWS = 2
"""Rows of cells in a tile; tile t of an array holds rows ROWS * t ... ROWS * t + ROWS - 1."""
_COLUMNS = 3
TORN = -1
"""Stands for a tile whose cells are of different writes."""


def open_client(root: Path | str, *, patience_s: float = 60.0, **options: Any) -> Client:
    """Open a directory in library mode, again if its server is killed just then."""
    limit = time.monotonic() + patience_s
    while True:
        try:
            return Client(f"file://{root}", **options)
        except RegistryUnavailableError:
            if time.monotonic() > limit:
                raise


def id_of(name: str) -> str:
    """Return the id of the array that the rows call `name`."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


@contextlib.contextmanager
def storage(root: Path, **settings: Any) -> Iterator[Client]:
    """Make and keep open a directory; its server must have ended when this is over."""
    with open_client(root) as client:
        if settings:
            client.session.registry.update_settings(**settings)
        yield client
    await_server_end(root)


def make_array(
    client: Client, name: str, *, tiles: int = 8, collection: str = "grids", **options: Any
) -> VArray:
    """Create an array of `tiles` tiles of int64, zero where nobody has written."""
    found = client.get_collection(collection)
    if found is None:
        schema = VArraySchema(
            dtype="int64",
            dimensions=[DimensionSchema("y", ROWS * tiles), DimensionSchema("x", _COLUMNS)],
            vgrid=(tiles, 1),
            fill_value=0,
        )
        found = client.create_collection(collection, schema, **options)
    array: Any = found.create(id_=id_of(name))
    return array


def array_of(client: Client, name: str, collection: str = "grids") -> Any:
    """Return an array by its id."""
    found = client.get_collection(collection)
    assert found is not None
    array = found.filter({"id": id_of(name)}).last()
    assert array is not None, f"array {name} is not there"
    return array


def cells_of(first: int, last: int) -> slice:
    """Return the rows of the tiles first ... last - 1."""
    return slice(ROWS * first, ROWS * last)


def tiles_of(cells: npt.NDArray[Any], first: int = 0) -> dict[int, int]:
    """Return what each tile holds, for the cells of whole tiles from `first` on."""
    blocks = np.asarray(cells).reshape(-1, ROWS * _COLUMNS)
    same = (blocks == blocks[:, :1]).all(axis=1)
    values = np.where(same, blocks[:, 0], TORN).tolist()
    return dict(enumerate(values, first))


def stored_files(root: Path) -> set[tuple[str, int, int]]:
    """Return array, ordinal, version of all tile files; others among them under their names."""
    found = set()
    for shard in (root / "shards").iterdir():
        for path in (shard / "tiles").rglob("*"):
            if path.is_file():
                name = parse_tile_path(path.relative_to(shard).as_posix())
                found.add(
                    (name.array_id, name.ordinal, name.version) if name else (path.name, -1, -1)
                )
    return found


def problems(client: Client) -> list[str]:
    """Return what a check of everything finds, cells included."""
    with contextlib.redirect_stdout(io.StringIO()):
        report = check_integrity(client.session, level=4, stop_on_error=False)
    return [str(finding) for finding in report.findings]


def sweep_now(client: Client) -> int:
    """Sweep as the background thread does."""
    session: Any = client.session
    return sweep(session.registry, session.shards, session.journal.flush)


def settle(client: Client, patience_s: float = 20.0) -> None:
    """Sweep until no lease, no pin and no garbage is left, which takes until they have expired."""
    registry = client.session.registry
    limit = time.monotonic() + patience_s
    while True:
        sweep_now(client)
        left = [*registry.locks(), *registry.pins(), *registry.garbage(10)]
        if not left:
            return
        assert time.monotonic() < limit, f"these do not go: {left[:5]}"
        time.sleep(0.05)
