"""What a disk holds after a power cut at any point of a log of system calls."""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from tests.kit.syscalls import Call

__all__ = ["Disk", "Inode"]

_WRITES = frozenset({"write", "writev", "pwrite64", "pwritev", "pwritev2"})
_SYNCS = frozenset({"fsync", "fdatasync"})
_UNKNOWN = frozenset({"copy_file_range", "sendfile", "symlink", "symlinkat", "link", "linkat"})


@attrs.define(eq=False)
class Inode:
    """A file or a folder."""

    folder: bool
    born: int
    path: str
    """Its last name; "" when it has none any more."""
    appends: bool = False
    size: int = 0
    writes: list[tuple[int, int, int]] = attrs.Factory(list)
    """(line in which it was done, from, to): bytes that were written; also by a truncation."""
    names: list[tuple[int, tuple[tuple[str, Inode | None], ...]]] = attrs.Factory(list)
    """Of a folder: (line, names that came, or went with None, in one step)."""
    syncs: list[tuple[int, int]] = attrs.Factory(list)
    """(line in which a sync was asked for, line in which it was done)."""

    def safe_line(self, cut: int) -> int:
        """Return the line up to which everything is safe, for a power cut at a line."""
        return max((begin for begin, end in self.syncs if end <= cut), default=-1)

    def synced_between(self, after: int, before: int) -> bool:
        """Whether a sync was asked for after a line, and done before another one."""
        return any(after < begin and end < before for begin, end in self.syncs)


