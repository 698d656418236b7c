from __future__ import annotations

import numpy as np
import pytest

from deker_cluster.client_options import checked_executor, session_options
from deker_cluster.errors import DekerClientError

GOOD = {
    "workers": None,
    "write_lock_timeout": 60,
    "write_lock_check_interval": 1,
    "loglevel": "ERROR",
    "memory_limit": 0,
    "skip_collection_create_memory_check": False,
    "durability": "fsync",
    "verify": True,
}
WRONG = [b"1", [], {}, object(), 1j, np.array([1, 2]), "\0", float("nan")]


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("workers", [0, -1, True, 1.0, "1"]),
        ("write_lock_timeout", [None, -1, True, "1", 10**400]),
        ("write_lock_check_interval", [None, -1, True, "1", 10**400]),
        ("loglevel", [None, 10, True, "", "loud"]),
        ("memory_limit", [None, True, 0.5, "", "1.5G", "10GB"]),
        ("skip_collection_create_memory_check", [None, 0, 1, "yes"]),
        ("durability", [None, True, "", "FSYNC"]),
        ("verify", [None, 0, 1, "no"]),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(option, values):
    for value in [*values, *WRONG]:
        with pytest.raises(DekerClientError, match=option):
            session_options(**{**GOOD, option: value})


def test_what_makes_sense_is_taken():
    made = session_options(**GOOD | {"workers": np.int64(3), "durability": "os", "verify": False})
    assert (made.workers, made.durability, made.verify) == (3, "os", False)
    assert session_options(**GOOD | {"write_lock_timeout": 0.5}).write_lock_timeout_s == 0.5


def test_an_executor_is_one():
    assert checked_executor(None) is None
    with pytest.raises(DekerClientError, match="executor"):
        checked_executor(1)
