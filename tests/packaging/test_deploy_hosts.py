"""How `deploy/` runs the cluster outside of Kubernetes: Compose, systemd, `ray up`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.packaging.test_wheel import run

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def test_the_compose_file() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    compose = yaml.safe_load(text)
    services = compose["services"]
    # https://github.com/compose-spec/compose-spec/blob/main/spec.md, section 5 and 9
    assert {key for key in compose if not key.startswith("x-")} == {
        *("name", "services", "networks", "volumes"),
    }
    keys = {
        *("build", "cap_drop", "command", "depends_on", "entrypoint", "environment", "healthcheck"),
        *("hostname", "image", "init", "networks", "ports", "pull_policy", "restart"),
        *("security_opt", "shm_size", "stop_grace_period", "tmpfs", "ulimits", "user", "volumes"),
    }
    workers = {name for name in services if name.startswith("worker-")}
    for name, service in services.items():
        assert service.keys() <= keys, name
        assert set(service["networks"]) <= compose["networks"].keys()
        assert re.fullmatch(r"deker-cluster:local|.+:\d+\.\d+\.\d+-\w+", service["image"])
        assert service["cap_drop"] == ["ALL"]
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert not services[other]["healthcheck"].get("disable")
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), "whoever reaches Ray can run code"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            known = (DEPLOY / source).exists() if source[0] == "." else source in compose["volumes"]
            assert known, volume
    assert services["start"]["depends_on"].keys() == {"head", *workers}
    count = services["start"]["command"][2]
    assert services["start"]["command"][1].endswith("wait_for_nodes.py")
    assert int(count) == len(workers)
    used = [volume for name in workers for volume in services[name]["volumes"]]
    assert len(set(used)) == len(workers)
    for name in workers:
        assert services[name]["command"] == [f"--labels=deker.io/node={name}"]
        assert services[name]["shm_size"]
    # What is not given is refused with a sentence that says what to do.
    variables = re.findall(r"\$\{(\w+)([^}]*)\}", text)
    assert {name for name, _ in variables} == {"REGISTRY_PASSWORD", "RAY_AUTH_TOKEN"}
    assert all(rest.startswith(":?") for _, rest in variables)


def test_docker_compose_takes_it() -> None:
    asked = ["docker", "compose", "version"]
    if (
        shutil.which("docker") is None
        or subprocess.run(asked, capture_output=True, check=False).returncode
    ):
        pytest.skip("no docker compose on this machine")
    command = ["docker", "compose", "-f", DEPLOY / "compose.yaml", "config", "--quiet"]
    environment = {**os.environ, "REGISTRY_PASSWORD": "x" * 32, "RAY_AUTH_TOKEN": "y" * 32}
    run(command, cwd=DEPLOY, environment=environment)
    environment.pop("RAY_AUTH_TOKEN")
    with pytest.raises(AssertionError, match="README"):
        run(command, cwd=DEPLOY, environment=environment)


def test_ray_takes_the_cluster_of_ray_up() -> None:
    """By what the launcher itself does with it before anything else."""
    written = yaml.safe_load((DEPLOY / "ray-up.yaml").read_text())
    config = prepare_config(written)
    validate_config(config)
    (nodes,) = config["available_node_types"].values()
    assert nodes["min_workers"] == nodes["max_workers"] == len(written["provider"]["worker_ips"])
    with pytest.raises(jsonschema.ValidationError, match="idle_minutes"):
        validate_config({**config, "idle_minutes": 5})
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert "RAY_AUTH_MODE=token" in config[name][-1]
    assert "--labels=deker.io/node=" in config["worker_start_ray_commands"][-1]


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """With the programs that they name put in place: they are installed on the machines only."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    stub = tmp_path / "stub"
    stub.write_text("#!/bin/sh\n")
    stub.chmod(0o755)
    units = []
    for path in UNITS:
        text = re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={stub}", path.read_text())
        units.append(tmp_path / path.name)
        units[-1].write_text(text)
    run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units], cwd=tmp_path)
    broken = tmp_path / "broken.service"
    broken.write_text("[Service]\nExecStart=/no/such/program\n")
    with pytest.raises(AssertionError, match="broken"):
        run(["systemd-analyze", "verify", "--man=no", broken], cwd=tmp_path)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_what_a_unit_needs_is_made(path: Path) -> None:
    text = path.read_text()
    readme = (DEPLOY / "README.md").read_text()
    (user,) = re.findall(r"(?m)^User=(.+)$", text)
    assert re.search(rf"(?m)^u {user} ", (DEPLOY / "systemd" / "deker.sysusers").read_text())
    assert "NoNewPrivileges=yes" in text
    (command,) = re.findall(r"(?m)^ExecStart=(.+)$", text)
    known = set(re.findall(r"(?m)^Environment=(\w+)=", text))
    for file in re.findall(r"(?m)^EnvironmentFile=/etc/deker/(.+)$", text):
        example = DEPLOY / "systemd" / file
        if not example.exists():
            example = example.with_name(file + ".example")
        known |= set(re.findall(r"(?m)^#?(\w+)=", example.read_text()))
    assert set(re.findall(r"\$\{(\w+)\}", command)) <= known
    for _, source in re.findall(r"(?m)^LoadCredential=([\w-]+):(.+)$", text):
        assert source in readme
    for script in re.findall(r"/opt/deker/((?:registry/)?[\w.]+\.(?:sh|py|conf|in))", command):
        assert (DEPLOY / script).exists()
