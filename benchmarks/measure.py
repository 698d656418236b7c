"""Contests: the same work by several contenders, in turns, every result checked."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Contender", "Contest", "Row", "WrongResultError", "run_contest", "summarize"]

Times = dict[str, list[list[float]]]
"""Contender -> round -> seconds of each call."""


class WrongResultError(Exception):
    """A contender did not do its work."""


def _nothing(_: object) -> None:
    return


@attrs.frozen
class Contender:
    """Someone who does the work of a contest."""

    name: str
    call: Callable[[Any], Any]
    """Does one item of work; only this is timed."""
    check: Callable[[Any, Any], bool]
    """Gets the item and what :attr:`call` returned; says whether it is right."""
    prepare: Callable[[Any], None] = _nothing
    """Called with the item before the clock starts."""
    limit: bool = True
    """Whether this is something to compare with, rather than what is measured."""


@attrs.frozen
class Contest:
    """One workload."""

    workload: str
    rounds: Sequence[Sequence[Any]]
    """Items of work for each round, the same for all contenders."""
    contenders: Sequence[Contender]
    call_bytes: int | None = None
    """Bytes of cells that a call moves: the figure is GB/s. None: it is the time of a call, ms."""


@attrs.frozen
class Row:
    """One line of the report."""

    workload: str
    where: str
    unit: str
    median: float
    low: float
    high: float
    """Of the rounds, like :attr:`low`."""
    shares: dict[str, float]
    """Limit -> our speed as a share of its speed: the median of the rounds' ratios."""


def run_contest(contest: Contest) -> Times:
    """Let all contenders do all rounds, in an order that rotates from round to round.

    A call before the first round fills the caches and is not timed.

    Raises
    ------
    WrongResultError
        A result was not what it should be.
    """
    times: Times = {contender.name: [] for contender in contest.contenders}
    for contender in contest.contenders:
        _timed(contest, contender, contest.rounds[0][0])
    for number, items in enumerate(contest.rounds):
        turn = number % len(contest.contenders)
        for contender in [*contest.contenders[turn:], *contest.contenders[:turn]]:
            times[contender.name].append([_timed(contest, contender, item) for item in items])
    return times


def _timed(contest: Contest, contender: Contender, item: object) -> float:
    contender.prepare(item)
    begin = time.perf_counter()
    result = contender.call(item)
    duration_s = time.perf_counter() - begin
    if not contender.check(item, result):
        raise WrongResultError(f"{contest.workload}: {contender.name} gave a wrong result")
    return duration_s


def summarize(contest: Contest, times: Times) -> list[Row]:
    """Return a row for each contender that is measured, or two: of median and 99th percentile."""
    quantiles = {", p50": 0.5, ", p99": 0.99} if len(contest.rounds[0]) > 1 else {"": 0.5}
    limits = [contender.name for contender in contest.contenders if contender.limit]
    rows = []
    for name in [contender.name for contender in contest.contenders if not contender.limit]:
        for suffix, quantile in quantiles.items():
            per_round = {
                each: [_quantile(calls, quantile) for calls in times[each]]
                for each in [name, *limits]
            }
            ours = per_round[name]
            if contest.call_bytes is not None:
                unit, figures = "GB/s", [contest.call_bytes / each / 1e9 for each in ours]
            else:
                unit, figures = "ms", [each * 1e3 for each in ours]
            shares = {
                limit: statistics.median(
                    theirs / mine for theirs, mine in zip(per_round[limit], ours, strict=True)
                )
                for limit in limits
            }
            rows.append(
                Row(
                    contest.workload + suffix,
                    name,
                    unit,
                    statistics.median(figures),
                    min(figures),
                    max(figures),
                    shares,
                )
            )
    return rows


def _quantile(values: Sequence[float], quantile: float) -> float:
    ordered = sorted(values)
    if quantile == 0.5:
        return statistics.median(ordered)
    return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]
