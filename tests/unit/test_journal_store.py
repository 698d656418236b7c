from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

import pytest

from deker_cluster.errors import DekerMetaDataError, ShardUnavailableError, StorageFullError
from deker_cluster.rebuild.batches import parse_log
from deker_cluster.rebuild.checkpoint import fold, pack_state
from deker_cluster.rebuild.state import RegistryState
from deker_workers import journal_room
from deker_workers.journal_store import JOURNAL_DIR, JournalStore
from tests.unit.rebuild_model import batch

if TYPE_CHECKING:
    from pathlib import Path


def summed(store: JournalStore) -> RegistryState:
    return fold(store.contents(), "the test")


def state_up_to(number: int, tokens: int = 7) -> RegistryState:
    state = RegistryState()
    state.apply_batch(batch(1, number, tokens=tokens))
    return state


def names(root: Path) -> list[str]:
    return sorted(p.name for p in (root / JOURNAL_DIR).iterdir() if p.suffix in {".jl", ".ck"})


def test_an_empty_directory_holds_nothing_and_stays_empty(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    assert store.position().number == 0
    assert summed(store).number == 0
    assert not store.compact()
    assert list(tmp_path.iterdir()) == []


def test_batches_add_up(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    assert store.append(batch(1, 3).pack()) == 3
    assert store.append(batch(4, 4, tokens=9).pack()) == 4
    assert store.position().tokens == 9
    again = JournalStore(tmp_path)
    assert again.position() == store.position()
    state = summed(again)
    assert state.number == 4
    assert sorted(state.collections) == ["id-1", "id-2", "id-3", "id-4"]
    assert (state.tokens, state.lowest_live) == (9, 9)


def test_adding_up_to_a_record(tmp_path: Path) -> None:
    """Also to one in the midst of a batch, which others have made."""
    store = JournalStore(tmp_path)
    for first in (1, 4, 7):
        store.append(batch(first, first + 2).pack())
    for until in range(1, 10):
        assert fold(store.contents(), "the test", until) == state_up_to(until, tokens=0)


def test_a_repetition_changes_nothing(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    store.append(batch(1, 3).pack())
    before = summed(store)
    assert store.append(batch(1, 3).pack()) == 3
    assert store.append(batch(2, 2).pack()) == 3
    assert summed(store) == before


def test_batches_may_overlap(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    store.append(batch(1, 3).pack())
    assert store.append(batch(2, 5).pack()) == 5
    assert summed(store).number == 5


def test_a_gap_is_refused(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    store.append(batch(1, 3).pack())
    assert store.append(batch(5, 6).pack()) == 3
    assert summed(store).number == 3


@pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b[:60] + b"?" + b[61:]])
def test_a_damaged_batch_is_refused(tmp_path: Path, spoil: object) -> None:
    store = JournalStore(tmp_path)
    with pytest.raises(DekerMetaDataError):
        store.append(spoil(batch(1, 3).pack()))  # type: ignore[operator]
    assert store.position().number == 0


def test_a_torn_tail_is_passed_over_and_cut(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    store.append(batch(1, 3).pack())
    (log,) = (tmp_path / JOURNAL_DIR).glob("log-*")
    end = len(batch(1, 3).pack())
    torn = batch(4, 90, size=50).pack()
    for kept in (1, 47, 48, len(torn) - 1):
        with log.open("r+b") as file:
            file.seek(end)
            file.write(torn[:kept])
        fresh = JournalStore(tmp_path)
        assert fresh.position().number == 3
        assert summed(fresh).number == 3
    assert store.append(batch(4, 4).pack()) == 4
    end += len(batch(4, 4).pack())
    assert not log.read_bytes()[end:].strip(b"\0")
    assert summed(JournalStore(tmp_path)).number == 4


def test_leftovers_behind_zeros_are_cut_after_a_restart(tmp_path: Path) -> None:
    """After a power cut the first page of a batch may be missing and a later one there."""
    JournalStore(tmp_path).append(batch(1, 3).pack())
    (log,) = (tmp_path / JOURNAL_DIR).glob("log-*")
    next_one, end = batch(4, 4).pack(), len(batch(1, 3).pack())
    with log.open("r+b") as file:
        file.seek(end + len(next_one))
        file.write(batch(5, 5, size=3).pack())
    JournalStore(tmp_path).append(next_one)
    assert summed(JournalStore(tmp_path)).number == 4


def test_two_stores_share_a_directory(tmp_path: Path) -> None:
    one, two = JournalStore(tmp_path), JournalStore(tmp_path)
    for number in range(1, 41):
        assert (one if number % 3 else two).append(batch(number, number).pack()) == number
    assert one.position().number == two.position().number == 40
    assert summed(two).number == 40


def test_many_threads_append_the_same(tmp_path: Path) -> None:
    stores = [JournalStore(tmp_path) for _ in range(4)]

    def work(store: JournalStore) -> None:
        for number in range(1, 30):
            store.append(batch(number, number).pack(), fsync=False)

    threads = [threading.Thread(target=work, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (log,) = (tmp_path / JOURNAL_DIR).glob("log-*")
    assert [found.last for found in parse_log(log.read_bytes())] == list(range(1, 30))


def test_a_removed_folder_is_noticed(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    store.append(batch(1, 3).pack())
    for path in (tmp_path / JOURNAL_DIR).iterdir():
        path.unlink()
    (tmp_path / JOURNAL_DIR).rmdir()
    assert store.position().number == 0
    assert store.append(batch(4, 4).pack()) == 0
    assert store.append(batch(1, 4).pack()) == 4


def test_a_checkpoint_takes_the_place_of_everything(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    store.append(batch(1, 3).pack())
    assert store.install(pack_state(state_up_to(10))) == 10
    assert names(tmp_path) == ["checkpoint-00000000000000000010.ck"]
    assert store.append(batch(12, 12).pack()) == 10
    assert store.append(batch(11, 12).pack()) == 12
    assert summed(JournalStore(tmp_path)).number == 12
    assert store.install(pack_state(state_up_to(11))) == 12
    assert summed(store).number == 12


def test_position_of_a_checkpoint(tmp_path: Path) -> None:
    state = state_up_to(5)
    store = JournalStore(tmp_path)
    store.append(batch(1, 5, tokens=7).pack())
    position = store.position()
    other = JournalStore(tmp_path / "other")
    other.install(pack_state(state))
    assert other.position() == position
    assert position.digest != 0


def test_folding(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    for number in range(1, 21):
        store.append(batch(number, number, size=100).pack())
    before = summed(store)
    assert not store.compact()
    assert store.compact(from_bytes=1000)
    assert names(tmp_path) == [
        "checkpoint-00000000000000000020.ck",
        "log-00000000000000000021.jl",
    ]
    assert summed(JournalStore(tmp_path)) == before
    assert not store.compact(from_bytes=1000)
    assert store.append(batch(21, 21).pack()) == 21
    assert summed(store).number == 21


def test_folding_beside_appends_loses_nothing(tmp_path: Path) -> None:
    store, other = JournalStore(tmp_path), JournalStore(tmp_path)
    done = threading.Event()
    folds = []

    def fold_often() -> None:
        while not done.is_set():
            folds.append(other.compact(fsync=False, from_bytes=500))

    thread = threading.Thread(target=fold_often)
    thread.start()
    for number in range(1, 200):
        assert store.append(batch(number, number, size=300).pack(), fsync=False) == number
        if number % 20 == 0:
            assert summed(JournalStore(tmp_path)).number == number
    done.set()
    thread.join()
    assert any(folds)
    assert summed(JournalStore(tmp_path)) == state_without_tokens(199)


def state_without_tokens(last: int) -> RegistryState:
    state = RegistryState()
    state.apply_batch(batch(1, last, size=300))
    return state


@pytest.mark.parametrize("step", range(6))
def test_folding_may_be_killed_at_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    store = JournalStore(tmp_path)
    for number in range(1, 21):
        store.append(batch(number, number, size=100).pack())
    before, left = summed(store), [step]

    class Killed(BaseException):
        pass

    def dying(original: object) -> object:
        def call(*args: object, **options: object) -> object:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return original(*args, **options)  # type: ignore[operator]

        return call

    for place in ("_open", "_read", "_put_checkpoint", "_remove"):
        monkeypatch.setattr(JournalStore, place, dying(getattr(JournalStore, place)))
    with pytest.raises(Killed):
        store.compact(from_bytes=1000)
    monkeypatch.undo()
    assert summed(JournalStore(tmp_path)) == before
    fresh = JournalStore(tmp_path)
    assert fresh.append(batch(21, 21).pack()) == 21
    assert fresh.compact(from_bytes=1000)
    assert summed(JournalStore(tmp_path)).number == 21


def test_records_missing_in_the_midst(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    store.append(batch(1, 3).pack())
    folder = tmp_path / JOURNAL_DIR
    (folder / "log-00000000000000000006.jl").write_bytes(batch(6, 7).pack())
    fresh = JournalStore(tmp_path)
    assert fresh.append(batch(4, 8).pack()) == 3
    with pytest.raises(DekerMetaDataError, match="4 to 5 are missing"):
        summed(fresh)
    assert fresh.install(pack_state(state_up_to(8))) == 8
    assert summed(fresh).number == 8


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    store.install(pack_state(state_up_to(8)))
    (path,) = (tmp_path / JOURNAL_DIR).glob("checkpoint-*")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DekerMetaDataError, match="does not match its checksum"):
        summed(JournalStore(tmp_path))


def test_a_full_disk_still_takes_what_was_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JournalStore(tmp_path)
    store.append(batch(1, 1).pack())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(journal_room.os, "posix_fallocate", full)

    def fill() -> None:
        for number in range(2, 1000):
            store.append(batch(number, number, size=50_000).pack(), fsync=False)

    with pytest.raises(StorageFullError):
        fill()
    number = store.position().number
    assert number > 15
    assert summed(JournalStore(tmp_path)).number == number
    monkeypatch.undo()
    assert store.append(batch(number + 1, number + 1).pack()) == number + 1


def test_what_could_not_be_synced_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JournalStore(tmp_path)
    store.append(batch(1, 3).pack())

    def fails(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("deker_workers.journal_store.os.fsync", fails)
    with pytest.raises(OSError, match="error"):
        store.append(batch(4, 5).pack())
    monkeypatch.undo()
    assert JournalStore(tmp_path).position().number == 3
    assert store.append(batch(4, 5).pack()) == 5


def test_a_holder_that_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deker_workers.journal_store._LOCK_DEADLINE_S", 0.05)
    store = JournalStore(tmp_path)
    store.append(batch(1, 1).pack())
    with store._flock("lock", 1), pytest.raises(ShardUnavailableError, match="has held the"):
        JournalStore(tmp_path).append(batch(2, 2).pack())
