"""Random indexes that at least one side refuses."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tests.parity.draw_index import aware_text, instant_at

if TYPE_CHECKING:
    from random import Random

    from tests.parity.draw_schema import Schema

__all__ = ["bad_index", "outside_index", "slip"]


def outside_index(random: Random, schema: Schema) -> tuple[str, str]:
    """Return an index of a position that is not there, and whether it stands alone."""
    at = random.randrange(len(schema.axes))
    size = schema.axes[at].size
    texts = [":"] * at + [str(random.choice((size, size + 1, size + 50, -size - 1, -size - 9)))]
    return ", ".join(texts), "position outside"


def slip(random: Random, schema: Schema) -> tuple[str, str] | None:
    """Return an index that Deker silently takes for a neighbouring one, and what it is about."""
    choices: list[tuple[str, str]] = []
    for at, axis in enumerate(schema.axes):
        before = ":, " * at
        choices.append((f"{before}False:{axis.size}", "bool in a slice"))
        if axis.kind == "time" and axis.delta % timedelta(seconds=1) == timedelta():
            instant = instant_at(axis, 0) + timedelta(milliseconds=500)
            choices.append((f"{before}{aware_text(instant)}", "instant between cells"))
    return random.choice(choices) if choices else None


def bad_index(random: Random, schema: Schema) -> str:
    """Return an index that makes no sense to either side."""
    at = random.randrange(len(schema.axes))
    axis = schema.axes[at]
    texts = ["None", "True", "b'x'", "{0}", "{'a': 1}", "object()", "(0, 1)", "1j"]
    texts += [
        "slice(0, 1, 0)",
        f"slice({axis.size}, 0)",
        "slice('?', None)",
        "slice(None, None, 'a')",
    ]
    texts += ["slice(0.5, 'a')", "timedelta(1)", "datetime(2023, 1, 1).date()", "'no such'"]
    if axis.size > 1:
        texts += ["1:1", "1:0"]
    if axis.kind in ("plain", "labels"):
        texts += ["datetime(2023, 1, 1)", "0.25", "'2023-01-01'", "slice(0.0, 1.0)"]
    if axis.kind == "scale":
        far = axis.start + axis.step * (axis.size + 3)
        between = axis.start + axis.step / 4
        texts += [repr(far), repr(between), f"slice({far!r}, None)", "float('nan')"]
    if axis.kind == "time":
        far_instant = instant_at(axis, axis.size + 3)
        texts += [aware_text(far_instant), repr(far_instant.isoformat()), "1.5", "'2023-99-01'"]
        texts.append(f"slice({aware_text(far_instant)}, None)")
        if axis.delta % timedelta(seconds=2) == timedelta():
            # Deker does not see fractions of a second.
            texts.append(aware_text(instant_at(axis, 0) + axis.delta / 2))
    text = ", ".join([":"] * at + [random.choice(texts)])
    if random.random() < 0.15:
        text = ", ".join([":"] * (len(schema.axes) + 1))
    return text if random.random() < 0.9 else "..., ..."
