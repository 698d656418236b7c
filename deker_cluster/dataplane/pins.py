"""Pins of generations: asked for, kept while somebody reads, given back."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import weakref
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from deker_cluster.core.fixed_manifest import FixedManifest
from deker_cluster.core.ids import new_id
from deker_cluster.dataplane.stored_tile import missing_file
from deker_cluster.errors import (
    DekerBaseApplicationError,
    DekerGenerationError,
    DekerInstanceNotExistsError,
)
from deker_cluster.failpoints import failpoint
from deker_cluster.registry.models import Entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from deker_cluster.dataplane.stored_tile import VersionGoneError
    from deker_cluster.registry.client import Registry

__all__ = ["PIN_TTL_S", "PinKeeper", "PinnedGeneration"]

logger = logging.getLogger(__name__)

PIN_TTL_S: Final = 600.0
"""How long a pin lasts that nobody renews: for so long a pickle may be on its way, the registry be
away, and the files of a reader that died stay."""

_RENEW_EVERY_S: Final = 150.0
_TRY_AGAIN_S: Final = 5.0

_keepers: weakref.WeakSet[PinKeeper] = weakref.WeakSet()


@attrs.define(eq=False)
class PinnedGeneration:
    """One generation of an array: an :class:`.EntrySource` that needs no registry.

    Only when tiles were moved to other shards it asks where.
    """

    keeper: PinKeeper
    pin_id: str
    array_id: str
    generation: int
    time_s: float | None
    """When it was committed, s since 1970; None if it never was."""
    epoch: int
    manifest: FixedManifest

    def entries(self, ordinals: npt.NDArray[np.int64]) -> Entries:
        """See :meth:`.EntrySource.entries`."""
        return Entries(self.generation, self.epoch, self.manifest.look_up(ordinals))

    def look_again(self, gone: VersionGoneError) -> None:
        """Look where a tile was moved, or raise why its file is not there.

        Raises
        ------
        DekerGenerationError
            The pin has ended, and the file was deleted.
        DekerIntegrityError
            The file is lost.
        """
        if self.keeper.has_ended(self.pin_id):
            raise DekerGenerationError(
                f"the pin of generation {self.generation} of array {self.array_id} has ended, and "
                "files of it are deleted: a pickled snapshot must be opened within "
                f"{PIN_TTL_S / 60:.0f} minutes, or stay open where it was made; take another one"
            ) from gone
        ordinal = np.array([gone.key.ordinal])
        latest = self.keeper.manifest_now(self)
        if latest is None or latest.look_up(ordinal) == self.manifest.look_up(ordinal):
            raise missing_file(gone) from gone
        self.manifest = latest


class _Pin:
    """A pin as one process holds it."""

    __slots__ = ("lost", "shared", "users")

    def __init__(self, *, shared: bool) -> None:
        self.users = 1
        self.shared = shared
        """Whether other processes may use it: then nobody can tell when it is not needed."""
        self.lost = False


class PinKeeper:
    """Takes pins and renews them from one background thread while they are in use."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._pins: dict[str, _Pin] = {}
        self._closed = False
        self._start_anew()
        _keepers.add(self)

    def _start_anew(self) -> None:
        self._lock = threading.Lock()
        # What is put here wakes the thread, and it does that with the pin.
        # Unlike locks and events, this queue may be used from a finaliser.
        self._messages: SimpleQueue[tuple[Callable[[str], object], str] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def take(
        self,
        array_id: str,
        collection_id: str,
        *,
        generation: int | None = None,
        at_s: float | None = None,
    ) -> PinnedGeneration:
        """Pin a generation, that of an instant, or the present one; :meth:`release` lets it go.

        Raises
        ------
        DekerGenerationError
            It is not kept.
        DekerInstanceNotExistsError
            The array has been deleted.
        """
        pin_id = new_id()
        failpoint("pin.asked")
        found = self._registry.pin(
            array_id, collection_id, pin_id, PIN_TTL_S, generation=generation, at_s=at_s
        )
        failpoint("pin.done")
        self._hold(pin_id, shared=False)
        manifest = FixedManifest(found.values)
        return PinnedGeneration(
            self, pin_id, array_id, found.generation, found.time_s, found.epoch, manifest
        )

    @contextlib.contextmanager
    def held(
        self,
        array_id: str,
        collection_id: str,
        *,
        generation: int | None = None,
        at_s: float | None = None,
    ) -> Iterator[PinnedGeneration]:
        """Pin a generation for the time of a ``with`` block; raises as :meth:`take`."""
        pinned = self.take(array_id, collection_id, generation=generation, at_s=at_s)
        try:
            yield pinned
        finally:
            self.release(pinned.pin_id)

    def share(self, pinned: PinnedGeneration) -> dict[str, Any]:
        """Return what another process needs to :meth:`join`; here it will not be ended any more."""
        with self._lock:
            pin = self._pins.get(pinned.pin_id)
            if pin is not None:
                pin.shared = True
        state = attrs.asdict(pinned, recurse=False)
        del state["keeper"]
        return state

    def join(self, state: dict[str, Any]) -> PinnedGeneration:
        """Keep a pin that came out of a pickle: the thread renews it at once."""
        pinned = PinnedGeneration(self, **state)
        self._hold(pinned.pin_id, shared=True)
        self._messages.put((self._renew, pinned.pin_id))
        return pinned

    def release(self, pin_id: str) -> None:
        """Let a pin go; the last user in the only process that knows it ends it."""
        with self._lock:
            pin = self._pins.get(pin_id)
            if pin is None:
                return
            pin.users -= 1
            if pin.users:
                return
            del self._pins[pin_id]
        self._messages.put(None)
        if not pin.shared:
            self._unpin(pin_id)

    def unshare(self, pin_id: str) -> None:
        """Take note that no other process needs a pin any more: :meth:`release` will end it."""
        with self._lock:
            pin = self._pins.get(pin_id)
            if pin is not None:
                pin.shared = False

    def abandon(self, pin_id: str) -> None:
        """Have the thread release a pin. Never waits: for finalisers."""
        self._messages.put((self.release, pin_id))

    def has_ended(self, pin_id: str) -> bool:
        """Ask the registry whether a pin has ended; one that has not is renewed."""
        with self._lock:
            pin = self._pins.get(pin_id)
        if pin is None or pin.lost:
            return True
        return not self._registry.renew_pin(pin_id, PIN_TTL_S)

    def manifest_now(self, pinned: PinnedGeneration) -> FixedManifest | None:
        """Return what a pinned generation is made of; None if its array was deleted."""
        try:
            found = self._registry.pin(pinned.array_id, None, pinned.pin_id, PIN_TTL_S)
        except DekerInstanceNotExistsError:
            return None
        return FixedManifest(found.values)

    def stay_awake(self) -> None:
        """Start the thread in a process that was forked from one which holds pins."""
        if self._thread is None:
            with self._lock:
                self._start_thread()

    @property
    def is_closed(self) -> bool:
        """Whether all pins were let go."""
        return self._closed

    def close(self) -> None:
        """Let all pins go."""
        with self._lock:
            self._closed = True
            own = [pin_id for pin_id, pin in self._pins.items() if not pin.shared]
            self._pins.clear()
        self._messages.put(None)
        for pin_id in own:
            if not self._unpin(pin_id):
                return  # the others would wait for the same silent server

    def _hold(self, pin_id: str, *, shared: bool) -> None:
        with self._lock:
            pin = self._pins.get(pin_id)
            if pin is None:
                self._pins[pin_id] = _Pin(shared=shared)
            else:
                pin.users += 1
            self._start_thread()

    def _unpin(self, pin_id: str) -> bool:
        try:
            self._registry.unpin(pin_id)
        except DekerBaseApplicationError as error:
            logger.info("pin %s was not ended and will expire: %s", pin_id, error)
            return False
        return True

    def _start_thread(self) -> None:
        if self._thread is None and self._pins:
            self._thread = threading.Thread(target=self._serve, name="deker-pins", daemon=True)
            self._thread.start()

    def _serve(self) -> None:
        due = time.monotonic() + _RENEW_EVERY_S
        while True:
            try:
                message = self._messages.get(timeout=max(due - time.monotonic(), 0))
            except Empty:
                pause_s = _RENEW_EVERY_S if self._renew_all() else _TRY_AGAIN_S
                due = time.monotonic() + pause_s
            else:
                if message is not None:
                    action, pin_id = message
                    if action(pin_id) is False:
                        due = min(due, time.monotonic() + _TRY_AGAIN_S)
            with self._lock:
                if not self._pins:
                    self._thread = None
                    return

    def _renew_all(self) -> bool:
        """Renew all pins; say whether the registry answered."""
        with self._lock:
            pin_ids = list(self._pins)
        # When it does not, the others would wait for the same silent server.
        return all(self._renew(pin_id) for pin_id in pin_ids)

    def _renew(self, pin_id: str) -> bool:
        """Renew a pin; say whether the registry answered."""
        pin = self._pins.get(pin_id)
        if pin is None or pin.lost:
            return True
        try:
            there = self._registry.renew_pin(pin_id, PIN_TTL_S)
        except DekerBaseApplicationError as error:
            if not self._closed:
                logger.warning("pins of snapshots could not be renewed: %s", error)
            return False
        if not there and pin_id in self._pins:
            pin.lost = True
            logger.warning("pin %s has ended while its snapshot was in use", pin_id)
        return True

    def _forked(self, *, child: bool) -> None:
        # Both go on with the same pins now, and neither knows when the other one is done.
        if child:
            self._start_anew()
        for pin in list(self._pins.values()):
            pin.shared = True


def _after_fork(*, child: bool) -> None:
    for keeper in list(_keepers):
        keeper._forked(child=child)  # noqa: SLF001 - the same module


os.register_at_fork(
    after_in_parent=lambda: _after_fork(child=False),
    after_in_child=lambda: _after_fork(child=True),
)
