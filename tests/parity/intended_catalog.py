"""Intended differences of clients and collections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.parity.comparing import Intended
from tests.parity.intended_rules import either, other_error, refused, values

if TYPE_CHECKING:
    from tests.parity.comparing import Difference

__all__ = ["CATALOG"]

_SCHEMA = "deker.ArraySchema(dtype=float, dimensions=[deker.DimensionSchema('x', 4)])"
_OPENED = "deker.Client(f'file://{root}', "


def _named(name: str) -> str:
    return f"client.create_collection({name}, {_SCHEMA}).name"


def _lock_counts(difference: Difference) -> bool:
    return difference.step.kind == "locks result" and (
        difference.deker_value,
        difference.our_value,
    ) == (["bool", "True"], ["bool", "False"])


CATALOG = (
    Intended(
        id="client-checks",
        title="Options of a client that make no sense",
        deker="A negative timeout, a negative memory limit as text, `workers=True` and executors "
        "of any type are accepted.",
        here="`DekerClientError`.",
        why="A client that opens, works.",
        applies=either(
            refused(
                "client",
                f"{_OPENED}memory_limit='-1')",
                f"{_OPENED}executor=5)",
                error="DekerClientError",
            ),
            refused("opened", "workers=True", "write_lock_timeout=-1", error="DekerClientError"),
        ),
    ),
    Intended(
        id="unknown-options",
        title="Options that no client has",
        deker="Kept in `Client.kwargs` for adapters, such as `httpx_conf`.",
        here="Kept as well, with a `DekerWarning`: nothing reads them.",
        why="A misspelt option is not passed over.",
        applies=values("unknown option", ["bool", "False"], ["bool", "True"]),
    ),
    Intended(
        id="fractions-of-seconds",
        title="Fractions of a second as timeout",
        deker="`write_lock_timeout=0.5` raises `DekerClientError`.",
        here="Any number of seconds.",
        why="A lease is waited for in milliseconds.",
        applies=either(
            values("opened", "DekerClientError", ["object", "Client"], "write_lock_timeout=0.5"),
            values(
                "opened", "DekerClientError", ["object", "Client"], "write_lock_check_interval=0.1"
            ),
        ),
    ),
    Intended(
        id="memory-limit",
        title="`memory_limit` of a client",
        deker="A subset that is larger raises `DekerMemoryError` when it is made.",
        here="When it is read.",
        why="A large subset can be described, cleared, or cut into parts.",
        applies=values("memory subset", "DekerMemoryError", ["VSubset", [50]]),
    ),
    Intended(
        id="after-close",
        title="Use of a closed client",
        deker="`AttributeError`, `TypeError` or `DekerClientError`, as it happens.",
        here="`DekerClientError`, always.",
        why="One situation, one class.",
        row=32,
        applies=either(
            other_error("after close", "AttributeError", "DekerClientError"),
            other_error("after close", "TypeError", "DekerClientError"),
        ),
    ),
    Intended(
        id="names",
        title="Names of collections",
        deker='Are used as paths: `"../x"` makes a collection outside of the storage; slashes, '
        'NULs and long names give raw errors, `"."` and `".."` "already exist".',
        here="`DekerValidationError` for names with slashes or control characters, `.` and `..`, "
        "blanks at the ends, and more than 255 bytes.",
        why="A name cannot leave the storage, and means the same everywhere.",
        row=16,
        applies=either(
            refused("name", _named("' leading'"), error="DekerValidationError"),
            other_error("name", "FileNotFoundError", "DekerValidationError", _named("'a/b'")),
            other_error("name", "OSError", "DekerValidationError", _named("'x' * 300")),
            other_error(
                "name",
                "DekerCollectionAlreadyExistsError",
                "DekerValidationError",
                _named("'.'"),
                _named("'..'"),
            ),
            refused("name", _named("'../escape'"), error="DekerValidationError"),
        ),
    ),
    Intended(
        id="collection-dicts",
        title="Dicts of collections that are damaged",
        deker="A raw `KeyError`.",
        here="`DekerMetaDataError`.",
        why="Every refusal of this package has one root class.",
        row=19,
        applies=other_error("damaged dict", "KeyError", "DekerMetaDataError"),
    ),
    Intended(
        id="check-integrity-report",
        title="Result of `check_integrity`",
        deker="None; what was found is printed only.",
        here="Printed as well, and returned as a report with every finding.",
        why="A script can act on it.",
        row=20,
        applies=values("integrity result", ["bool", "True"], ["bool", "False"]),
    ),
    Intended(
        id="storage-size",
        title="`calculate_storage_size`",
        deker="Counts the files that its links lead to, and warns with `DekerWarning` each time.",
        here="Counts all stored tiles; there is no warning.",
        why="The number is exact.",
        applies=lambda difference: (
            difference.step.kind == "storage size warning"
            and ["str", "DekerWarning"] in (difference.deker_value or [0, []])[1]
            and difference.our_value == ["list", []]
        ),
    ),
    Intended(
        id="clear-locks-count",
        title="Result of `clear_locks`",
        deker="None; the number is printed only.",
        here="The number of locks that were ended.",
        why="A script can act on it.",
        applies=_lock_counts,
    ),
)
