"""The registry of `deploy/`: who may do what there, and that this is enough and no more."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import redis

from deker_cluster.registry import Registry
from tests.contract.servers import KINDS, find_server
from tests.kit.ports import free_port
from tests.packaging.deployed import ONCE, PASSWORD, REGISTRY, DeployedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
LUA = ROOT / "deker_cluster" / "registry" / "lua"

CLIENT = ROOT / "deker_cluster" / "registry"
CONTAINERS = {"CONFIG", "FUNCTION"}
"""Commands whose second word is part of their name."""

# As deker: what a cluster needs never, and what would let it do harm to others on the server.
FORBIDDEN = (
    "FLUSHALL",
    "FLUSHDB",
    "KEYS *",
    "CONFIG SET appendfsync no",
    "CONFIG REWRITE",
    "EVAL return(1) 0",
    "FUNCTION FLUSH",
    "FUNCTION DELETE deker1",
    "FUNCTION DUMP",
    "SCRIPT FLUSH",
    "MODULE LIST",
    "SHUTDOWN NOSAVE",
    "REPLICAOF 127.0.0.1 1",
    "ACL LIST",
    "ACL SETUSER deker +@all",
    "CLIENT LIST",
    "CLIENT KILL TYPE normal",
    "MONITOR",
    "BGREWRITEAOF",
    "SAVE",
    "DUMP deker:{a}:cluster",
    "RENAME deker:{a}:cluster deker:{b}:cluster",
    "MIGRATE 127.0.0.1 1 deker:{a}:cluster 0 1",
    "SUBSCRIBE anything",
    "GET other",
    "SET other 1",
    "BLPOP other 0.01",
)

CONTRACT = (
    "test_catalog_calls.py",
    "test_cluster_calls.py",
    "test_commits_across_arrays.py",
    "test_condemned.py",
    "test_creation_calls.py",
    "test_feed_calls.py",
    "test_finding.py",
    "test_garbage.py",
    "test_history_calls.py",
    "test_journal.py",
    "test_leases_and_commits.py",
    "test_lost_replies.py",
    "test_pins.py",
    "test_report_calls.py",
)

LONG = (
    "hundred_thousand",
    "age_ends_generations",
    "never_seen_apart",
    "many_reads",
    "grace_counts",
    "garbage_is_what_nothing_needs",
    "more_than_one_call_looks_at",
    "random_changes_and_queries",
)
"""Parts of the names of tests that take long and send nothing that the others do not."""


@pytest.fixture
def deployed() -> Iterator[Callable[..., DeployedServer]]:
    """Starts servers; takes what :class:`DeployedServer` takes."""
    servers: list[DeployedServer] = []

    def start(kind: str, *options: str, **how: str) -> DeployedServer:
        if find_server(kind) is None:
            pytest.skip(f"no {kind} server on this machine")
        servers.append(DeployedServer(kind, *options, **how))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def commands_of_functions() -> set[str]:
    """Every command that a server function runs; they are written out, but for one helper."""
    text = "\n".join(path.read_text() for path in LUA.glob("*.lua"))
    text = re.sub(r"--.*", "", text)
    calls = re.findall(r"redis\.p?call\s*(\([^,)]*)", text)
    named = re.findall(r"redis\.p?call\s*\(\s*['\"]([A-Z]+)['\"]", text)
    # The rest are the helper that takes the command's name.
    assert [call for call in calls if not re.match(r"\(\s*['\"]", call)] == ["(command"]
    assert len(re.findall(r"\bredis\.p?call\b", text)) == len(calls)
    sliced = re.findall(r"\bsliced\(\s*['\"]([A-Z]+)['\"]", text)
    assert len(re.findall(r"\bsliced\(", text)) == len(sliced) + 1  # and its definition
    return {name.lower() for name in [*named, *sliced]}


def commands_of_the_client() -> set[str]:
    """Every command that the client sends: all go through `RegistryLink`."""
    sent = set()
    for path in CLIENT.glob("*.py"):
        if path.name == "embedded.py":
            continue  # speaks with a server of its own
        call = (
            r"(?:\.command|\.block|\._prepare|\.execute_command|\._request)\(\s*\(?(?:client,\s*)?"
        )
        for name, word in re.findall(
            call + r"\"([A-Z_]+)\"(?:,\s*\"([A-Z]+)\")?", path.read_text()
        ):
            sent.add(f"{name}|{word}".lower() if name in CONTAINERS else name.lower())
    assert {"fcall", "xread", "role"} <= sent
    return sent


def granted_to(user: str) -> set[str]:
    template = re.sub(r"(?m)^\s*#.*\n", "", (REGISTRY / "users.acl.in").read_text())
    (line,) = re.findall(rf"(?m)^user {user} .*\n(?:[ \t]+.*\n)*", template)
    return {word[1:] for word in line.split() if word.startswith("+")}


def test_the_user_may_run_what_is_needed_and_nothing_else() -> None:
    needed = commands_of_functions() | commands_of_the_client()
    granted = granted_to("deker")
    assert needed - granted == set(), "users.acl.in lacks commands that the functions run"
    assert granted - needed == set(), "users.acl.in grants commands that nothing runs any more"
    assert granted_to("probe") == {"ping"}


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_user_may_not_do(kind: str, deployed: Callable[..., DeployedServer]) -> None:
    server = deployed(kind)
    with server.connect() as client:
        for command in FORBIDDEN:
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())
        # Refused whoever asks, before the user is looked at.
        with pytest.raises(redis.exceptions.ResponseError, match=r"(?i)not allowed|no permissions"):
            client.execute_command("DEBUG", "SLEEP", "0")
        assert client.ping()


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_let_in(kind: str, deployed: Callable[..., DeployedServer]) -> None:
    server = deployed(kind)
    refusals = redis.exceptions.AuthenticationError, redis.exceptions.NoPermissionError
    for user, password in [("deker", "wrong" * 5), ("default", PASSWORD), ("default", "")]:
        with server.connect(user, password) as client, pytest.raises(refusals):
            client.ping()
    with (
        redis.Redis(unix_socket_path=server.socket, retry=ONCE) as nobody,
        pytest.raises(refusals),
    ):
        nobody.ping()
    with server.connect("probe", "none") as probe:
        assert probe.ping()
        for command in ("INFO", "GET deker:{a}:cluster", "FCALL_RO deker1_version 0", "ACL WHOAMI"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                probe.execute_command(*command.split())


@pytest.mark.parametrize("kind", KINDS)
def test_the_server_loses_nothing_acknowledged(
    kind: str, deployed: Callable[..., DeployedServer]
) -> None:
    server = deployed(kind)
    registry = Registry(server.connect, "prod", deadline_s=20)
    registry.create_cluster("the-cluster", 1, {})
    assert registry.server_info().weaknesses == ()
    server.kill()
    server.start()
    found = registry.cluster()
    assert found is not None
    assert found.id == "the-cluster"
    registry.close()


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_but_this_machine_unless_told(
    kind: str, deployed: Callable[..., DeployedServer]
) -> None:
    def listening(server: DeployedServer) -> set[str]:
        process = psutil.Process(server.pid)
        return {
            each.laddr.ip
            for each in process.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN
        }

    assert listening(deployed(kind, "--port", str(free_port()))) <= {"127.0.0.1", "::1"}
    told = deployed(kind, "--port", str(free_port()), "--bind", "127.0.0.2")
    assert listening(told) == {"127.0.0.2"}


def test_the_password_stands_nowhere(deployed: Callable[..., DeployedServer]) -> None:
    server = deployed("valkey")
    assert PASSWORD not in " ".join(psutil.Process(server.pid).cmdline())
    written = [path for path in server.folder.rglob("*") if path.is_file()]
    assert server.folder / "users.acl" in written
    assert (server.folder / "users.acl").stat().st_mode & 0o077 == 0
    for path in written:
        assert PASSWORD.encode() not in path.read_bytes(), path


def start_script(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [REGISTRY / "start.sh", REGISTRY / "redis.conf", REGISTRY / "users.acl.in", folder],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_mistakes_at_the_start(tmp_path: Path) -> None:
    for environment in ({}, {"REGISTRY_PASSWORD": "too-short"}):
        ran = start_script(tmp_path, **environment)
        assert ran.returncode == 78
        assert "at least 16 characters" in ran.stderr
        assert "too-short" not in ran.stderr
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "password").write_text(PASSWORD + "\n")
    ran = start_script(
        tmp_path, REGISTRY_PASSWORD_FILE=str(tmp_path / "password"), REGISTRY_SERVER="no-such"
    )
    assert ran.returncode == 69
    assert "is installed" in ran.stderr


def test_the_registrys_contract_as_that_user() -> None:
    """The tests of `tests/contract` that send nothing but what a cluster sends."""
    folder = ROOT / "tests" / "contract"
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "tests.packaging.deployed"),
            *("-p", "no:cacheprovider", "-m", "not slow and not chaos"),
            *("-k", f"valkey and not ({' or '.join(LONG)})"),
            *(str(folder / name) for name in CONTRACT),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-2000:]
    (passed,) = re.findall(r"(\d+) passed", ran.stdout)
    assert int(passed) > 50


@pytest.mark.parametrize("kind", KINDS)
def test_the_store_behind_the_head(kind: str, deployed: Callable[..., DeployedServer]) -> None:
    server = deployed(kind, config="gcs.conf", users="gcs.acl.in")
    with server.connect() as client:
        client.hset("RAYdeker@KV", "a", "b")
        assert client.hscan("RAYdeker@KV")[1] == {b"a": b"b"}
        assert client.info("replication")["role"] == "master"
        for command in ("CONFIG SET appendonly no", "SHUTDOWN NOSAVE", "ACL LIST"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())
    with server.connect("probe", "none") as probe:
        assert probe.ping()


def make_certificates(folder: Path) -> None:
    """A certificate authority, and a certificate of it for the server and for a client."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    own = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.crt"
    openssl(*own.split())
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name in ("registry", "client"):
        request = f"req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        openssl(*request.split())
        openssl(
            *f"x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2".split(),
            *f"-extfile names -out {name}.crt".split(),
        )


