"""Journals on disk that somebody damaged: never a wrong state in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from deker_cluster.errors import DekerMetaDataError, RegistryRewoundError
from deker_cluster.rebuild.batches import record_digest, rest_of_log
from deker_cluster.rebuild.checkpoint import (
    checkpoint_position,
    find_damage,
    fold,
    pack_state,
    unpack_state,
)
from deker_cluster.rebuild.state import RegistryState
from deker_workers.journal_store import JOURNAL_DIR, JournalStore
from tests.unit.rebuild_model import batch, record
from tests.unit.test_journal_store import state_up_to, summed

if TYPE_CHECKING:
    from pathlib import Path


def test_every_byte_of_a_checkpoint_counts() -> None:
    data = pack_state(RegistryState(number=3, tokens=8, digest=77, collections={"c": {b"a": b"b"}}))
    assert checkpoint_position(data) is not None
    for at in range(len(data)):
        for bit in (1, 128):
            spoiled = bytearray(data)
            spoiled[at] ^= bit
            assert checkpoint_position(bytes(spoiled)) is None, at
            with pytest.raises(DekerMetaDataError):
                unpack_state(spoiled, "it")
    for end in range(len(data)):
        assert checkpoint_position(data[:end]) is None


def test_every_byte_of_a_log_counts(tmp_path: Path) -> None:
    """Whatever is not as it was written is passed over, and told of."""
    store = JournalStore(tmp_path)
    for number in range(1, 4):
        store.append(batch(number, number).pack())
    whole = summed(store)
    (log,) = (tmp_path / JOURNAL_DIR).glob("log-*")
    data = log.read_bytes()
    assert find_damage(store.contents(), "it") == []
    for at in range(len(data.rstrip(b"\0"))):
        log.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        contents = JournalStore(tmp_path).contents()
        (told,) = find_damage(contents, "it")
        state = fold(contents, "it")
        assert state.number < whole.number
        if state.number < 2:
            assert f"damaged after record {state.number}" in told
            assert "up to 3" in told
        else:
            assert "no records" in told


def test_what_stands_behind_damage() -> None:
    good = [batch(number, number).pack() for number in range(1, 6)]
    assert rest_of_log(b"".join(good) + bytes(100)) == (5, 0, 0)
    bad = b"DKJ1" + good[1][4:-1] + b"?"
    number, last, size = rest_of_log(good[0] + bad + good[2] + good[3] + bytes(9))
    assert (number, last) == (1, 4)
    assert size >= len(bad + good[2])
    assert rest_of_log(good[0] + bad + bytes(9)) == (1, 0, len(bad))
    assert rest_of_log(b"") == (0, 0, 0)


def test_a_damaged_checkpoint_does_not_count(tmp_path: Path) -> None:
    """Else nobody would send another one as long as there is a registry that could."""
    JournalStore(tmp_path).install(pack_state(state_up_to(8)))
    (path,) = (tmp_path / JOURNAL_DIR).glob("checkpoint-*")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    store = JournalStore(tmp_path)
    assert store.position().number == 0
    assert store.append(batch(9, 9).pack()) == 0
    assert store.install(pack_state(state_up_to(8))) == 8
    assert store.append(batch(9, 9).pack()) == 9
    assert summed(JournalStore(tmp_path)).number == 9


def test_a_checkpoint_is_not_removed_to_be_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was written by somebody who was killed while removing what it covers."""
    store = JournalStore(tmp_path)
    for number in range(1, 21):
        store.append(batch(number, number, size=100).pack())
    (log,) = (tmp_path / JOURNAL_DIR).glob("log-*")
    rest = batch(15, 20, size=100).pack()
    assert store.compact(from_bytes=1000)
    log.with_name("log-00000000000000000015.jl").write_bytes(rest)
    fresh = JournalStore(tmp_path)
    before = summed(fresh)

    def full(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr("deker_workers.journal_store.write_files", full)
    fresh.compact(from_bytes=10)
    assert summed(JournalStore(tmp_path)) == before
    assert JournalStore(tmp_path).position().number == 20


def test_records_of_another_past_are_refused(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    store.append(batch(1, 3).pack())
    before = summed(store)
    other = batch(2, 3)
    other = attrs.evolve(other, records=(other.records[0], (3, record(33))))
    longer = attrs.evolve(other, records=(*other.records, (4, record(4))))
    for each in (other, longer):
        with pytest.raises(RegistryRewoundError, match="another record 3"):
            store.append(each.pack())
    assert summed(store) == before
    # What a checkpoint ends in is known by its digest, or not at all.
    known, unknown = state_up_to(3), state_up_to(3)
    known.digest, unknown.digest = record_digest(record(33)), 0
    for state, names in ((known, "known"), (unknown, "unknown")):
        store = JournalStore(tmp_path / names)
        store.install(pack_state(state))
        assert store.append(longer.pack()) == 4
