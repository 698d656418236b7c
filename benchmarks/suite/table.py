"""The findings as Markdown: targets first, then one table for each workload."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from benchmarks.suite.contenders import OTHER, OWN
from benchmarks.suite.targets import TARGETS, judge
from benchmarks.suite.workloads import WORKLOADS, title

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.suite.record import Measurement, Missing

__all__ = ["markdown"]

_MEMORY = "MiB"


def markdown(
    about: Mapping[str, Any],
    measurements: Sequence[Measurement],
    missing: Sequence[Missing],
    reasons: Mapping[str, str] | None = None,
) -> str:
    """Return everything as one document.

    Parameters
    ----------
    reasons
        ``"W3 gzip"`` -> why a target of it is not met.
    """
    parts = [_targets(measurements, reasons or {})]
    for name in WORKLOADS:
        rows = [m for m in measurements if m.workload == name]
        if rows:
            parts.append(_workload(name, rows))
    if missing:
        parts.append(_missing(missing))
    parts.append(_about(about))
    return "\n\n".join(part for part in parts if part) + "\n"


def _targets(measurements: Sequence[Measurement], reasons: Mapping[str, str]) -> str:
    lines = []
    for target in TARGETS:
        verdict = judge(target, measurements)
        if verdict is None:
            continue
        met = {True: "met", False: "**not met**", None: "missing"}[verdict.met]
        place = f"{target.workload} {target.variant}"
        reason = "" if verdict.met else reasons.get(place, "")
        lines.append(
            f"| {target.workload} | {target.variant} | {target.contender} | {target.text} "
            f"| {verdict.reached} | {met} | {_cell(reason)} |"
        )
    if not lines:
        return ""
    head = [
        "## Targets",
        "",
        "| | variant | of | target | reached | | why |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join(head + lines)


def _workload(name: str, rows: Sequence[Measurement]) -> str:
    lines = [
        f"## {name}: {title(name)}",
        "",
        "| variant | contender | median | rounds | own node is | other node is |",
        "|---|---|---|---|---|---|",
    ]
    speeds = [row for row in rows if not row.unit.startswith(_MEMORY)]
    for variant in dict.fromkeys(row.variant for row in speeds):
        ours = {row.contender: row for row in speeds if row.variant == variant}
        for row in ours.values():
            note = f" ({row.note})" if row.note else ""
            lines.append(
                f"| {variant} | {row.contender}{note}{_wrong(row)} "
                f"| {_number(row.median)} {row.unit} "
                f"| {_number(min(row.values))} to {_number(max(row.values))} "
                f"| {_ratio(ours.get(OWN), row)} | {_ratio(ours.get(OTHER), row)} |"
            )
    memory = [row for row in rows if row.unit.startswith(_MEMORY)]
    if memory:
        lines += ["", *_memory(memory)]
    return "\n".join(lines)


def _memory(rows: Sequence[Measurement]) -> list[str]:
    """Return a table with a column for each variant: how many times more says nothing here."""
    variants = list(dict.fromkeys(row.variant for row in rows))
    found = {(row.contender, row.variant): row for row in rows}
    lines = [
        f"| {rows[0].unit} | {' | '.join(v.removesuffix(', memory') for v in variants)} |",
        f"|---|{'---|' * len(variants)}",
    ]
    for contender in dict.fromkeys(row.contender for row in rows):
        cells = (found.get((contender, variant)) for variant in variants)
        figures = (f"{row.median:.0f}{_wrong(row)}" if row else "" for row in cells)
        lines.append(f"| {contender} | {' | '.join(figures)} |")
    return lines


def _missing(missing: Sequence[Missing]) -> str:
    places: dict[tuple[str, str], list[str]] = {}
    for one in missing:
        places.setdefault((one.contender, one.why), []).append(one.workload or "everything")
    whom: dict[tuple[str, str], list[str]] = {}
    for (contender, why), found in places.items():
        whom.setdefault(("; ".join(found), why), []).append(contender)
    lines = [
        f"| {', '.join(contenders)} | {where} | {_cell(why)} |"
        for (where, why), contenders in whom.items()
    ]
    return "\n".join(["## Missing", "", "| who | where | why |", "|---|---|---|", *lines])


def _wrong(row: Measurement) -> str:
    return "" if row.checked else " **wrong result**"


def _ratio(ours: Measurement | None, other: Measurement) -> str:
    if ours is None or ours is other or len(ours.values) != len(other.values):
        return ""
    ratios = ours.speed_against(other)
    median, least, most = (f"{f(ratios):.2g}" for f in (statistics.median, min, max))
    return f"**{median} x** ({least} to {most})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _about(about: Mapping[str, Any]) -> str:
    lines = ["## Versions and settings", ""]
    for name, value in about.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {item}" for key, item in value.items())  # noqa: PLW2901
        lines.append(f"- **{name}**: {value}")
    return "\n".join(lines)