def test_encrypted_connections(tmp_path: Path, deployed: Callable[..., DeployedServer]) -> None:
    binary = find_server("redis")
    if binary is None or shutil.which("openssl") is None:
        pytest.skip("no redis-server, or no openssl, on this machine")
    linked = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout
    if "libssl" not in linked:
        pytest.skip("this redis-server was built without TLS")
    make_certificates(tmp_path)
    settings = (REGISTRY / "tls.conf").read_text().replace("/etc/deker/tls", str(tmp_path))
    port = free_port()
    (tmp_path / "tls.conf").write_text(settings.replace("tls-port 6390", f"tls-port {port}"))
    deployed("redis", "--include", str(tmp_path / "tls.conf"))
    login = {"username": "deker", "password": PASSWORD, "port": port, "host": "127.0.0.1"}
    secure = {"ssl": True, "ssl_ca_certs": str(tmp_path / "ca.crt"), "ssl_cert_reqs": "required"}
    own = {
        "ssl_certfile": str(tmp_path / "client.crt"),
        "ssl_keyfile": str(tmp_path / "client.key"),
    }
    with redis.Redis(**login, **secure, **own) as client:
        assert client.ping()
    for settings_ in (login, {**login, **secure}):  # in the clear, and without a certificate
        with (
            redis.Redis(**settings_, socket_timeout=5, retry=ONCE) as stranger,
            pytest.raises((redis.exceptions.RedisError, ssl.SSLError, OSError)),
        ):
            stranger.ping()
