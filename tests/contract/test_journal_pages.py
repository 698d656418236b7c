"""What a journal says to those who bring it to disk, and to those who write meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.contract.writing import take, write

if TYPE_CHECKING:
    from deker_cluster.registry import Registry


def test_pages_and_trimming_of_the_journal(registry: Registry, array: str) -> None:
    for _ in range(10):
        write(registry, array, 0)
    page = registry.journal_page(4, 3)
    assert (page.first, page.last) == (1, 13)
    assert [number for number, _ in page.records] == [5, 6, 7]
    registry.journal_done(6)
    registry.journal_done(6)
    page = registry.journal_page(0, 100)
    assert (page.first, page.last) == (7, 13)
    assert [number for number, _ in page.records] == list(range(7, 14))
    registry.journal_done(13)
    page = registry.journal_page(13, 100)
    assert (page.first, page.last, page.records) == (14, 13, [])
    write(registry, array, 0)
    assert [number for number, _ in registry.journal_page(13, 100).records] == [14]


def test_the_journal_knows_who_may_still_commit(registry: Registry, array: str) -> None:
    page = registry.journal_page(0, 1)
    assert (page.tokens, page.lowest_live) == (0, 1)
    one, two = take(registry, (array, [0])), take(registry, (array, [1]))
    page = registry.journal_page(0, 1)
    assert (page.tokens, page.lowest_live) == (two.token, one.token)
    registry.abort(one.token)
    assert registry.journal_page(0, 1).lowest_live == two.token
    registry.commit(two.token, [(array, [(1, None, b"e")])])
    page = registry.journal_page(0, 1)
    assert (page.tokens, page.lowest_live) == (two.token, two.token + 1)


def test_counters_are_raised_and_never_lowered(registry: Registry, array: str) -> None:
    assert registry.raise_tokens(1000) == 1000
    assert registry.raise_tokens(10) == 1000
    assert take(registry, (array, [0])).token == 1001
    large = 2**53 - 100
    registry.raise_tokens(large)
    assert take(registry, (array, [1])).token == large + 1
    last = registry.journal_page(0, 1).last
    assert registry.raise_journal(last - 1) == last
    assert registry.raise_journal(last + 50) == last + 50
    write(registry, array, 2)
    page = registry.journal_page(last, 10)
    assert [number for number, _ in page.records] == [last + 51]


def test_a_lease_tells_of_what_no_tile_file_does(registry: Registry, array: str) -> None:
    """Until the disks have it: the collection, then commits of that kind, and deletes."""

    def unsettled() -> bool:
        lease = take(registry, (array, [5]))
        registry.abort(lease.token)
        return lease.unsettled

    def settle() -> None:
        registry.journal_done(registry.journal_page(0, 1).last)

    assert unsettled()
    settle()
    assert not unsettled()
    write(registry, array, 0)
    registry.create_array("c1", "other", None, "m")
    assert not unsettled()
    lease = take(registry, (array, [1]))
    registry.commit(lease.token, [(array, [(1, None, b"new")])], untold=True)
    page = registry.journal_page(0, 1)
    registry.journal_done(page.last - 1)
    assert unsettled()
    settle()
    assert not unsettled()
    registry.delete_array("other")
    assert unsettled()
    settle()
    registry.delete_collection("c1")
    registry.create_collection("cloud", "c2", {})
    registry.create_array("c2", array, None, "m")
    settle()
    assert not unsettled()
