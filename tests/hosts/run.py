"""Show a cluster on several hosts of this machine: ``make hosts``.

Exit status: 0, all was shown; 1, something was not; 2, this machine cannot have such hosts, or a
bad argument; 129, 130 or 143, a signal stopped it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from rich.console import Console
from rich.table import Table

from tests.hosts.hosted import NotShownError, Site
from tests.hosts.network import HostsImpossibleError, require
from tests.hosts.steps import STEPS, Show
from tests.hosts.talk import AgentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.hosts.steps import Step

__all__ = ["Done", "finish", "main", "show"]

# Not that of TMPDIR: the path of a socket may have some 100 characters.
_BASE = "/tmp"  # noqa: S108 - mkdtemp makes a folder that is only ours

_END_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)

progress = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


@attrs.frozen
class Done:
    """A step that was tried."""

    name: str
    promise: str
    passed: bool
    seconds: float
    seen: str


class _StopSignal(BaseException):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; return the exit status."""
    wish = _parsed(arguments)
    done: list[Done] = []
    try:
        require()
        with _stoppable():
            _in_a_folder(done, wish.logs)
    except HostsImpossibleError as error:
        progress.print(f"not possible here: {error}")
        return 2
    except _StopSignal as stop:
        progress.print("stopped; what was started has ended, and its files are deleted")
        return 128 + stop.number
    passed = all(each.passed for each in done)
    if wish.json:
        print(json.dumps({"passed": passed, "steps": [attrs.asdict(each) for each in done]}))
    else:
        Console().print(_table(done))
    return int(not passed)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Let the first signal to end raise :class:`_StopSignal`; later ones find us at it."""

    def stop(number: int, _: object) -> None:
        _ignore_signals()
        raise _StopSignal(number)

    before = {number: signal.signal(number, stop) for number in _END_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    for number in _END_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _in_a_folder(done: list[Done], logs: Path | None) -> None:
    """Make a site in a new folder, show everything, and take it all down again."""
    folder = Path(tempfile.mkdtemp(prefix="dkh-", dir=_BASE))
    progress.print(f"files of the hosts, for now: {folder}")
    site: Site | None = None
    try:
        site = Site(folder)
        show(site, STEPS, done)
    finally:
        _ignore_signals()
        if site is not None:
            finish(site, done)
        if logs is not None:
            _keep_logs(folder, logs)
        shutil.rmtree(folder, ignore_errors=True)


def show(site: Site, steps: Sequence[Step], done: list[Done]) -> None:
    """Go through the steps until one fails.

    Parameters
    ----------
    done
        Gets those that were tried.

    Raises
    ------
    HostsImpossibleError
        The kernel does not allow it.
    """
    looking = Show(site)
    for step in steps:
        progress.print(f"{step.name}: {step.promise}")
        begun = time.monotonic()
        try:
            passed, seen = True, step.run(looking)
        except (NotShownError, AgentError, subprocess.TimeoutExpired) as error:
            passed, seen = False, str(error)
        done.append(Done(step.name, step.promise, passed, _since(begun), seen))
        progress.print(f"  {'shown' if passed else 'NOT SHOWN'} after {_since(begun)} s: {seen}")
        if not passed:
            return


def finish(site: Site, done: list[Done]) -> None:
    """Take a site down, and look whether anything is left of it."""
    begun = time.monotonic()
    left = site.close()
    promise = "All hosts are off, and no process is left in their networks."
    seen = f"left: {'; '.join(left)}" if left else "nothing is left"
    done.append(Done("end", promise, not left, _since(begun), seen))


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 1)


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.hosts.run")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--logs", type=Path, help="copy the hosts' logs to this new folder")
    wish = parser.parse_args(arguments)
    if wish.logs is not None and wish.logs.exists():
        parser.error(f"--logs: {wish.logs} is there already; name a folder that is not")
    return wish


def _keep_logs(folder: Path, target: Path) -> None:
    def no_logs(place: str, names: list[str]) -> list[str]:
        paths = {name: Path(place) / name for name in names}
        logs = (".log", ".out", ".err", ".txt")
        return [
            name for name, path in paths.items() if not path.is_dir() and path.suffix not in logs
        ]

    shutil.copytree(folder, target, symlinks=True, ignore=no_logs, ignore_dangling_symlinks=True)


def _table(done: Sequence[Done]) -> Table:
    table = Table("step", "what it shows", "", "s", "seen")
    for each in done:
        verdict = "pass" if each.passed else "FAIL"
        table.add_row(each.name, each.promise, verdict, f"{each.seconds:.1f}", each.seen)
    tried = {each.name for each in done}
    for step in STEPS:
        if step.name not in tried:
            table.add_row(step.name, step.promise, "not tried", "", "")
    return table


if __name__ == "__main__":
    sys.exit(main())
