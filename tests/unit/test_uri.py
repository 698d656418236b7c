from __future__ import annotations

import pickle
import traceback
from pathlib import Path

import pytest

from deker_cluster.errors import DekerClientError, DekerURIError
from deker_cluster.uri import Address, Mode, parse_uri

CANARY = "c4n4ry"


@pytest.mark.parametrize(
    ("uri", "mode", "path"),
    [
        ("file:///data/x", Mode.LIBRARY, "/data/x"),
        ("file:/data/x", Mode.LIBRARY, "/data/x"),
        ("  file:///data/x/../y/ ", Mode.LIBRARY, "/data/y"),
        ("file:///with%20blank%3F%23%25", Mode.LIBRARY, "/with blank?#%"),
        ("file:///ünï/数据", Mode.LIBRARY, "/ünï/数据"),
        ("deker:///data/x", Mode.EMBEDDED, "/data/x"),
    ],
)
def test_directories(uri: str, mode: Mode, path: str) -> None:
    address = parse_uri(uri)
    assert (address.mode, address.path) == (mode, Path(path))
    assert parse_uri(address.uri) == address


def test_relative_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path.resolve() / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_uri("file:rel").path == here / "rel"
    assert parse_uri("deker://./rel").path == here / "rel"
    assert parse_uri("deker://../rel").path == here.parent / "rel"
    assert parse_uri("deker://~/rel").path == here.parent / "rel"
    assert parse_uri("file:~/rel").path == here.parent / "rel"


def test_two_spellings_of_one_directory_are_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert parse_uri(f"file://{tmp_path}/link/x") == parse_uri(f"file://{tmp_path.resolve()}/x")


@pytest.mark.parametrize(
    ("uri", "host", "port", "name"),
    [
        ("deker://redis/prod", "redis", 6379, "prod"),
        ("deker://127.0.0.1:7000/a.b_c-1", "127.0.0.1", 7000, "a.b_c-1"),
        ("deker://[::1]:7000/prod/", "::1", 7000, "prod"),
    ],
)
def test_registries(uri: str, host: str, port: int, name: str) -> None:
    address = parse_uri(uri)
    assert (address.mode, address.path) == (Mode.CLUSTER, None)
    assert (address.host, address.port, address.name) == (host, port, name)
    assert parse_uri(address.uri) == address


@pytest.mark.parametrize(
    ("uri", "endpoints"),
    [
        ("deker://a,b/x", (("a", 6379), ("b", 6379))),
        ("deker://a:1,b,c:3/x", (("a", 1), ("b", 6379), ("c", 3))),
        ("deker://a:1, b:2 /x", (("a", 1), ("b", 2))),
        ("deker://[::1]:7000,[::2],a/x/", (("::1", 7000), ("::2", 6379), ("a", 6379))),
        ("deker://a,[::1]/x", (("a", 6379), ("::1", 6379))),
        ("DEKER://a,a:1/x", (("a", 6379), ("a", 1))),
    ],
)
def test_a_registry_of_several_servers(uri: str, endpoints: tuple[tuple[str, int], ...]) -> None:
    address = parse_uri(uri)
    assert (address.mode, address.name, address.endpoints) == (Mode.CLUSTER, "x", endpoints)
    assert parse_uri(address.uri) == address
    assert parse_uri(str(address)) == address
    assert pickle.loads(pickle.dumps(address)) == address  # noqa: S301


def test_the_password_of_several_servers_stays_inside() -> None:
    address = parse_uri(f"deker://me:{CANARY},@a:1,b:2/x")
    assert (address.password, address.endpoints) == (CANARY + ",", (("a", 1), ("b", 2)))
    assert str(address) == "deker://me:***@a:1,b:2/x"
    assert CANARY not in repr(address)
    assert parse_uri(address.uri) == address


def test_commas_in_a_directory_are_no_hosts() -> None:
    assert parse_uri("deker:///a,b/c").path == Path("/a,b/c")
    assert parse_uri("file:///a,b").path == Path("/a,b")


