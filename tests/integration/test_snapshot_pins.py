"""Pins of snapshots: renewed while in use, by whoever has a copy, and let go after."""

from __future__ import annotations

import contextlib
import gc
import pickle
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster import (
    Client,
    VArray,
)
from deker_cluster.core.fixed_manifest import FixedManifest
from deker_cluster.core.manifest import TileEntry
from deker_cluster.dataplane import pins
from deker_cluster.errors import (
    DekerClientError,
    DekerGenerationError,
)
from deker_coordinator.garbage import sweep
from tests.integration.past import BOARD, churn, expire_pins, pinned_only
from tests.integration.test_library_faults import files, sweep_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deker_cluster.registry import Registry
    from tests.integration.conftest import Script


pytestmark = pytest.mark.usefixtures("no_thread_is_left")
grid = pytest.fixture(pinned_only)


def await_pins(registry: Registry, count: int) -> None:
    limit = time.monotonic() + 10
    while len(registry.pins()) != count:
        assert time.monotonic() < limit, f"{registry.pins()} instead of {count}"
        time.sleep(0.01)


def test_what_nobody_holds_any_more_is_let_go(grid: VArray, registry: Registry) -> None:
    grid[:].update(BOARD)
    part = grid.snapshot()[1, 2]
    gc.collect()
    assert len(registry.pins()) == 1, "the part still needs it"
    assert part.read() == BOARD[1, 2]
    del part
    gc.collect()
    await_pins(registry, 0)


def test_closing_the_client_ends_its_pins(root: Path, client: Client, grid: VArray) -> None:
    grid[:].update(BOARD)
    with Client(f"file://{root}") as other:
        collection = other.get_collection("grids")
        assert collection is not None
        (same,) = collection
        snapshot = same.snapshot()
        assert len(client.session.registry.pins()) == 1
    assert client.session.registry.pins() == []
    with pytest.raises(DekerClientError, match="closed"):
        snapshot[0].read()


def test_a_client_that_is_opened_again_has_no_old_snapshots(root: Path, grid: VArray) -> None:
    grid[:].update(BOARD)
    client = Client(f"file://{root}")
    collection = client.get_collection("grids")
    assert collection is not None
    (same,) = collection
    snapshot = same.snapshot()
    client.close()
    with client:
        for use in (snapshot[...].read, lambda: pickle.dumps(snapshot)):
            with pytest.raises(DekerGenerationError, match=r"the client of .* is closed"):
                use()
        snapshot.close()
        with same.at(snapshot.generation) as again:
            assert (again[...].read() == BOARD).all()


def test_pickled_within_a_process(client: Client, grid: VArray, registry: Registry) -> None:
    grid[:].update(BOARD)
    snapshot = grid.snapshot()
    copies = [pickle.loads(pickle.dumps(snapshot)) for _ in range(2)]  # noqa: S301
    assert copies[0] == copies[1] == snapshot
    snapshot.close()
    copies[0].close()
    churn(grid, client)
    assert (copies[1][...].read() == BOARD).all()
    copies[1].close()
    assert len(registry.pins()) == 1, "nobody knows how many pickles there are"


READ_PICKLE = """
import pickle
snapshot = pickle.load(open(args[0], "rb"))
say("ready", snapshot.generation)
wait()
say(snapshot[...].read().sum())
wait()
snapshot.close()
"""


def test_another_process_reads_though_the_origin_has_closed(
    client: Client, grid: VArray, root: Path, tmp_path: Path, start: Callable[..., Script]
) -> None:
    grid[:].update(BOARD)
    with grid.snapshot() as snapshot:
        (tmp_path / "pickle").write_bytes(pickle.dumps(snapshot))
    reader = start(READ_PICKLE, root, tmp_path / "pickle")
    assert reader.line() == "ready 1"
    churn(grid, client)
    grid.delete()
    sweep(client.session.registry, client.session.shards)
    reader.tell()
    assert reader.line() == str(BOARD.sum())
    reader.tell()
    assert reader.end() == []


def test_a_pickle_is_small_and_joins_the_same_pin(grid: VArray, registry: Registry) -> None:
    entries = {
        ordinal: TileEntry(77, ordinal << 20, 12345, (3,)).pack() for ordinal in range(100_000)
    }
    with grid.snapshot() as snapshot:
        state = snapshot._pinned.keeper.share(snapshot._pinned)
    text = pickle.dumps({**state, "manifest": FixedManifest(entries)})
    assert len(text) < 5_000_000
    found = pickle.loads(text)["manifest"]  # noqa: S301
    assert found.as_dict() == entries
    looked_up = found.look_up(np.array([0, 7, 99_999, 100_000]))
    assert looked_up == [entries[0], entries[7], entries[99_999], None]
    assert [pin.pin_id for pin in registry.pins()] == [state["pin_id"]]


