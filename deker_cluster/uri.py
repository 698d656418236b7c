"""Addresses: what a user writes to say which storage is meant. Pure but for the current folder."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

import attrs

from deker_cluster.errors import DekerURIError

__all__ = ["DEFAULT_REGISTRY_PORT", "Address", "Mode", "parse_uri"]

DEFAULT_REGISTRY_PORT = 6379

# Braces would break the hash tag that the name becomes in the registry's keys.
_CLUSTER_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")

_FORMS = (
    "write file:///path (library mode), deker://./path (embedded cluster) or "
    "deker://host:port/name (a cluster by its registry; further hosts behind commas)"
)


class Mode(Enum):
    """How the services behind an address run."""

    LIBRARY = "library"
    """In the calling process, on a directory."""
    EMBEDDED = "embedded"
    """On a local Ray, on a directory."""
    CLUSTER = "cluster"
    """On a Ray cluster that a registry names."""


@attrs.frozen
class Address:
    """A parsed address. ``str()`` never shows the password."""

    mode: Mode
    path: Path | None = None
    """Absolute directory; library and embedded mode."""
    host: str = ""
    port: int = DEFAULT_REGISTRY_PORT
    others: tuple[tuple[str, int], ...] = ()
    """Hosts and ports of further servers of the registry: one of all is the primary."""
    name: str = ""
    """Name of the cluster within the registry."""
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)

    def __str__(self) -> str:
        if self.path is not None:
            scheme = "file" if self.mode is Mode.LIBRARY else "deker"
            return f"{scheme}://{self.path}"
        user = (
            f"{quote(self.username)}:***@" if self.username else ("***@" if self.password else "")
        )
        return f"deker://{user}{self._authority}/{self.name}"

    @property
    def endpoints(self) -> tuple[tuple[str, int], ...]:
        """Host and port of every server of the registry, as the address names them."""
        return ((self.host, self.port), *self.others)

    @property
    def _authority(self) -> str:
        return ",".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.endpoints
        )

    @property
    def uri(self) -> str:
        """The whole address, password included: for processes that must connect as well."""
        if self.path is not None:
            return f"{'file' if self.mode is Mode.LIBRARY else 'deker'}://{quote(str(self.path))}"
        user = quote(self.username or "", safe="")
        secret = f":{quote(self.password, safe='')}" if self.password is not None else ""
        login = f"{user}{secret}@" if user or secret else ""
        return f"deker://{login}{self._authority}/{quote(self.name)}"


def parse_uri(uri: str) -> Address:
    """Parse what a user wrote.

    Parameters
    ----------
    uri
        ``file:///abs``, ``file:/abs``, ``file:relative``: library mode.
        ``deker://./rel``, ``deker://../rel``, ``deker://~/dir``, ``deker:///abs``: embedded.
        ``deker://[user[:password]@]host[:port]/name``: a cluster by its registry.
        ``deker://[user[:password]@]host[:port],host[:port]/name``: the same, of a registry with
        replicas; the servers stand in any order.

    Raises
    ------
    DekerURIError
        Names the part that makes no sense; a password is never repeated.
    """
    if not isinstance(uri, str) or not uri.strip():
        raise DekerURIError(f"an address must be a non-empty string; {_FORMS}")
    if "\0" in unquote(uri):
        raise DekerURIError("an address must not contain NUL")
    if any("\ud800" <= character <= "\udfff" for character in unquote(uri)):
        raise DekerURIError("an address must be text that UTF-8 can write, without lone surrogates")
    first, *further = [_parse_one(each) for each in _one_host_each(uri.strip())]
    if not further:
        return first
    endpoints = [first.endpoints[0], *(each.endpoints[0] for each in further)]
    if len(set(endpoints)) < len(endpoints):
        raise DekerURIError(
            "the address names a server of the registry twice: "
            + ", ".join(f"{host}:{port}" for host, port in endpoints)
        )
    return attrs.evolve(first, others=tuple(endpoints[1:]))


def _one_host_each(uri: str) -> list[str]:
    """Split an address of several hosts into addresses of one each."""
    start, slashes, rest = uri.partition("//")
    if start.lower() != "deker:":
        return [uri]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    login, at, hosts = authority.rpartition("@")
    if "," not in hosts:
        return [uri]
    each = [host.strip() for host in hosts.split(",")]
    if not {"", ".", "..", "~"}.isdisjoint(each):
        # Any of these would be taken for a directory.
        raise DekerURIError("between the commas of an address stand hosts: deker://a:6379,b:6379/x")
    end = rest[len(authority) :]
    return [f"{start}{slashes}{login}{at}{host}{end}" for host in each]


def _parse_one(uri: str) -> Address:
    parts = _split(uri)
    if parts is None:
        raise DekerURIError(f"an address that cannot be parsed; {_FORMS}")
    if parts.query or parts.fragment:
        raise DekerURIError(
            "an address takes no '?query' and no '#fragment'; in a path write %3F and %23 for them"
        )
    if parts.scheme == "file":
        return _file_address(parts)
    if parts.scheme == "deker":
        return _deker_address(parts)
    shown = parts.scheme or "none"
    raise DekerURIError(f"unknown scheme ({shown}) in the address; {_FORMS}")


def _split(uri: str) -> SplitResult | None:
    try:
        return urlsplit(uri)
    except ValueError:
        # Not even as a cause: its text may quote the login, and with it a password.
        return None


def _file_address(parts: SplitResult) -> Address:
    if parts.netloc:
        raise DekerURIError(
            f"a file address has no host, but {_hostname(parts)!r} stands there; "
            "write file:///path with three slashes, or file:relative/path"
        )
    if not parts.path:
        raise DekerURIError("the file address names no directory")
    return Address(mode=Mode.LIBRARY, path=_absolute(unquote(parts.path)))


def _deker_address(parts: SplitResult) -> Address:
    if parts.netloc in ("", ".", "..", "~"):
        text = unquote(parts.netloc + parts.path)
        if not text.strip("/"):
            raise DekerURIError("the address names no directory; write deker://./path")
        return Address(mode=Mode.EMBEDDED, path=_absolute(text))
    host = _hostname(parts)
    name = unquote(parts.path).strip("/")
    if not name:
        raise DekerURIError(
            f"the address names the registry {host!r} but no cluster; "
            f"write deker://{host}:port/name, or deker://./{host} for a directory"
        )
    port = _port(parts)
    if port == 0:
        raise DekerURIError(f"the port of the registry {host!r} is not a number in 1..65535")
    return Address(
        mode=Mode.CLUSTER,
        host=host,
        port=port,
        name=_cluster_name(name),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password is not None else None,
    )


def _port(parts: SplitResult) -> int:
    """Return the port, 0 for what is none."""
    try:
        return DEFAULT_REGISTRY_PORT if parts.port is None else parts.port
    except ValueError:
        # Its text quotes what stands there: part of a password with an unquoted slash.
        return 0


def _cluster_name(name: str) -> str:
    if "@" in name:
        # Not shown: most likely it is the rest of a password.
        raise DekerURIError(
            "there is an '@' behind the first '/' of the address: write a '/' in a password as %2F"
        )
    if _CLUSTER_NAME.fullmatch(name) is None:
        raise DekerURIError(
            f"the cluster name {name[:80]!r} must be 1 to 64 letters, digits, dots, dashes "
            "or underscores"
        )
    return name


def _hostname(parts: SplitResult) -> str:
    try:
        host = parts.hostname
    except ValueError:
        host = None
    if not host:
        raise DekerURIError(f"the address names no host; {_FORMS}")
    return host


def _absolute(text: str) -> Path:
    try:
        # resolve() so that two spellings of one directory are one directory.
        return Path(text).expanduser().resolve()
    except (RuntimeError, OSError) as error:
        raise DekerURIError(f"the directory {text!r} cannot be found: {error}") from error
