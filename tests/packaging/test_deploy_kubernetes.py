"""The Kubernetes manifests of `deploy/`: fields that exist, names that agree, rules kept."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "required": list(required),
    }


TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": TEXT}
POD = closed({"metadata": {"type": "object"}, "spec": {"type": "object"}}, "spec")
CREDENTIAL = closed({"valueFrom": {"type": "object"}}, "valueFrom")  # "value" would be a secret

# What of a RayCluster is used here, as KubeRay 1.6.2 has it. Source: its generated field reference,
# https://github.com/ray-project/kuberay/blob/0a9eabde561ab59ab4bbe626072c359da9214484/docs/reference/api.md
# (RayClusterSpec, AuthOptions, GcsFaultToleranceOptions, RedisCredential, HeadGroupSpec,
# WorkerGroupSpec), and ray-operator/apis/ray/v1/raycluster_types.go for what is required.
RAY_CLUSTER = closed(
    {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayCluster"},
        "metadata": {"type": "object"},
        "spec": closed(
            {
                "rayVersion": TEXT,
                "authOptions": closed({"mode": {"enum": ["token"]}, "secretName": TEXT}, "mode"),
                "gcsFaultToleranceOptions": closed(
                    {
                        "redisAddress": TEXT,
                        "redisUsername": CREDENTIAL,
                        "redisPassword": CREDENTIAL,
                        "externalStorageNamespace": TEXT,
                    },
                    "redisAddress",
                    "redisPassword",
                ),
                "headGroupSpec": closed(
                    {"rayStartParams": TEXTS, "labels": TEXTS, "resources": TEXTS, "template": POD},
                    "rayStartParams",
                    "template",
                ),
                "workerGroupSpecs": {
                    "type": "array",
                    "items": closed(
                        {
                            "groupName": TEXT,
                            "replicas": COUNT,
                            "minReplicas": COUNT,
                            "maxReplicas": COUNT,
                            "labels": TEXTS,
                            "resources": TEXTS,
                            "rayStartParams": TEXTS,
                            "template": POD,
                        },
                        "groupName",
                        "minReplicas",
                        "maxReplicas",
                        "rayStartParams",
                        "template",
                    ),
                },
            },
            "headGroupSpec",
        ),
    },
    "apiVersion",
    "kind",
    "spec",
)

# https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
POD_FIELDS = {
    *("affinity", "automountServiceAccountToken", "containers", "restartPolicy"),
    *("securityContext", "terminationGracePeriodSeconds", "volumes"),
}
CONTAINER_FIELDS = {
    *("args", "command", "env", "image", "livenessProbe", "name", "ports", "readinessProbe"),
    *("resources", "securityContext", "startupProbe", "volumeMounts"),
}
PROBE_FIELDS = {
    *("exec", "httpGet", "initialDelaySeconds", "periodSeconds", "timeoutSeconds"),
    "failureThreshold",
}


def manifests() -> list[dict[str, Any]]:
    return [
        document
        for path in sorted(KUBERNETES.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
    ]


def one(kind: str, name: str) -> dict[str, Any]:
    (found,) = [
        each for each in manifests() if (each["kind"], each["metadata"]["name"]) == (kind, name)
    ]
    return found


def pods() -> dict[str, dict[str, Any]]:
    """Name and specification of every pod."""
    found = {}
    for each in manifests():
        name = each["metadata"]["name"]
        if each["kind"] in {"StatefulSet", "Job"}:
            found[f"{each['kind']} {name}"] = each["spec"]["template"]["spec"]
        elif each["kind"] == "RayCluster":
            found["head"] = each["spec"]["headGroupSpec"]["template"]["spec"]
            for group in each["spec"]["workerGroupSpecs"]:
                found[f"group {group['groupName']}"] = group["template"]["spec"]
    return found


def groups() -> list[dict[str, Any]]:
    return list(one("RayCluster", "deker")["spec"]["workerGroupSpecs"])


def test_the_raycluster_has_the_fields_of_its_definition() -> None:
    cluster = one("RayCluster", "deker")
    jsonschema.validate(cluster, RAY_CLUSTER)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**cluster, "spec": {**cluster["spec"], "head": {}}}, RAY_CLUSTER)
    assert cluster["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_every_storage_node_has_a_name_and_a_claim_of_its_own() -> None:
    claims = [each for each in manifests() if each["kind"] == "PersistentVolumeClaim"]
    # A claim of more than one pod would let a pod that is thought dead write on.
    assert all(each["spec"]["accessModes"] == ["ReadWriteOncePod"] for each in claims)
    used = []
    for group in groups():
        assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] == 1
        assert group["labels"]["deker.io/node"] == group["groupName"]
        (volume,) = [
            volume["persistentVolumeClaim"]["claimName"]
            for volume in group["template"]["spec"]["volumes"]
            if "persistentVolumeClaim" in volume
        ]
        used.append(volume)
    names = [group["groupName"] for group in groups()]
    assert used == [f"deker-{name}" for name in names]
    assert sorted(used) == sorted(each["metadata"]["name"] for each in claims)
    assert len(set(names)) == len(names)


def test_the_jobs_know_all_storage_nodes() -> None:
    (start,) = pods()["Job deker-start"]["containers"]
    head = f"{one('RayCluster', 'deker')['metadata']['name']}-head-svc"
    assert start["command"] == ["ray", "job", "submit", "--address", f"http://{head}:8265", "--"]
    assert int(start["args"][2]) == len(groups())
    assert start["args"][-2:] == ["--ray-address", f"{head}:6379"]
    restore = pods()["Job deker-restore"]
    (container,) = restore["containers"]
    claims = [volume["persistentVolumeClaim"]["claimName"] for volume in restore["volumes"]]
    assert claims == [f"deker-{group['groupName']}" for group in groups()]
    mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert container["args"] == [word for path in mounted for word in ("--data-dir", path)]
    custom = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())
    (image,) = custom["images"]
    assert container["image"] == f"{image['newName']}:{image['newTag']}"


@pytest.mark.parametrize("name", pods())
def test_pods(name: str) -> None:
    """Fields that exist; neither root nor privileges; requests, limits and probes; own mounts."""
    pod = pods()[name]
    assert pod.keys() <= POD_FIELDS
    assert pod["automountServiceAccountToken"] is False
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    if name.startswith("StatefulSet"):
        volumes.add("data")  # of its claim template
    for container in pod["containers"]:
        assert container.keys() <= CONTAINER_FIELDS
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        assert {mount["name"] for mount in container.get("volumeMounts", [])} == volumes
        if not name.startswith("Job"):
            assert {"livenessProbe", "readinessProbe"} <= container.keys()
        for probe in (value for key, value in container.items() if key.endswith("Probe")):
            assert probe.keys() <= PROBE_FIELDS
            assert len({"exec", "httpGet"} & probe.keys()) == 1


def test_secrets_are_made_as_the_readme_says() -> None:
    readme = (DEPLOY / "README.md").read_text().replace("\\\n", " ")
    made = {
        (name, key)
        for name, rest in re.findall(r"create secret generic (\S+)([^\n]*)", readme)
        for key in re.findall(r"--from-literal=(\w+)=", rest)
    }
    text = "\n".join(path.read_text() for path in KUBERNETES.glob("*.yaml"))
    used = set(re.findall(r"secretKeyRef: \{name: (\S+), key: (\w+)\}", text))
    assert len(used) == len(set(re.findall(r"secretKeyRef:.*", text)))
    # KubeRay takes the token from this key.
    used.add((one("RayCluster", "deker")["spec"]["authOptions"]["secretName"], "auth_token"))
    assert used == made
    cluster = next(name for name, key in made if key == "uri")
    assert f"@{cluster}:6379/" in readme  # the service has the secret's name
    one("Service", cluster)


def test_services_and_policies_find_their_pods() -> None:
    labels = [
        each["spec"]["template"]["metadata"]["labels"]
        for each in manifests()
        if each["kind"] in {"StatefulSet", "Job"}
    ]
    # KubeRay gives its pods these labels (controllers/ray/common/pod.go, labelPod).
    ray = {"ray.io/cluster": "deker", "ray.io/node-type": "worker"}
    selectors = [each["spec"]["selector"] for each in manifests() if each["kind"] == "Service"]
    for each in manifests():
        if each["kind"] == "NetworkPolicy":
            assert each["spec"]["policyTypes"] == ["Ingress"]
            selectors.append(each["spec"]["podSelector"]["matchLabels"])
            for rule in each["spec"]["ingress"]:
                selectors += [peer["podSelector"]["matchLabels"] for peer in rule["from"]]
        elif each["kind"] == "PodDisruptionBudget":
            selectors.append(each["spec"]["selector"]["matchLabels"])
            assert each["spec"]["minAvailable"] == len(groups()) - 1
    assert len(selectors) > 6
    for selector in selectors:
        assert any(selector.items() <= own.items() for own in [*labels, ray]), selector


@pytest.fixture(scope="module")
def rendered() -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl on this machine")
    ran = subprocess.run(
        ["kubectl", "kustomize", DEPLOY], capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return list(yaml.safe_load_all(ran.stdout))


def test_kustomize_renders_all_of_it(rendered: list[dict[str, Any]]) -> None:
    wanted = {(each["kind"], each["metadata"]["name"]) for each in manifests()}
    found = {(each["kind"], each["metadata"]["name"]) for each in rendered}
    assert wanted - found == {("Job", "deker-restore")}
    for each in rendered:
        assert each["kind"] == "Namespace" or each["metadata"]["namespace"] == "deker"
    text = yaml.safe_dump_all(rendered)
    images = set(re.findall(r"(?m)^\s*-?\s*image: (\S+)$", text))
    custom = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())
    (image,) = custom["images"]
    ours = f"{image['newName']}:{image['newTag']}"
    assert ours in images
    # Everything else has a version, too.
    assert all(re.fullmatch(r".+:\d+\.\d+\.\d+-\w+", name) for name in images - {ours})


def test_configurations_are_the_files_and_servers_get_new_ones(
    rendered: list[dict[str, Any]],
) -> None:
    maps = {
        each["metadata"]["name"]: each["data"] for each in rendered if each["kind"] == "ConfigMap"
    }
    for each in (each for each in rendered if each["kind"] == "StatefulSet"):
        pod = each["spec"]["template"]["spec"]
        (name,) = [
            volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume
        ]
        # Named by what is in it: a changed file restarts the server.
        assert re.fullmatch(rf"{each['metadata']['name']}-[a-z0-9]{{10}}", name)
        (container,) = pod["containers"]
        files = [Path(word).name for word in container["command"] if word.startswith("/etc/deker/")]
        assert set(files) == maps[name].keys()
        for file in files:
            assert maps[name][file] == (DEPLOY / "registry" / file).read_text()