def test_a_snapshot_whose_pin_has_ended_says_so(client: Client, grid: VArray) -> None:
    grid[:].update(BOARD)
    snapshot = grid.snapshot()
    expire_pins(client.session.registry)
    churn(grid, client)
    with pytest.raises(DekerGenerationError, match=r"pin of generation 1 .* has ended"):
        snapshot[...].read()


def test_pins_are_renewed_while_a_snapshot_is_open(
    client: Client, grid: VArray, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pins, "_RENEW_EVERY_S", 0.05)
    grid[:].update(BOARD)
    with grid.snapshot() as snapshot:
        for _ in range(8):
            registry.renew_pin(snapshot.pinned.pin_id, 30)
            limit = time.monotonic() + 20
            while registry.pins()[0].remaining_s < 300:
                assert time.monotonic() < limit, "nobody renews"
                time.sleep(0.01)
            churn(grid, client)
        assert (snapshot[...].read() == BOARD).all()
    assert registry.pins() == []


def test_renewal_goes_on_when_the_registry_is_back(
    grid: VArray,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(pins, "_RENEW_EVERY_S", 0.02)
    monkeypatch.setattr(pins, "_TRY_AGAIN_S", 0.02)
    renewed = threading.Event()
    renew, failures = registry.renew_pin, iter(range(3))

    def fails_at_first(pin_id: str, ttl_s: float) -> bool:
        if next(failures, None) is not None:
            raise DekerClientError("nobody answers")
        result = renew(pin_id, ttl_s)
        renewed.set()
        return result

    monkeypatch.setattr(registry, "renew_pin", fails_at_first)
    grid[:].update(BOARD)
    with caplog.at_level("WARNING", "deker_cluster"), grid.snapshot() as snapshot:
        assert renewed.wait(10)
        assert (snapshot[...].read() == BOARD).all()
    assert "could not be renewed: nobody answers" in caplog.text


FORKED = """
import gc
client = Client(f"file://{root}")
(array,) = client.get_collection("grids")
snapshot = array.snapshot()
child = os.fork()
if not child:
    cells = snapshot[...].read()
    import threading
    names = [thread.name for thread in threading.enumerate()]
    del snapshot
    gc.collect()
    time.sleep(0.1)
    os._exit(0 if cells.sum() == int(args[0]) and "deker-pins" in names else 1)
assert os.waitpid(child, 0)[1] == 0
say("pins", len(client.session.registry.pins()))
wait()
say(snapshot[...].read().sum())
client.close()
"""


def test_a_forked_child_reads_and_ends_nothing(
    client: Client, grid: VArray, root: Path, start: Callable[..., Script]
) -> None:
    grid[:].update(BOARD)
    parent = start(FORKED, root, BOARD.sum())
    assert parent.line() == "pins 1"
    churn(grid, client)
    parent.tell()
    assert parent.end() == [str(BOARD.sum())]


def test_an_array_of_the_same_id_does_not_take_a_snapshot_along(
    client: Client, grid: VArray, root: Path
) -> None:
    grid[:].update(BOARD)
    snapshot = grid.snapshot()
    grid.delete()
    again = grid.parent.create(id_=grid.id)
    again[:].update(np.full((8, 16), 3))
    again.delete()
    sweep(client.session.registry, client.session.shards)
    assert (snapshot[...].read() == BOARD).all()
    snapshot.close()
    sweep_until(client, lambda: not files(root))


def test_opening_a_pickle_renews_its_own_pin_only(
    grid: VArray, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid[:].update(BOARD)
    renewed: list[str] = []
    renew = registry.renew_pin

    def noted(pin_id: str, ttl_s: float) -> bool:
        renewed.append(pin_id)
        return renew(pin_id, ttl_s)

    monkeypatch.setattr(registry, "renew_pin", noted)
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(grid.snapshot()) for _ in range(20)]
        last = grid.snapshot()
        for each in opened:
            stack.enter_context(pickle.loads(pickle.dumps(each)))  # noqa: S301
        del last
        gc.collect()
        await_pins(registry, 20)  # the thread works in turn: now it has done all before
        assert renewed == [each.pinned.pin_id for each in opened]
    for each in opened:
        registry.unpin(each._pinned.pin_id)
