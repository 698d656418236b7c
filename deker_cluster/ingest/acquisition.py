"""When a scene was taken and what it is called: from its file name, a tag, or a function."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import PurePath

from deker_cluster.dtypes import shown, to_utc
from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.raster import opened_raster

__all__ = ["LabelRule", "TimeRule", "checked_step", "label_of", "time_of"]

TimeRule = str | Callable[[str], datetime | str]
"""A pattern of file names, ``"tag:NAME"``, or a function of the path."""

LabelRule = str | Callable[[str], str]
"""A pattern of file names, or a function of the path."""

_TAG = "tag:"
_DIRECTIVES = {
    "Y": r"\d{4}",
    "y": r"\d{2}",
    "m": r"\d{2}",
    "d": r"\d{2}",
    "j": r"\d{3}",
    "H": r"\d{2}",
    "M": r"\d{2}",
    "S": r"\d{2}",
    "f": r"\d{1,6}",
    "b": r"[A-Za-z]{3}",
}
_UNITS = {"d": "days", "h": "hours", "min": "minutes", "s": "seconds"}


def time_of(source: str, rule: TimeRule) -> datetime:
    """Return when an input was taken, in UTC; times without a zone are taken as UTC.

    Raises
    ------
    DekerValidationError
        The rule makes no sense, or does not find a time.
    """
    try:
        if callable(rule):
            return to_utc(rule(source))
        if rule.startswith(_TAG):
            return _tagged(source, rule.removeprefix(_TAG))
        return _named(PurePath(source).name, rule)
    except Exception as error:
        if isinstance(error, DekerValidationError) and not callable(rule):
            raise
        raise DekerValidationError(
            f"time={shown(rule)} finds no time for {source}: {error}"
        ) from error


def label_of(source: str, rule: LabelRule) -> str:
    """Return what an input is called: the letters, digits and hyphens at ``{}`` of a pattern.

    Raises
    ------
    DekerValidationError
        The rule makes no sense, or does not find a label.
    """
    name = PurePath(source).name
    if callable(rule):
        label = rule(source)
        if not isinstance(label, str) or not label:
            raise DekerValidationError(f"label= gives {shown(label)} for {source}, not a text")
        return label
    before, mark, after = rule.partition("{}")
    if not mark or "{" in before + after:
        raise DekerValidationError(
            f"label={rule!r} is no pattern: put {{}} where the label stands once, as in "
            "'*_{}.tif' (* stands for anything), or give a function of the path"
        )
    match = re.search(f"{_anything(before)}([A-Za-z0-9-]+){_anything(after)}", name)
    if match is None:
        raise DekerValidationError(f"label={rule!r} does not match the file name {name!r}")
    return match[1]


def _anything(text: str) -> str:
    return re.escape(text).replace(r"\*", ".*?")


def _named(name: str, pattern: str) -> datetime:
    expression, directives = _compiled(pattern)
    match = expression.search(name)
    if match is None:
        raise DekerValidationError(f"time={pattern!r} does not match the file name {name!r}")
    return to_utc(datetime.strptime(match.group("time"), directives))  # noqa: DTZ007 -- to_utc


def _compiled(pattern: str) -> tuple[re.Pattern[str], str]:
    parts = re.fullmatch(r"(?P<before>[^{]*)\{:(?P<time>[^}]+)\}(?P<after>[^{]*)", pattern)
    if parts is None:
        raise DekerValidationError(
            f"time={pattern!r} is no pattern: put the time into it once, as in "
            "'S2_{:%Y%m%d}' (* stands for anything), or give 'tag:TIFFTAG_DATETIME' or a function "
            "of the path"
        )
    directives = parts.group("time")
    unknown = sorted(set(re.findall(r"%(.)", directives)) - set(_DIRECTIVES))
    if unknown:
        raise DekerValidationError(
            f"time={pattern!r}: %{unknown[0]} is not known here, use one of "
            + ", ".join(f"%{letter}" for letter in _DIRECTIVES)
        )
    inner = re.sub(
        r"%(.)|([^%]+)",
        lambda found: _DIRECTIVES[found[1]] if found[1] else re.escape(found[2]),
        directives,
    )
    before, after = _anything(parts.group("before")), _anything(parts.group("after"))
    return re.compile(f"{before}(?P<time>{inner}){after}"), directives


def _tagged(source: str, tag: str) -> datetime:
    with opened_raster(source) as dataset:
        tags = dataset.tags()
    if tag not in tags:
        raise DekerValidationError(
            f"{source} has no tag {tag!r}; there are: {', '.join(tags) or 'none'}"
        )
    text = tags[tag].strip()
    # TIFF writes the date with colons.
    try:
        return to_utc(re.sub(r"^(\d{4}):(\d{2}):(\d{2})", r"\1-\2-\3", text))
    except DekerValidationError as error:
        raise DekerValidationError(f"tag {tag!r} of {source} is no time: {error}") from error


def checked_step(value: timedelta | str | None) -> timedelta | None:
    """Return the step of a new axis of time: a timedelta, or text such as "5d" or "6h".

    Raises
    ------
    DekerValidationError
        It is none, or not positive.
    """
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+)\s*(d|h|min|s)\s*", value)
        value = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None
        if value is None:
            raise DekerValidationError("step must be like '5d', '6h', '10min' or '30s'")
    if value is not None and (not isinstance(value, timedelta) or value <= timedelta(0)):
        raise DekerValidationError(
            f"step must be a positive timedelta or text such as '5d': {shown(value)}"
        )
    return value
