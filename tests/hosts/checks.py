"""What several steps look at: where tiles are, whether they are sound, whether work went on."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.hosts.hosted import NotShownError
from tests.hosts.talk import AgentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.hosts.hosted import Site
    from tests.hosts.talk import Agent

__all__ = ["COPIES", "Checks", "listed", "require"]

COPIES = 2
_UNFAIR = 0.10


def require(what: str, *, so: bool) -> None:
    """Raise :class:`NotShownError` with a text unless something is so."""
    if not so:
        raise NotShownError(what)


def listed(counts: dict[str, int]) -> str:
    """Return counts by host as text."""
    return ", ".join(f"{count} on {name}" for name, count in sorted(counts.items()))


class Checks:
    """Looks at a site."""

    def __init__(self, site: Site) -> None:
        self.site = site

    @property
    def hub(self) -> Agent:
        """The process on the hub, which no step disturbs."""
        return self.site.agents["agent@hub"]

    def agent(self, host: str, name: str = "agent") -> Agent:
        """Return a process that was started on a host."""
        return self.site.agents[f"{name}@{host}"]

    def nodes(self) -> list[str]:
        """Return the names of the hosts that Ray takes for alive."""
        found: list[str] = self.hub.ask("nodes", ray_address=self.site.ray_address)
        return found

    def shard(self, host: str) -> dict[str, Any]:
        """Return number, state and incarnation of a host's shard."""
        found: dict[str, Any] = self.hub.ask("shards")[host]
        return found

    def shares(
        self, array: str, hosts: Sequence[str], newest: str = ""
    ) -> tuple[dict[str, int], str]:
        """Return how many tiles of an array each host has, and what is wrong with that, or "".

        Parameters
        ----------
        newest
            A host that must have its fair share, or more: a file does not return within the hour
            to where it was deleted, so the others may have less for so long.
        """
        shards = self.hub.ask("shards")
        places = self.hub.ask("places", name=array)
        by_number = {str(each["number"]): host for host, each in shards.items()}
        counts = {by_number.get(n, f"shard {n}"): c for n, c in places["by_shard"].items()}
        fair = places["tiles"] * COPIES / len(hosts)
        if places["short"]:
            return counts, f"{places['short']} tiles have fewer than {COPIES} copies"
        if set(counts) != set(hosts):
            return counts, f"tiles are on {', '.join(counts)}"
        if newest:
            if counts[newest] < (1 - _UNFAIR) * fair:
                return counts, f"{newest} has less than its share of {fair:.0f}: {listed(counts)}"
        elif any(abs(count - fair) > _UNFAIR * fair for count in counts.values()):
            return counts, f"not within 10 % of {fair:.0f} tiles each: {listed(counts)}"
        return counts, ""

    def until_shared(self, array: str, hosts: Sequence[str], newest: str = "") -> dict[str, int]:
        """Wait until all of some hosts have their share, and all tiles their copies there.

        Parameters
        ----------
        newest
            See :meth:`shares`.
        """
        latest: tuple[dict[str, int], str] = {}, ""

        def is_so() -> bool:
            nonlocal latest
            latest = self.shares(array, hosts, newest)
            return not latest[1]

        try:
            self.site.until(f"{array} is shared out among {', '.join(hosts)}", is_so)
        except NotShownError as error:
            raise NotShownError(f"{error}: {latest[1]}") from None
        return latest[0]

    def until_whole(self, *arrays: str) -> None:
        """Wait until every tile has its copies."""
        for name in arrays:
            self.site.until(
                f"all tiles of {name} have {COPIES} copies",
                lambda name=name: not self.hub.ask("places", name=name)["short"],  # type: ignore[misc]
            )

    def read_from_each(self, array: str, seed: int, hosts: Sequence[str]) -> str:
        """Read every copy of an array from the host that has it."""
        served = self.hub.ask("from_each_alone", name=array, seed=seed)
        require(f"not every shard has served: {served}", so=sorted(served) == sorted(hosts))
        return f"copies read from their own hosts: {listed(served)}"

    def refused(self, agent: Agent, what: str, **words: Any) -> str:
        """Ask for what must fail; return the name of the error."""
        try:
            answer = agent.ask(what, **words)
        except AgentError as error:
            require(f"{agent.host} could not even say so: {error}", so=bool(error.kind))
            return error.kind
        raise NotShownError(f"{what} on {agent.host} was not refused: {answer}")

    def until_clean(self) -> str:
        """Wait until the check of every stored byte finds nothing."""
        found: dict[str, Any] = {}

        def is_clean() -> bool:
            # What was being deleted or moved when it was looked at is gone the next time.
            found.update(self.hub.ask("integrity", level=4))
            return bool(found["ok"])

        try:
            self.site.until("the check at level 4 is clean", is_clean, 60.0)
        except NotShownError as error:
            wrong = found.get("findings", [])
            where = listed(Counter(str(each["shard"]) for each in wrong))
            texts = [each["text"] for each in wrong[:3]]
            raise NotShownError(f"{error}; {len(wrong)} findings: {where}; {texts}") from None
        return f"level 4 clean ({found['checked']['tiles']:,} copies)"

    def went_on(self, *, running: bool) -> str:
        """Make sure that nothing has failed on the hosts that were never touched."""
        told = []
        for name, what in (("a", "reads"), ("b", "writes")):
            report = self.agent(name).ask("so_far" if running else "halt")
            require(
                f"{report['failed']} of {report['turns']} {what} on {name} went wrong: "
                f"{report['failures']}",
                so=not report["failed"] and report["turns"] > 0,
            )
            told.append(f"{report['turns']} {what}, 0 failed, longest {report['longest_s']} s")
        return "; ".join(told)
