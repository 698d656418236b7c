"""What a program asked of the operating system, in order, by strace.

The model of the disk that goes with it is a strict one, as POSIX has it: a file's bytes are safe
when the file was synced after they were written, a name when its folder was synced after it was
made. Everything else may be there after a power cut, or not, each piece for itself.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Call", "ancestors", "have_strace", "read_log", "run_traced"]

TRACED: Final = (
    "openat,open,creat,chdir,write,pwrite64,pwritev,pwritev2,writev,fsync,fdatasync,rename,"
    "renameat,renameat2,mkdir,mkdirat,rmdir,unlink,unlinkat,link,linkat,symlink,symlinkat,"
    "ftruncate,truncate,fallocate,sendto,sendmsg,sync_file_range,copy_file_range,sendfile"
)

_LINE: Final = re.compile(r"(?P<pid>\d+) +(?P<rest>.*)")
_RESUMED: Final = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)")
_CALL: Final = re.compile(
    r"(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+|\?)(?P<after>.*)"
)
_ON_FILE: Final = re.compile(r"^-?\d+<(?P<path>[^>]*)>")
_TEXT: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_HERE: Final = re.compile(r"AT_FDCWD<(?P<path>[^>]*)>")


@attrs.frozen
class Call:
    """One system call that ended well."""

    pid: int
    name: str
    arguments: str
    result: int
    result_path: str
    """Of the descriptor that it returned."""
    begin: int
    """Line of the log in which it was called."""
    end: int
    """Line in which it had returned."""

    @property
    def path(self) -> str:
        """The file that its first argument, a descriptor, stands for."""
        found = _ON_FILE.match(self.arguments)
        return found["path"] if found else ""

    @property
    def texts(self) -> list[str]:
        """Its arguments in quotes."""
        return _TEXT.findall(self.arguments)

    @property
    def here(self) -> str:
        """The process's folder, as far as the call tells."""
        found = _HERE.search(self.arguments)
        return found["path"] if found else ""

    @property
    def numbers(self) -> list[int]:
        """Its plain numbers, from the end of the last text or list on."""
        tail = re.split(r'["\]>]', self.arguments)[-1]
        return [int(word) for word in re.findall(r"(?<![\w])-?\d+", tail)]


def have_strace() -> bool:
    """Say whether programs can be traced here."""
    if shutil.which("strace") is None:
        return False
    probe = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False)
    return probe.returncode == 0


def run_traced(log: Path, module: str, *arguments: object, **environment: str) -> list[str]:
    """Run a module under strace, with all its children; return what it printed, line by line."""
    done = subprocess.run(
        [
            *("strace", "-f", "-y", "-s", "400", "-o", str(log), "-e", f"trace={TRACED}"),
            *(sys.executable, "-m", module, *map(str, arguments)),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path),
            **environment,
        },
    )
    if done.returncode != 0:
        raise AssertionError(f"{module} failed under strace:\n{done.stdout}\n{done.stderr}")
    return done.stdout.splitlines()


def read_log(log: Path) -> list[Call]:
    """Return the calls that ended well, in the order in which they ended."""
    with log.open(encoding="utf-8", errors="replace") as lines:
        return list(_calls(lines))


def _calls(lines: Iterable[str]) -> Iterator[Call]:
    waiting: dict[tuple[int, str], tuple[int, str]] = {}
    for number, line in enumerate(lines):
        found = _LINE.fullmatch(line.rstrip("\n"))
        if found is None:
            continue
        pid, rest, begin = int(found["pid"]), found["rest"], number
        if rest.endswith("<unfinished ...>"):
            name = rest.split("(", 1)[0]
            waiting[pid, name] = (number, rest.removesuffix("<unfinished ...>").rstrip())
            continue
        resumed = _RESUMED.fullmatch(rest)
        if resumed is not None:
            begin, head = waiting.pop((pid, resumed["name"]))
            rest = head + resumed["rest"]
        call = _CALL.fullmatch(rest)
        if call is None or call["result"] == "?" or int(call["result"]) < 0:
            continue
        after = re.match(r"<([^>]*)>", call["after"])
        yield Call(
            pid,
            call["name"],
            call["arguments"],
            int(call["result"]),
            after[1] if after else "",
            begin,
            number,
        )


def ancestors(path: str, root: str) -> Sequence[str]:
    """Return the folders from `path` up to `root`, without `root`."""
    found = []
    while path not in (root, "/", ""):
        found.append(path)
        path = str(Path(path).parent)
    return found
