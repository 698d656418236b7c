"""Contests: the same work by several contenders, in turns, every result checked."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Contender", "Contest", "Row", "Share", "WrongResultError", "run_contest", "summarize"]

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
class Share:
    """Our speed divided by a limit's, over the rounds: a wide range says that it was disturbed."""

    figure: float
    """Median of the rounds' ratios; for a 99th percentile, that of all calls."""
    low: float
    high: float


@attrs.frozen
class Row:
    """One line of the report."""

    workload: str
    where: str
    unit: str
    figure: float
    """Median of the rounds; a 99th percentile is that of all calls."""
    low: float
    high: float
    """Of the rounds, like :attr:`low`."""
    shares: dict[str, Share]
    """Limit -> our speed as a share of its speed."""


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
            scale = 1e3 if contest.call_bytes is None else contest.call_bytes / 1e9
            in_unit = [
                each * scale if contest.call_bytes is None else scale / each
                for each in per_round[name]
            ]
            figure = statistics.median(in_unit)
            shares = {limit: _share(per_round[limit], per_round[name]) for limit in limits}
            if quantile != 0.5:
                # A single round has too few calls to say much about its slowest.
                pooled = {
                    each: _quantile(list(itertools.chain(*times[each])), quantile)
                    for each in [name, *limits]
                }
                figure = pooled[name] * scale
                shares = {
                    limit: attrs.evolve(share, figure=pooled[limit] / pooled[name])
                    for limit, share in shares.items()
                }
            unit = "ms" if contest.call_bytes is None else "GB/s"
            rows.append(
                Row(
                    contest.workload + suffix,
                    name,
                    unit,
                    figure,
                    min(in_unit),
                    max(in_unit),
                    shares,
                )
            )
    return rows


def _share(theirs: Sequence[float], ours: Sequence[float]) -> Share:
    ratios = [limit / own for limit, own in zip(theirs, ours, strict=True)]
    return Share(statistics.median(ratios), min(ratios), max(ratios))


def _quantile(values: Sequence[float], quantile: float) -> float:
    if quantile == 0.5:
        return statistics.median(values)
    return sorted(values)[math.ceil(quantile * len(values)) - 1]
