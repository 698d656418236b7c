"""A crash of the registry's server loses nothing that was acknowledged, whatever it was doing."""

from __future__ import annotations

import collections
import contextlib
import os
import random
import signal
import time
import warnings
from typing import TYPE_CHECKING, Any

import psutil

from deker_cluster.errors import (
    CommitConflictError,
    CommitStateUnknownError,
    DekerBaseApplicationError,
    DekerLockError,
    RegistryUnavailableError,
)
from deker_cluster.registry import Registry
from deker_cluster.uri import parse_uri
from tests.chaos.rows import Row
from tests.kit.processes import Child, Talk, children, server_pid
from tests.kit.storages import array_of, make_array, open_client, storage, tiles_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

    from deker_cluster import Client
    from tests.chaos.rows import RowResult, RunContext

_WRITERS = 2
_TILES = 4
_TTL_S = 1.0
_PATIENCE_S = 40.0
_NOT_DONE = (CommitConflictError, DekerLockError, RegistryUnavailableError, CommitStateUnknownError)


def count_up(talk: Talk, root: str, name: str) -> None:
    """Write 1, 2, 3... to an array; say each number before and after."""
    with open_client(root) as client:
        array, value = array_of(client, name), 0
        while not talk.asked():
            value += 1
            talk(("try", value))
            try:
                array[:].update(value)
            except _NOT_DONE:
                continue
            except DekerBaseApplicationError as error:
                talk(("broken", f"{type(error).__name__}: {error}"))
                return
            talk(("done", value))


def make_and_delete(talk: Talk, root: str, seed: int) -> None:
    """Create arrays, write to them, delete some; say what was acknowledged."""
    chance = random.Random(seed)
    with open_client(root) as client:
        number = 0
        while not talk.asked():
            number += 1
            name = f"passing {number}"
            try:
                array = make_array(client, name, tiles=_TILES, collection="passing")
                array[:].update(number)
                talk(("made", array.id))
                if chance.random() < 0.5:
                    talk(("deleting", array.id))
                    array.delete()
                    talk(("deleted", array.id))
            except (RegistryUnavailableError, CommitStateUnknownError, CommitConflictError):
                continue
            except DekerBaseApplicationError as error:
                talk(("broken", f"{type(error).__name__}: {error}"))
                return


class _Watch:
    """What the processes have said, and what therefore has to be there."""

    def __init__(self, context: RunContext, client: Client, kids: dict[str, Child]) -> None:
        self._context = context
        self._client = client
        self._kids = kids
        self._tried: collections.Counter[str] = collections.Counter()
        self.done: collections.Counter[str] = collections.Counter()
        self._there: set[str] = set()
        self._unsure: set[str] = set()
        self._gone: set[str] = set()
        self.acknowledged = 0
        self.broken = False

    def listen(self) -> None:
        for name, kid in self._kids.items():
            for word, what in kid.waiting():
                self._hear(name, word, what)

    def _hear(self, name: str, word: str, what: Any) -> None:
        if word == "try":
            self._tried[name] = what
        elif word == "broken":
            self.broken = True
            self._context.check(False, f"{name}: {what}")
        elif word == "deleting":
            self._there.discard(what)
            self._unsure.add(what)
        else:
            self.acknowledged += 1
            if word == "done":
                self.done[name] = what
            elif word == "made":
                self._there.add(what)
            else:
                self._unsure.discard(what)
                self._gone.add(what)

    def check(self, when: str) -> None:
        """Look whether everything is there that had been acknowledged before."""
        least = dict(self.done)
        there, gone = set(self._there), set(self._gone)
        try:
            for name, value in least.items():
                array = array_of(self._client, name)
                seen = set(tiles_of(array[:].read()).values())
                self.listen()
                well = len(seen) == 1 and value <= min(seen) <= self._tried[name]
                text = f"{when}: {name} holds {seen}, {value} was acknowledged"
                self._context.check(well, text)
            found = self._client.get_collection("passing")
            names = {array.id for array in found} if found is not None else set()
        except (DekerBaseApplicationError, AssertionError) as error:
            # Not even the collection, or the array, is there.
            self._context.check(False, f"{when}: {type(error).__name__}: {error}")
            self.broken = True
            return
        lost = there - self._unsure - names
        self.listen()
        lost &= self._there
        self._context.check(not lost, f"{when}: arrays are lost: {sorted(lost)[:5]}")
        self._context.check(not gone & names, f"{when}: deleted arrays are back: {gone & names}")


