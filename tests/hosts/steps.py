"""What is shown on several hosts, step by step; each step begins where the one before it ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from tests.hosts.checks import COPIES, Checks, listed, require
from tests.hosts.hosted import NotShownError
from tests.hosts.talk import AgentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hosts.hosted import Site

__all__ = ["STEPS", "Show", "Step"]

HOSTS = ("a", "b", "c")
CUT_OFF = "c"
REPLACEMENT = "d"

_SIDE, _GRID, _SEED = 2048, 32, 7
"""Of the array that is only read: 32 MiB in 1,024 tiles. With fewer, chance alone would put some
shard more than a tenth away from its fair share."""

_SMALL_SIDE, _SMALL_GRID = 256, 8

_CUT_S = 130.0
"""A shard that comes back deletes what it has missed if that is two minutes old; what is younger
goes an hour later, and would be a finding of the check."""

_SETTINGS = {
    "down_after_s": 3,
    "lost_after_s": 10,
    "garbage_grace_s": 1,
    "moves_bytes_per_s": 0,
}
"""Of the cluster: its own would wait for ten minutes before they give a host up."""


class Show(Checks):
    """The steps; what a later one needs to know of an earlier one is kept here."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._cut_at = 0.0
        self._acknowledged = 0
        self._before: dict[str, int] = {}

    def hosts(self) -> str:
        """Three hosts and a hub have networks of their own, without a way out."""
        network = self.site.network
        for name in HOSTS:
            network.add(name)
        places = [network.hub, *network.hosts.values()]
        for host in places[1:]:
            status, said = host.run("ip", "route", "get", network.hub.address)
            require(f"{host} has no way to the hub: {said}", so=status == 0)
            status, said = host.run("ip", "route", "get", "192.0.2.1")
            require(f"{host} has a way out: {said}", so=status != 0)
        require("hosts share a network", so=len({host.network_id for host in places}) == 4)
        return ", ".join(map(str, places))

    def registry(self) -> str:
        """Valkey listens at the bridge, and asks for a password."""
        self.site.start_registry()
        status, said = self.site.status_without_password()
        require(
            f"it serves without its password: {said}",
            so=status != 0 and "refused the login" in said,
        )
        return f"{self.site.network.hub.address}; without password: {said.strip()[:90]}"

    def ray(self) -> str:
        """A Ray has its head at the hub and a node on every host."""
        self.site.start_head()
        for name in HOSTS:
            self.site.start_node(self.site.network.hosts[name])
        self.site.agent(self.site.network.hub)
        self.site.until("Ray has all hosts", lambda: self.nodes() == list(HOSTS))
        return f"head at {self.site.ray_address}, storage nodes {', '.join(HOSTS)}"

    def cluster(self) -> str:
        """The command `deker-cluster start` gives every host a shard."""
        self.site.start_cluster()
        self.hub.ask("settings", **_SETTINGS)
        shards = self.hub.ask("shards")
        require(f"the shards are {shards}", so=sorted(shards) == list(HOSTS))
        for host in self.site.network.hosts.values():
            self.site.agent(host)
        return ", ".join(f"shard {each['number']} on {host}" for host, each in shards.items())

    def spread(self) -> str:
        """Each tile is on two hosts, each host has its fair share, and its disk says so, too."""
        self.hub.ask("make", name="survey", side=_SIDE, grid=_GRID, dtype="float64")
        self.hub.ask("fill", name="survey", seed=_SEED)
        counts, wrong = self.shares("survey", HOSTS)
        require(wrong, so=not wrong)
        for name, count in counts.items():
            on_disk = self.site.disk_of(self.site.network.hosts[name])
            require(f"{name} holds {count} tiles and has {on_disk} files", so=on_disk == count)
        return f"{_GRID * _GRID} tiles, {COPIES} copies of each: {listed(counts)}"

    def remote(self) -> str:
        """What is on other hosts comes over Flight, and nothing else comes."""
        told = []
        for where, agent in (("the hub, without a shard", self.hub), ("host a", self.agent("a"))):
            agent.ask("read", name="survey", seed=_SEED)  # connections are made
            read = agent.ask("read", name="survey", seed=_SEED)
            elsewhere, flown = read["remote_bytes"], read["flight_bytes"]
            came = read["network_bytes"]
            seen = (
                f"{where}: {read['bytes'] / 1e6:.1f} MB, of them {elsewhere / 1e6:.1f} MB "
                f"elsewhere, {flown / 1e6:.1f} MB over Flight, {came / 1e6:.1f} MB by the network"
            )
            require(f"not what was written; {seen}", so=read["equal"])
            require(f"not over Flight; {seen}", so=0 < elsewhere <= flown <= 1.2 * elsewhere)
            require(f"in other ways, too; {seen}", so=came <= 1.1 * flown + 1_000_000)
            told.append(seen)
        return "; ".join(told)

    def partition(self) -> str:
        """A host is cut off: others read and write on, and its tiles get their copies back."""
        cut = self.site.network.hosts[CUT_OFF]
        for name in ("steady", "contested"):
            self.hub.ask("make", name=name, side=_SMALL_SIDE, grid=_SMALL_GRID, dtype="int64")
            self.hub.ask("write", name=name, number=1)
        self._before = self.shard(CUT_OFF)
        # When it stops, before its commit, it has its lease, and its files are in place.
        late = self.site.agent(cut, "late", DEKER_FAILPOINTS="commit.ask=stop")
        late.begin("write", name="contested", number=2)
        late.await_stop()
        self.agent("b").ask("keep_on", name="steady", writes=True, floor=1)
        self.agent("a").ask("keep_on", name="steady", writes=False, floor=1)
        inside = self.agent(CUT_OFF)
        inside.ask("number", name="steady")  # it could, until now
        self.site.network.cut(cut)
        self._cut_at = time.monotonic()
        for what, words in (("number", {}), ("write", {"number": 4})):
            error = self.refused(inside, what, name="contested", **words)
            require(f"{what} there ended with {error}", so=error == "RegistryUnavailableError")
        rival = self.site.agent(self.site.network.hosts["a"], "rival")
        rival.ask("write", name="contested", number=3)  # when the late one's lease has ended
        self.site.until("it is lost", lambda: self.shard(CUT_OFF)["state"] == "lost")
        for name in ("survey", "steady", "contested"):
            self.until_shared(name, ("a", "b"))
        number = self.hub.ask("number", name="contested")
        require(f"the rival wrote 3, the cells are {number}", so=number == [3])
        return (
            f"read and write there: {error}; all tiles have two copies on the others "
            f"{time.monotonic() - self._cut_at:.0f} s after the cut; {self.went_on(running=True)}"
        )

    def fencing(self) -> str:
        """The link is up again; a writer that was ready to commit before the cut cannot."""
        time.sleep(max(_CUT_S - (time.monotonic() - self._cut_at), 0.0))
        self._acknowledged = self.agent("b").ask("so_far")["number"]
        late = self.agent(CUT_OFF, "late")
        self.site.network.heal(self.site.network.hosts[CUT_OFF])
        lasted = time.monotonic() - self._cut_at
        late.wake()
        try:
            answer = late.answer(300.0)  # it also tries to delete what it has staged
        except AgentError as error:
            kind = error.kind
            require(f"refused for another reason: {error}", so=kind == "CommitConflictError")
        else:
            raise NotShownError(f"the late writer has committed: {answer}")
        number = self.hub.ask("number", name="contested")
        require(f"the rival wrote 3, the cells are {number}", so=number == [3])
        return f"{kind} after a cut of {lasted:.0f} s; the cells are the rival's"

    def healing(self) -> str:
        """The shard is taken back, gets its share again, and serves nothing stale."""
        self.site.until("Ray has the host back", lambda: self.nodes() == list(HOSTS))
        self.site.until("its shard is up again", self._is_taken_back)
        self.until_shared("survey", HOSTS)
        self.until_whole("steady", "contested")
        there = self.site.agent(self.site.network.hosts[CUT_OFF], "after")
        numbers = there.ask("number", name="steady")
        require(
            f"{CUT_OFF} reads {numbers}, {self._acknowledged} was acknowledged before",
            so=len(numbers) == 1 and numbers[0] >= self._acknowledged,
        )
        served = self.read_from_each("survey", _SEED, HOSTS)
        return f"{served}; {self.until_clean()}; {self.went_on(running=True)}"

    def _is_taken_back(self) -> bool:
        now, before = self.shard(CUT_OFF), self._before
        return bool(
            now["state"] == "up"
            and now["number"] == before["number"]
            and now["incarnation"] > before["incarnation"]
        )

    def replacement(self) -> str:
        """A host and its disk are gone, another one comes: two copies of everything again."""
        gone = self.site.network.hosts[CUT_OFF]
        gone.power_off()
        gone.erase_disk()
        self.site.start_node(self.site.network.add(REPLACEMENT))
        now = ("a", "b", REPLACEMENT)
        # Until Ray knows that the old one is gone, the command would wait for its shard.
        self.site.until("Ray has the new host only", lambda: self.nodes() == list(now))
        self.site.start_cluster()
        begun = time.monotonic()
        counts = self.until_shared("survey", now, newest=REPLACEMENT)
        self.until_whole("steady", "contested")
        took = time.monotonic() - begun
        self.read_from_each("survey", _SEED, now)
        went_on = self.went_on(running=False)
        number = self.hub.ask("number", name="contested")
        require(f"the rival wrote 3, the cells are {number}", so=number == [3])
        clean = self.until_clean()
        return (
            f"whole {took:.0f} s after the new shard's start: {listed(counts)}; {clean}; {went_on}"
        )


@attrs.frozen
class Step:
    """One step."""

    name: str
    run: Callable[[Show], str]
    """Returns what was seen; raises :class:`NotShownError` if it is not as it should be."""

    @property
    def promise(self) -> str:
        """What it shows."""
        return (self.run.__doc__ or "").strip()


STEPS = (
    Step("hosts", Show.hosts),
    Step("registry", Show.registry),
    Step("Ray", Show.ray),
    Step("cluster", Show.cluster),
    Step("spread", Show.spread),
    Step("remote reads", Show.remote),
    Step("partition", Show.partition),
    Step("fencing", Show.fencing),
    Step("healing", Show.healing),
    Step("replacement", Show.replacement),
)
