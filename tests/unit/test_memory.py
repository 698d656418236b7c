from __future__ import annotations

import logging

import pytest

from deker_cluster.errors import DekerMemoryError, DekerValidationError
from deker_cluster.log import checked_level, set_logging_level
from deker_cluster.memory import memory_limit_bytes, require_memory


@pytest.mark.parametrize(
    ("given", "limit_bytes"),
    [
        (0, 0),
        (-5, 0),
        (1234, 1234),
        ("1234", 1234),
        ("0", 0),
        ("3k", 3 * 1024),
        ("512M", 512 * 1024**2),
        (" 2g ", 2 * 1024**3),
        ("1T", 1024**4),
        (10**30, 10**30),
    ],
)
def test_a_limit_is_bytes_or_digits_with_a_unit(given: object, limit_bytes: int) -> None:
    assert memory_limit_bytes(given) == limit_bytes


@pytest.mark.parametrize("given", [None, "", "1.5G", "10GB", "M", "-1", 1.0, True, "1e3", [1]])
def test_anything_else_is_no_limit(given: object) -> None:
    with pytest.raises(DekerValidationError, match="memory_limit"):
        memory_limit_bytes(given)


def test_what_is_larger_than_the_limit_is_refused_by_exact_counting() -> None:
    require_memory(1000, 1000, lambda: "a result")
    with pytest.raises(DekerMemoryError, match=r"a result takes 1,001 bytes.*memory_limit"):
        require_memory(1001, 1000, lambda: "a result")
    # 2**32 times 2**32 cells: 0 if counted in 64 bits.
    with pytest.raises(MemoryError, match="are free on this machine"):
        require_memory(2**64, 0, lambda: "a result")
    with pytest.raises(DekerMemoryError, match="are free"):
        require_memory(2**64, 2**65, lambda: "a result")


def test_levels_of_logging_are_names() -> None:
    logger = logging.getLogger("deker_cluster")
    before = logger.level
    try:
        set_logging_level("debug")
        assert logging.getLogger("deker_cluster.dataplane").getEffectiveLevel() == logging.DEBUG
        assert logging.getLogger("deker_workers").level == logging.DEBUG
        assert logging.getLogger("deker_coordinator").level == logging.DEBUG
    finally:
        for name in ("deker_cluster", "deker_workers", "deker_coordinator"):
            logging.getLogger(name).setLevel(before)
    assert checked_level("Warning") == "WARNING"
    for wrong in (10, None, "loud", ""):
        with pytest.raises(DekerValidationError, match="loglevel"):
            checked_level(wrong)
