"""How much this package tells through :mod:`logging`."""

from __future__ import annotations

import logging

from deker_cluster.errors import DekerValidationError

__all__ = ["checked_level", "set_logging_level"]

_LOGGERS = ("deker_cluster", "deker_workers", "deker_coordinator")


def checked_level(level: object) -> str:
    """Return the name of a level of :mod:`logging`, in capitals.

    Raises
    ------
    DekerValidationError
        It is no such name.
    """
    names = logging.getLevelNamesMapping()
    if not isinstance(level, str) or level.upper() not in names:
        raise DekerValidationError(
            f"loglevel must be one of {', '.join(sorted(names))}, not {level!r}"
        )
    return level.upper()


def set_logging_level(level: str) -> None:
    """Set the level of everything that this package logs in the calling process.

    Parameters
    ----------
    level
        Name of a level, such as ``"ERROR"``; capitals do not matter.

    Raises
    ------
    DekerValidationError
        There is no such level.
    """
    name = checked_level(level)
    for logger in _LOGGERS:
        logging.getLogger(logger).setLevel(name)
