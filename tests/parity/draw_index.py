"""Random things between the brackets."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from datetime import datetime
    from random import Random

    from tests.parity.draw_schema import Axis, Schema

__all__ = ["Index", "Pick", "aware_text", "draw_index", "instant_at", "peculiar_index"]


@attrs.frozen
class Pick:
    """What stands at one dimension.

    Parameters
    ----------
    text
        As the user writes it.
    cells
        The positions that it means, in order.
    kept
        Whether the dimension stays in the result.
    plain
        The same in a form that Deker takes, if it does not take this one.
    about
        What is peculiar about it.
    always
        Deker takes it, but means something else.
    """

    text: str
    cells: tuple[int, ...]
    kept: bool
    plain: str | None = None
    about: str | None = None
    always: bool = False


@attrs.frozen
class Index:
    """An index with at most one peculiar item."""

    text: str
    shape: tuple[int, ...]
    picks: tuple[Pick, ...]
    plain: str | None = None
    about: str | None = None
    always: bool = False


def draw_index(random: Random, schema: Schema) -> Index:
    """Draw an index that both sides understand alike."""
    if random.random() < 0.1:
        return _index(
            schema, [], random.choice(("()", ":", "...") if len(schema.axes) == 1 else ("()", ":"))
        )
    count = random.randint(1, len(schema.axes))
    picks = [_valid(random, axis) for axis in schema.axes[:count]]
    texts = [pick.text for pick in picks]
    whole = [i for i, pick in enumerate(picks) if pick.text == ":"]
    if whole and random.random() < 0.3 and count == len(schema.axes):
        texts[random.choice(whole)] = "..."
    return _index(schema, picks, _joined(texts, random))


def peculiar_index(random: Random, schema: Schema) -> Index:
    """Draw an index that Deker refuses, or takes for something else, and its plain form."""
    if len(schema.axes) != 2 and random.random() < 0.2:
        index = _ellipsis(random, schema)
        if index is not None:
            return index
    picks = [_valid(random, axis) for axis in schema.axes]
    at = random.randrange(len(picks))
    picks[at] = _peculiar(random, schema.axes[at])
    plain = [pick.text if pick.plain is None else pick.plain for pick in picks]
    return attrs.evolve(
        _index(schema, picks, _joined([pick.text for pick in picks], random)),
        plain=_joined(plain, random),
        about=picks[at].about,
        always=picks[at].always,
    )


def _index(schema: Schema, picks: list[Pick], text: str) -> Index:
    whole = [Pick(":", tuple(range(axis.size)), kept=True) for axis in schema.axes[len(picks) :]]
    every = (*picks, *whole)
    shape = tuple(len(pick.cells) for pick in every if pick.kept)
    return Index(text, shape, every)


def _joined(texts: list[str], random: Random) -> str:
    return texts[0] if len(texts) == 1 and random.random() < 0.7 else ", ".join(texts) + ","


def _ellipsis(random: Random, schema: Schema) -> Index | None:
    behind = random.randint(1, len(schema.axes))
    picks = [_valid(random, axis) for axis in schema.axes[len(schema.axes) - behind :]]
    if len(schema.axes) - behind == 1:
        return None
    front = [Pick(":", tuple(range(axis.size)), kept=True) for axis in schema.axes[:-behind]]
    every = [*front, *picks]
    return attrs.evolve(
        _index(schema, every, ", ".join(["...", *(pick.text for pick in picks)])),
        plain=", ".join(pick.text for pick in every) + ",",
        about="ellipsis",
        always=True,
    )


def _valid(random: Random, axis: Axis) -> Pick:
    cells = range(axis.size)
    if random.random() < 0.25:
        return Pick(":", tuple(cells), kept=True)
    start = random.randrange(axis.size)
    stop = random.randint(start + 1, axis.size)
    if axis.kind == "plain" or random.random() < 0.3:
        return _by_position(random, axis, start, stop)
    if axis.kind == "labels":
        return _by_label(random, axis, start, stop)
    if axis.kind == "scale":
        return _by_scale(random, axis, start, stop)
    return _by_time(random, axis, start, stop)


def _by_position(random: Random, axis: Axis, start: int, stop: int) -> Pick:
    if random.random() < 0.45:
        return Pick(str(start - random.choice((0, 0, axis.size))), (start,), kept=False)
    first = random.choice((str(start), str(start - axis.size), "" if start == 0 else str(start)))
    last = str(stop) if stop < axis.size else random.choice(("", str(stop)))
    if stop < axis.size and random.random() < 0.3:
        last = str(stop - axis.size)
    tail = random.choice(("", "", ":1"))
    return Pick(f"{first}:{last}{tail}", tuple(range(start, stop)), kept=True)


def _by_label(random: Random, axis: Axis, start: int, stop: int) -> Pick:
    if not isinstance(axis.labels[0], str):
        return _by_position(random, axis, start, stop)
    if random.random() < 0.5:
        return Pick(repr(axis.labels[start]), (start,), kept=False)
    last = "" if stop == axis.size else repr(axis.labels[stop])
    first = "" if start == 0 and random.random() < 0.5 else repr(axis.labels[start])
    if first == last == "":
        first = repr(axis.labels[0])
    return Pick(f"{first}:{last}", tuple(range(start, stop)), kept=True)


def _by_scale(random: Random, axis: Axis, start: int, stop: int) -> Pick:
    if not axis.exact:
        return _by_position(random, axis, start, stop)
    if random.random() < 0.5:
        kind = random.choice(("{}", "np.float64({})"))
        return Pick(kind.format(_on_scale(axis, start)), (start,), kept=False)
    last = "" if stop == axis.size else repr(_on_scale(axis, stop))
    return Pick(f"{_on_scale(axis, start)!r}:{last}", tuple(range(start, stop)), kept=True)


def _on_scale(axis: Axis, position: int) -> float:
    return axis.start + axis.step * position


def _by_time(random: Random, axis: Axis, start: int, stop: int) -> Pick:
    form = random.choice((aware_text, _naive, _elsewhere, _iso, _iso_naive, _posix))
    if random.random() < 0.5:
        return Pick(form(instant_at(axis, start)), (start,), kept=False)
    step = random.choice(("", "", f":{_delta(axis.delta)}"))
    if random.random() < 0.15:
        first, last = _delta(axis.delta * start), _delta(axis.delta * stop)
    else:
        first, last = form(instant_at(axis, start)), form(instant_at(axis, stop))
    if stop == axis.size and random.random() < 0.5:
        last = ""
    return Pick(f"{first}:{last}{step}", tuple(range(start, stop)), kept=True)


def instant_at(axis: Axis, position: int) -> datetime:
    """Return the coordinate of a cell of a time axis."""
    assert axis.origin is not None
    return axis.origin + axis.delta * position


def aware_text(instant: datetime) -> str:
    """Return the text of an instant in UTC."""
    return _call(instant, ", tzinfo=timezone.utc")


def _naive(instant: datetime) -> str:
    return _call(instant, "")


def _elsewhere(instant: datetime) -> str:
    zone = timezone(timedelta(hours=5, minutes=30))
    return _call(instant.astimezone(zone), ", tzinfo=timezone(timedelta(hours=5, minutes=30))")


def _call(instant: datetime, zone: str) -> str:
    numbers = [instant.year, instant.month, instant.day, instant.hour, instant.minute]
    if instant.second or instant.microsecond:
        numbers += [instant.second, instant.microsecond]
    return f"datetime({', '.join(map(str, numbers))}{zone})"


def _iso(instant: datetime) -> str:
    return repr(instant.isoformat())


def _iso_naive(instant: datetime) -> str:
    return repr(instant.replace(tzinfo=None).isoformat(" "))


def _posix(instant: datetime) -> str:
    return repr(instant.timestamp())


def _delta(delta: timedelta) -> str:
    return f"timedelta({delta.days}, {delta.seconds}, {delta.microseconds})"


def _peculiar(random: Random, axis: Axis) -> Pick:
    start = random.randrange(axis.size)
    stop = random.randint(start + 1, axis.size)
    cells = tuple(range(start, stop))
    choices = [
        Pick(
            f"np.{random.choice(('int64', 'int8', 'uint16'))}({start})",
            (start,),
            False,
            str(start),
            "numpy int",
        ),
        Pick(f"np.int32({start}):{stop}", cells, True, f"{start}:{stop}", "numpy int in a slice"),
        Pick(
            f"{start}:{axis.size + random.randint(1, 90)}",
            tuple(range(start, axis.size)),
            True,
            f"{start}:",
            "slice beyond the end",
            always=True,
        ),
        Pick(
            f"{-axis.size - random.randint(1, 9)}:{stop}",
            tuple(range(stop)),
            True,
            f":{stop}",
            "slice before the start",
            always=True,
        ),
    ]
    if axis.kind == "labels" and not isinstance(axis.labels[0], str):
        choices = [
            Pick(repr(axis.labels[start]), (start,), False, str(start), "float label"),
            Pick(
                f"{axis.labels[start]}:",
                tuple(range(start, axis.size)),
                True,
                f"{start}:",
                "float label",
            ),
        ]
    if axis.kind == "scale":
        choices.append(_peculiar_scale(random, axis, start))
        choices.append(choices[-1])
    if axis.kind == "time":
        choices.append(_peculiar_time(random, axis, start, stop))
        choices.append(choices[-1])
    return random.choice(choices)


def _peculiar_scale(random: Random, axis: Axis, start: int) -> Pick:
    value = _on_scale(axis, start)
    if not axis.exact:
        return Pick(repr(round(value, 6)), (start,), False, str(start), "inexact coordinate")
    rest = tuple(range(start, axis.size))
    return random.choice(
        (
            Pick(f"np.float32({value})", (start,), False, str(start), "numpy float32"),
            Pick(f"{value}:{_on_scale(axis, axis.size)}", rest, True, f"{start}:", "scale stop"),
            Pick(
                f"np.float64({value}):{_on_scale(axis, axis.size - 1)}"
                if start < axis.size - 1
                else f"np.float32({value}):",
                rest[:-1] if start < axis.size - 1 else rest,
                True,
                f"{start}:{axis.size - 1}" if start < axis.size - 1 else f"{start}:",
                "mixed bounds" if start < axis.size - 1 else "numpy float32",
            ),
        )
    )


def _peculiar_time(random: Random, axis: Axis, start: int, stop: int) -> Pick:
    instant, end = instant_at(axis, start), instant_at(axis, stop)
    plain = instant.replace(tzinfo=None)
    return random.choice(
        (
            Pick(
                f"np.datetime64('{plain.isoformat()}')", (start,), False, str(start), "datetime64"
            ),
            Pick(
                f"{aware_text(instant)}:{_iso(end)}",
                tuple(range(start, stop)),
                True,
                f"{start}:{stop}",
                "mixed bounds",
            ),
            _month(axis, start),
        )
    )


def _month(axis: Axis, start: int) -> Pick:
    month = instant_at(axis, start).strftime("%Y-%m")
    cells = tuple(p for p in range(axis.size) if instant_at(axis, p).strftime("%Y-%m") == month)
    return Pick(repr(month), cells, True, f"{cells[0]}:{cells[-1] + 1}", "partial date")
