from __future__ import annotations

from typing import TYPE_CHECKING

from tests.contract.versions_model import Versions, use_own_clock

if TYPE_CHECKING:
    import pytest

    from tests.contract.servers import Server


def test_every_version_is_known_until_nobody_needs_it(
    own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes, transactions, deletes, ids used again, pins, retentions, and a clock that jumps."""
    use_own_clock(monkeypatch)
    for seed in range(6):
        versions = Versions(own_server, seed)
        for turn in range(300):
            versions.step()
            try:
                versions.check()
            except AssertionError as wrong:
                raise AssertionError(f"seed {seed}, turn {turn}: {wrong}") from wrong
        journal = {"journal", "journal:seq", "journal:untold"}
        assert versions.empty() == {"cluster", "tokens", "waiters"} | journal
        versions.close()
