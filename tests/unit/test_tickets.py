from __future__ import annotations

import random

import pytest

from deker_cluster.core.ids import new_id
from deker_cluster.transport.tickets import (
    LIFE_S,
    MAX_TICKET_BYTES,
    Purpose,
    TicketRefusedError,
    new_key,
    sign,
    unseal,
)

KEY = new_key()
SHARD = new_id()
NOW_S = 1.7e9
REQUEST = b"what is wanted"


def ticket(request: bytes = REQUEST) -> bytes:
    return sign(KEY, Purpose.GET, SHARD, request, now_s=NOW_S)


def opened(sealed: bytes, now_s: float = NOW_S) -> bytes:
    return unseal(KEY, Purpose.GET, SHARD, sealed, now_s=now_s)


@pytest.mark.parametrize("request_", [b"", REQUEST, bytes(1 << 20)])
def test_a_ticket_gives_its_request(request_: bytes) -> None:
    assert opened(ticket(request_)) == request_


def test_keys_differ() -> None:
    assert len({new_key() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("key", "purpose", "shard"),
    [
        (new_key(), Purpose.GET, SHARD),
        (KEY, Purpose.PUT, SHARD),
        (KEY, Purpose.GET, new_id()),
    ],
    ids=["key", "purpose", "shard"],
)
def test_a_ticket_is_for_one_thing_only(key: bytes, purpose: Purpose, shard: str) -> None:
    with pytest.raises(TicketRefusedError):
        unseal(key, purpose, shard, ticket(), now_s=NOW_S)


@pytest.mark.parametrize("late_s", [LIFE_S + 1, 1e6, -LIFE_S - 1, -1e6])
def test_a_ticket_ends(late_s: float) -> None:
    sealed = ticket()
    with pytest.raises(TicketRefusedError, match="ended"):
        opened(sealed, NOW_S + late_s)


@pytest.mark.parametrize("skew_s", [LIFE_S - 1, 1 - LIFE_S])
def test_clocks_may_differ_somewhat(skew_s: float) -> None:
    assert opened(ticket(), NOW_S + skew_s) == REQUEST


def test_every_changed_bit_is_noticed() -> None:
    sealed = ticket()
    for bit in range(8 * len(sealed)):
        forged = bytearray(sealed)
        forged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TicketRefusedError):
            opened(bytes(forged))


def test_every_other_length_is_noticed() -> None:
    sealed = ticket()
    for stop in range(len(sealed)):
        with pytest.raises(TicketRefusedError):
            opened(sealed[:stop])
    with pytest.raises(TicketRefusedError):
        opened(sealed + b"\0")


def test_noise_is_refused() -> None:
    chance = random.Random(1)
    for _ in range(300):
        with pytest.raises(TicketRefusedError):
            opened(chance.randbytes(chance.randrange(200)))


def test_long_ones_are_neither_made_nor_read() -> None:
    with pytest.raises(TicketRefusedError, match="too long"):
        ticket(bytes(MAX_TICKET_BYTES))
    with pytest.raises(TicketRefusedError, match="a ticket of"):
        opened(bytes(MAX_TICKET_BYTES + 1))


def test_nothing_unsigned_is_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    class _Untouchable:
        def unpack_from(self, _: bytes) -> None:
            pytest.fail("an unsigned ticket was parsed")

        size = 29

    monkeypatch.setattr("deker_cluster.transport.tickets._HEAD", _Untouchable())
    with pytest.raises(TicketRefusedError, match="signature"):
        opened(bytes(100))