def run(context: RunContext) -> RowResult:
    root = context.folder / "d"
    kinds: collections.Counter[str] = collections.Counter()
    kills = context.count(200, least=4)
    with storage(root, garbage_grace_s=1) as client, children() as started:
        kids = {}
        for number in range(_WRITERS):
            name = f"counter {number}"
            make_array(client, name, tiles=_TILES)
            kids[name] = Child(count_up, str(root), name, ttl_s=_TTL_S)
        kids["passing"] = Child(make_and_delete, str(root), context.seed, ttl_s=_TTL_S)
        started.extend(kids.values())
        _fill(client)
        watch = _Watch(context, client, kids)
        done = 0
        for done in range(1, kills + 1):
            _await_progress(watch)
            kinds[_crash(context, client, root, done)] += 1
            watch.listen()
            watch.check(f"crash {done}")
            if watch.broken or len(context.failures) >= 20:
                break
            if done % 50 == 0:
                context.progress(f"{done} crashes, {watch.acknowledged} acknowledged")
        for kid in kids.values():
            kid.send("stop")
        while not all(kid.over for kid in kids.values()):
            watch.listen()
            time.sleep(0.01)
        watch.check("at the end")
    _check_warnings(context)
    return context.result(done, acknowledged=watch.acknowledged, **kinds)


def _fill(client: Client) -> None:
    """Give the server something to rewrite, so that a rewrite takes its time."""
    words: list[str | bytes] = []
    for number in range(200):
        words += [f"ballast:{number}", os.urandom(20_000)]
    client.session.registry._link.command("MSET", *words)


def _await_progress(watch: _Watch) -> None:
    """Let every counter get on, so that no crash hits a server that is not yet in use."""
    before, limit = dict(watch.done), time.monotonic() + _PATIENCE_S
    while not watch.broken and any(
        watch.done[f"counter {number}"] == before.get(f"counter {number}", 0)
        for number in range(_WRITERS)
    ):
        watch.listen()
        if time.monotonic() > limit:
            raise AssertionError(f"no writer gets on {_PATIENCE_S:g} s after a crash: {watch.done}")
        time.sleep(0.001)


def _crash(context: RunContext, client: Client, root: Path, number: int) -> str:
    rewriting = context.rng.random() < 0.5
    time.sleep(context.rng.uniform(0, 0.02))
    if rewriting:
        # One that runs already is as good.
        with contextlib.suppress(DekerBaseApplicationError):
            client.session.registry._link.command("BGREWRITEAOF")
        time.sleep(context.rng.uniform(0, 0.03))
    limit = time.monotonic() + _PATIENCE_S
    while True:
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            server = server_pid(root)
            # The keeper waits longer and longer for a server that ends again and again; with the
            # keeper's own death the server dies too, and the next user starts both anew.
            victim = psutil.Process(server).ppid() if number % 3 == 0 else server
            os.kill(victim, signal.SIGKILL)
            return "during a rewrite" if rewriting else "during commits"
        if time.monotonic() > limit:
            raise AssertionError("no server comes up any more")
        time.sleep(0.001)


def _check_warnings(context: RunContext) -> None:
    """A server that may lose what it acknowledged is named when a client comes."""
    from deker_coordinator.bootstrap import _warn_if_weak
    from tests.contract.servers import Server

    server = Server("valkey")
    server.start()
    try:
        for changes, weak in (
            ((), False),
            ((("appendfsync", "everysec"),), True),
            ((("appendfsync", "no"),), True),
            ((("appendfsync", "always"), ("appendonly", "no")), True),
        ):
            with _connected(server) as registry:
                for option, value in changes:
                    registry._link.command("CONFIG", "SET", option, value)
                with warnings.catch_warnings(record=True) as heard:
                    warnings.simplefilter("always")
                    _warn_if_weak(parse_uri("deker://host/name"), registry)
                text = " ".join(str(each.message) for each in heard)
                context.check(("may lose" in text) == weak, f"{changes}: the warning is {text!r}")
    finally:
        server.stop()


@contextlib.contextmanager
def _connected(server: Any) -> Iterator[Registry]:
    def connect() -> redis.Redis:
        found: redis.Redis = server.connect()
        return found

    registry = Registry(connect, "chaos")
    try:
        yield registry
    finally:
        registry.close()


ROW = Row(
    number=5,
    promise="a registry crash loses nothing acknowledged",
    runs="200 kills",
    run=run,
    sabotage="the embedded server keeps no log on disk",
)