@pytest.mark.parametrize(
    ("login", "username", "password"),
    [
        (f":{CANARY}", None, CANARY),
        (f"me:{CANARY}", "me", CANARY),
        (f"me:{CANARY}%40%2F%3A", "me", CANARY + "@/:"),
        (f"me:{CANARY}@home", "me", CANARY + "@home"),
        ("me", "me", None),
    ],
)
def test_the_password_stays_inside(login: str, username: str | None, password: str | None) -> None:
    address = parse_uri(f"deker://{login}@host:1/x")
    assert (address.username, address.password) == (username, password)
    assert CANARY not in str(address) + repr(address)
    assert parse_uri(address.uri) == address
    assert pickle.loads(pickle.dumps(address)) == address  # noqa: S301


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("", "non-empty"),
        ("   ", "non-empty"),
        (None, "non-empty"),
        (Path("/data"), "non-empty"),
        ("/data", r"unknown scheme \(none\)"),
        ("http://host/x", r"unknown scheme \(http\)"),
        ("redis://host/x", r"unknown scheme \(redis\)"),
        ("file://", "no directory"),
        ("file://data/x", "'data'"),
        ("file:///a\0b", "NUL"),
        ("file:///a%00b", "NUL"),
        ("deker://./a%00b", "NUL"),
        ("file:///\udcff", "surrogates"),
        ("deker://./a\ud800", "surrogates"),
        ("file:~nobody-of-that-name/x", "nobody-of-that-name"),
        ("file:///data?x=1", "query"),
        ("file:///data#x", "fragment"),
        ("deker://", "no directory"),
        ("deker:///", "no directory"),
        ("deker://host", "'host' but no cluster"),
        ("deker://host:1/", "no cluster"),
        ("deker://host:port/x", "port of the registry 'host'"),
        ("deker://host:70000/x", "port of the registry 'host'"),
        ("deker://host:0/x", "port of the registry 'host'"),
        ("deker://a,b:0/x", "port of the registry 'b'"),
        ("deker://a,,b/x", "between the commas"),
        ("deker://,b/x", "between the commas"),
        ("deker://a,./x", "between the commas"),
        ("deker://a,b,a:6379/x", "twice: a:6379, b:6379, a:6379"),
        ("deker://a,b", "'a' but no cluster"),
        ("deker://:1/x", "no host"),
        ("deker://host:1/a/b", "'a/b'"),
        ("deker://host:1/a{b}", "cluster name"),
        ("deker://host:1/" + "x" * 65, "cluster name"),
        ("deker://[::1/x", "cannot be parsed"),
    ],
)
def test_what_makes_no_sense(uri: str, named: str) -> None:
    with pytest.raises(DekerURIError, match=named) as caught:
        parse_uri(uri)
    assert isinstance(caught.value, DekerClientError)


@pytest.mark.parametrize(
    "uri",
    [
        f"http://me:{CANARY}@host/x",
        f"file://me:{CANARY}@host/x",
        f"deker://me:{CANARY}@host:port/x",
        f"deker://me:{CANARY}@host",
        f"deker://me:{CANARY}@/x",
        f"deker://me:{CANARY}@[::1/x",
        f"deker://me:{CANARY}℀@host/x",  # urlsplit repeats the login of such a host
        f"deker://me:{CANARY}?x@host/x",
        f"deker://me:{CANARY}#x@host/x",
        f"deker://me:{CANARY}/x@host:1/x",
        f"deker://me:1/{CANARY}@host:1/x",
        f"deker://me:{CANARY}@a:1,b:port/x",
        f"deker://me:{CANARY}@a,a/x",
        f"deker://me:{CANARY}@a,,b/x",
        f"deker://me:1,{CANARY}/x@a:1,b/x",
    ],
)
def test_a_password_in_a_bad_address_is_not_repeated(uri: str) -> None:
    with pytest.raises(DekerURIError) as caught:
        parse_uri(uri)
    error: BaseException | None = caught.value
    assert CANARY not in "".join(traceback.format_exception(caught.value)[-1:])
    while error is not None:
        assert CANARY not in str(error) + repr(error)
        error = error.__cause__ or error.__context__


def test_an_address_is_a_plain_value() -> None:
    address = Address(mode=Mode.CLUSTER, host="host", name="x")
    assert str(address) == "deker://host:6379/x"
    assert str(parse_uri("file:///data")) == "file:///data"
