"""Which holder a tile is read from, and how a read goes on when one fails."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from deker_cluster.errors import ShardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from deker_cluster.transport.messages import TileKey
    from deker_cluster.transport.shard_table import Shard, ShardTable

__all__ = ["FAIL_OVER_S", "Choice", "HolderFailedError", "Holders", "hastily"]

FAIL_OVER_S = 0.8
"""How long a read waits for the next bytes of a holder before it turns to another one."""

_BAD_FILES = 3
"""After so many a shard is taken for one that has lost more: the others are asked first."""

_POLL_S = 0.1

_T = TypeVar("_T")


class Choice(NamedTuple):
    """Where to read a tile."""

    shard: Shard
    spare: bool
    """Whether there is another holder to turn to: a failure is a :class:`HolderFailedError`."""
    hasty: bool
    """Whether to turn there as soon as nothing comes for :data:`FAIL_OVER_S`."""


class HolderFailedError(Exception):
    """A holder of a tile could not give it, and the tile has other holders."""

    def __init__(self, key: TileKey, choice: Choice, cause: Exception) -> None:
        super().__init__(key, choice, cause)
        self.key = key
        self.choice = choice
        self.cause = cause


class Holders:
    """Chooses the holders for one read; it learns from their failures.

    Every holder that answers gets its try before one that does not; those that did not answer
    soon get the client's whole deadline in the end.
    """

    __slots__ = ("_chosen", "_failures", "_shards")

    def __init__(self, shards: ShardTable) -> None:
        self._shards = shards
        self._chosen: dict[tuple[int, ...], Choice] = {}
        self._failures: _Failures | None = None

    def choose(self, ordinal: int, numbers: tuple[int, ...]) -> Choice:
        """Choose the holder of a tile to read from next.

        Raises
        ------
        Exception
            The failure of the last holder, or rather that of one which may be back later.
        """
        choice = self._chosen.get(numbers)
        if choice is not None:
            return choice
        if len(numbers) == 1:
            choice = Choice(self._shards.get(numbers[0]), spare=False, hasty=False)
        else:
            order = self._shards.by_distance(numbers)
            if self._failures is not None:
                return self._failures.choose(ordinal, order)
            choice = Choice(order[0], spare=True, hasty=True)
        self._chosen[numbers] = choice
        return choice

    def learn(self, failure: HolderFailedError) -> None:
        """Remember a failure: the next choice for the tile is another one, if there is any."""
        if isinstance(failure.cause, ShardUnavailableError):
            self._shards.shun(failure.choice.shard.number)
        if self._failures is None:
            self._failures = _Failures()
            self._chosen.clear()
        self._failures.add(failure)

    def damaged(self) -> list[tuple[TileKey, int]]:
        """Return files, with the numbers of the shards, that were damaged or not there."""
        return [] if self._failures is None else self._failures.files


class _Failures:
    def __init__(self) -> None:
        self.files: list[tuple[TileKey, int]] = []
        self._by_tile: dict[int, dict[int, Exception]] = {}
        self._silent: set[int] = set()
        self._given_up: dict[int, Exception] = {}

    def add(self, failure: HolderFailedError) -> None:
        number, cause = failure.choice.shard.number, failure.cause
        if isinstance(cause, ShardUnavailableError):
            if failure.choice.hasty:
                self._silent.add(number)
            else:
                self._given_up[number] = cause
            return
        self._by_tile.setdefault(failure.key.ordinal, {})[number] = cause
        self.files.append((failure.key, number))
        if sum(shard == number for _, shard in self.files) == _BAD_FILES:
            self._silent.add(number)

    def choose(self, ordinal: int, order: Sequence[Shard]) -> Choice:
        failed = {**self._by_tile.get(ordinal, {}), **self._given_up}
        left = [shard for shard in order if shard.number not in failed]
        if not left:
            causes = [failed[shard.number] for shard in order]
            raise next((e for e in causes if isinstance(e, ShardUnavailableError)), causes[-1])
        quick = [shard for shard in left if shard.number not in self._silent]
        return Choice((quick or left)[0], spare=True, hasty=bool(quick) and len(left) > 1)


def hastily(begin: Callable[[], Iterable[_T]], shard: str) -> Iterator[_T]:
    """Go through what a shard sends in a thread of its own, and give up when it is silent.

    Raises
    ------
    ShardUnavailableError
        Nothing has come for :data:`FAIL_OVER_S`. The thread ends with the call's own deadline, or
        as soon as something comes; that is dropped.
    Exception
        What the call itself raised.
    """
    line = _Line()
    threading.Thread(target=line.run, args=(begin,), name="deker-hasty", daemon=True).start()
    try:
        while True:
            try:
                kind, item = line.arrived.get(timeout=FAIL_OVER_S)
            except queue.Empty:
                raise ShardUnavailableError(
                    f"shard {shard} sent nothing for {FAIL_OVER_S:g} s"
                ) from None
            if kind == "end":
                return
            if kind == "error":
                raise item
            yield item
    finally:
        line.closed.set()


class _Line:
    """Hands over what a thread gets, one item at a time."""

    def __init__(self) -> None:
        self.arrived: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=1)
        self.closed = threading.Event()

    def run(self, begin: Callable[[], Iterable[Any]]) -> None:
        try:
            for item in begin():
                if not self._put("item", item):
                    return
        except Exception as error:  # noqa: BLE001 - whatever it is, the reader raises it
            self._put("error", error)
        else:
            self._put("end", None)

    def _put(self, kind: str, item: Any) -> bool:
        while not self.closed.is_set():
            try:
                self.arrived.put((kind, item), timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False
