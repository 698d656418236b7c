"""The configuration of the embedded Valkey server."""

from __future__ import annotations

import os

__all__ = ["valkey_config"]

# `always`: with `everysec` a plain kill loses acknowledged writes. A torn tail of the log was
# never acknowledged, so it is dropped rather than refused.
_CONFIG = """\
port 0
unixsocket {socket}
unixsocketperm 700
requirepass {password}
dir {directory}
daemonize no
logfile ""
save ""
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
aof-load-truncated yes
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 64mb
maxmemory-policy noeviction
"""


def valkey_config(*, socket: str, password: str, directory: str) -> str:
    """Return the text of a configuration file.

    Parameters
    ----------
    socket
        Path of the Unix socket, the only place where the server listens.
    password
        What every client must give; the file must not be readable by others.
    directory
        Where the server keeps its log of writes.
    """
    return _CONFIG.format(
        socket=_quoted(socket), password=_quoted(password), directory=_quoted(directory)
    )


def _quoted(text: str) -> str:
    """Return a value that survives spaces, quotes, line breaks and undecodable bytes."""
    plain = frozenset(range(0x20, 0x7F)) - {ord('"'), ord("\\")}
    inside = (chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in os.fsencode(text))
    return f'"{"".join(inside)}"'