class Disk:
    """Everything below a folder that did not exist, or was empty, when the log began.

    Parameters
    ----------
    root
        Absolute.
    """

    def __init__(self, root: str, calls: Iterable[Call]) -> None:
        self.root = root
        self.top = Inode(folder=True, born=-1, path=root)
        self._by_path: dict[str, Inode] = {root: self.top}
        self.inodes: list[Inode] = [self.top]
        self._here: dict[int, str] = {}
        self._position: dict[tuple[int, str], int] = {}
        for call in calls:
            self._apply(call)

    def inode(self, path: str) -> Inode | None:
        """Return what has that name at the end."""
        return self._by_path.get(path)

    def _inside(self, path: str) -> bool:
        return path == self.root or path.startswith(self.root + "/")

    def _absolute(self, call: Call, text: str) -> str:
        if call.here:
            self._here[call.pid] = call.here
        return posixpath.normpath(posixpath.join(call.here or self._here.get(call.pid, "/"), text))

    def _apply(self, call: Call) -> None:
        if call.name == "chdir":
            self._here[call.pid] = self._absolute(call, call.texts[0])
        elif call.name in ("openat", "open", "creat"):
            self._open(call)
        elif call.name in _WRITES:
            self._write(call)
        elif call.name in _SYNCS:
            found = self._by_path.get(call.path)
            if found is not None:
                found.syncs.append((call.begin, call.end))
        elif call.name in ("mkdir", "mkdirat"):
            path = self._absolute(call, call.texts[0])
            if self._inside(path) and path not in self._by_path:
                self._make(call, path, folder=True)
        elif call.name in ("rename", "renameat", "renameat2"):
            self._rename(call)
        elif call.name in ("unlink", "unlinkat", "rmdir"):
            self._remove(call, self._absolute(call, call.texts[0]))
        elif call.name in ("ftruncate", "fallocate"):
            self._resize(call)
        elif call.name in _UNKNOWN and any(
            self._inside(self._absolute(call, text)) for text in call.texts
        ):
            raise AssertionError(f"the model of the disk has no {call.name}: {call.arguments}")

    def _make(self, call: Call, path: str, *, folder: bool) -> Inode:
        made = Inode(folder=folder, born=call.end, path=path)
        self._by_path[path] = made
        self.inodes.append(made)
        parent = self._by_path[posixpath.dirname(path)]
        parent.names.append((call.end, ((posixpath.basename(path), made),)))
        return made

    def _open(self, call: Call) -> None:
        path = call.result_path
        if not self._inside(path) or "O_DIRECTORY" in call.arguments:
            return
        found = self._by_path.get(path)
        if found is None:
            if "O_CREAT" not in call.arguments and call.name != "creat":
                return
            found = self._make(call, path, folder=False)
        if "O_TRUNC" in call.arguments:
            found.size = 0
        found.appends = "O_APPEND" in call.arguments
        self._position[call.result, path] = 0

    def _write(self, call: Call) -> None:
        found = self._by_path.get(call.path)
        if found is None:
            return
        if call.name in ("write", "writev"):
            key = (int(call.arguments.split("<")[0]), call.path)
            begin = found.size if found.appends else self._position.get(key, 0)
            self._position[key] = begin + call.result
        else:
            numbers = call.numbers
            # The offset stands last, but for the flags of pwritev2.
            begin = numbers[-2] if call.name == "pwritev2" else numbers[-1]
        end = begin + call.result
        found.writes.append((call.end, begin, end))
        found.size = max(found.size, end)

    def _resize(self, call: Call) -> None:
        found = self._by_path.get(call.path)
        if found is None:
            return
        size = sum(call.numbers[-2:]) if call.name == "fallocate" else call.numbers[-1]
        found.size = max(found.size, size) if call.name == "fallocate" else size

    def _rename(self, call: Call) -> None:
        old, new = (self._absolute(call, text) for text in call.texts[:2])
        found = self._by_path.pop(old, None)
        if found is None:
            return
        replaced = self._by_path.get(new)
        if replaced is not None:
            replaced.path = ""
        self._by_path[new] = found
        found.path = new
        come = (posixpath.basename(new), found)
        gone: tuple[str, Inode | None] = (posixpath.basename(old), None)
        source, target = (self._by_path[posixpath.dirname(path)] for path in (old, new))
        if source is target:
            source.names.append((call.end, (gone, come)))
        else:
            source.names.append((call.end, (gone,)))
            target.names.append((call.end, (come,)))

    def _remove(self, call: Call, path: str) -> None:
        found = self._by_path.pop(path, None)
        if found is not None:
            found.path = ""
            parent = self._by_path[posixpath.dirname(path)]
            parent.names.append((call.end, ((posixpath.basename(path), None),)))

    def after_power_cut(self, cut: int, chance: random.Random, luck: float, target: Path) -> None:
        """Make a folder as the disk could be after a power cut at a line of the log.

        Parameters
        ----------
        luck
            Probability with which each thing that was not synced is there all the same.
        target
            Made; contents are copied from the files as they are now.
        """
        self._restore(self.top, cut, chance, luck, target)

    def _restore(
        self, folder: Inode, cut: int, chance: random.Random, luck: float, target: Path
    ) -> None:
        target.mkdir(mode=0o700)
        safe = folder.safe_line(cut)
        names: dict[str, Inode] = {}
        for line, step in folder.names:
            if line > cut or (line > safe and chance.random() >= luck):
                continue
            for name, what in step:
                if what is None:
                    names.pop(name, None)
                else:
                    names[name] = what
        for name, what in names.items():
            if what.folder:
                self._restore(what, cut, chance, luck, target / name)
            else:
                (target / name).write_bytes(_content(what, cut, chance, luck))
                (target / name).chmod(0o600)


def _content(file: Inode, cut: int, chance: random.Random, luck: float) -> bytes:
    """Return what a file may hold; its bytes are taken from what it is now."""
    safe = file.safe_line(cut)
    done = [write for write in file.writes if write[0] <= cut]
    if not done:
        return b""
    if not file.path:
        raise AssertionError("the bytes of a file that is no longer there are needed")
    whole = Path(file.path).read_bytes()
    out = bytearray()
    for line, begin, end in done:
        part = whole[begin:end]
        if line > safe and chance.random() >= luck:
            part = part[: chance.randrange(len(part) + 1)] if luck else b""
            if file.appends:
                # What follows in an append-only file cannot be there without it.
                out[len(out) :] = part
                break
        if part:
            out[len(out) :] = bytes(max(0, begin + len(part) - len(out)))
            out[begin : begin + len(part)] = part
    return bytes(out)
