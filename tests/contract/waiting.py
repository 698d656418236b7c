"""Writers of a test that take tiles, wait for them, and are counted."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from deker_cluster.dataplane.leases import LeaseKeeper
from deker_cluster.registry import Busy, Lease, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


PATIENCE_S = 60


class Writer:
    """A keeper with a registry of its own that counts what it asks for."""

    def __init__(self, registry: Registry, array: str) -> None:
        self.registry = registry
        self.keeper = LeaseKeeper(registry)
        self.array = array
        self.asked = 0
        self.busy = threading.Event()
        self.token = 0
        self._acquire = registry.acquire
        registry.acquire = self._counted  # type: ignore[method-assign]

    def _counted(self, *arguments: Any, **options: Any) -> Lease | Busy:
        self.asked += 1
        answer = self._acquire(*arguments, **options)
        if isinstance(answer, Busy):
            self.busy.set()
        return answer

    def take(
        self,
        ordinals: Sequence[int],
        timeout_s: float = PATIENCE_S,
        held: Sequence[int] | None = None,
    ) -> int:
        lease = self.keeper.take([(self.array, ordinals)], timeout_s, {self.array: "c1"}, held)
        self.token = lease.token
        return lease.token

    def release(self, *tokens: int) -> None:
        self.keeper.give_back(tokens or [self.token], abort=True)


class Waiting(threading.Thread):
    """A writer that takes tiles in a thread; ``started`` once it stands in the queue."""

    def __init__(self, writer: Writer, ordinals: Sequence[int], **options: Any) -> None:
        super().__init__()
        self.writer = writer
        self.error: BaseException | None = None
        self._ordinals = ordinals
        self._options = options
        writer.busy.clear()
        self.start()
        assert writer.busy.wait(PATIENCE_S)

    def run(self) -> None:
        try:
            self.writer.take(self._ordinals, **self._options)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def end(self) -> None:
        self.join(PATIENCE_S)
        assert not self.is_alive()


def until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def keys_of_waiters(registry: Registry) -> list[bytes]:
    patterns = ("waiter:*", "wake:*", "a:*:w")
    return [
        key
        for pattern in patterns
        for key in registry._link.command("KEYS", f"deker:{{{registry.name}}}:{pattern}")
    ]
