"""The manifests against the published schemas of Kubernetes, and against the service that they run."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from app.settings import Settings
from tests.app.conftest import serving
from tests.conftest import ROOT
from tests.deployment.test_compose import COMPOSE

FOLDER = ROOT / "deploy" / "kubernetes"
# The oldest version that the manifests support, and the newest with a schema here.
VERSIONS = ("1.29", kubernetes_validate.latest_version())
# KEDA publishes its schema only with its operator; these are the parts used here.
SCALED_OBJECT: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "keda.sh/v1alpha1"},
        "kind": {"const": "ScaledObject"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["scaleTargetRef", "triggers"],
            "properties": {
                "scaleTargetRef": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}},
                },
                "minReplicaCount": {"type": "integer", "minimum": 0},
                "maxReplicaCount": {"type": "integer", "minimum": 1},
                "pollingInterval": {"type": "integer", "minimum": 1},
                "cooldownPeriod": {"type": "integer", "minimum": 0},
                "triggers": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["type", "metadata"],
                        "properties": {
                            "type": {"const": "prometheus"},
                            "metadata": {
                                "type": "object",
                                "additionalProperties": False,
                                "required": ["serverAddress", "query", "threshold"],
                                # Numbers are strings too.
                                "properties": {
                                    "serverAddress": {"type": "string", "format": "uri"},
                                    "query": {"type": "string"},
                                    "threshold": {"type": "string", "pattern": "^[0-9]+$"},
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}


def read(file: Path) -> list[dict[str, Any]]:
    """Return the documents in a file."""
    return [document for document in yaml.safe_load_all(file.read_text()) if document is not None]


KUSTOMIZATION = read(FOLDER / "kustomization.yaml")[0]
MANIFESTS = [document for name in KUSTOMIZATION["resources"] for document in read(FOLDER / name)]
SCALED_OBJECTS = read(FOLDER / "keda" / "scaled-objects.yaml")
PODS = {
    document["metadata"]["name"]: document["spec"]["template"]["spec"]
    for document in MANIFESTS
    if document["kind"] in {"Deployment", "Job"}
}
# By the compose file's name for the same part.
PARTS = {"nern-migrate": "migrate", "nern-api": "api", "nern-worker-cpu": "worker", "nern-worker-gpu": "worker-gpu"}


def id_of(document: dict[str, Any]) -> str:
    return f"{document['kind']}-{document['metadata']['name']}"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", MANIFESTS, ids=id_of)
def test_a_manifest_fits_the_schema_and_has_nothing_else(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_the_schema_refuses_what_is_misspelt() -> None:
    wrong = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "dat": {}}
    with pytest.raises(kubernetes_validate.ValidationError, match="dat"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("scaled", SCALED_OBJECTS, ids=id_of)
def test_a_scaled_object_has_what_keda_takes_and_nothing_else(scaled: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(SCALED_OBJECT).validate(scaled)
    assert scaled["spec"]["scaleTargetRef"]["name"] in PODS


def test_workers_scale_by_a_metric_that_the_service_has(embedded: Settings) -> None:
    with serving(embedded) as client:
        text = client.get("/metrics").text
    for scaled in SCALED_OBJECTS:
        query = scaled["spec"]["triggers"][0]["metadata"]["query"]
        (name, device) = re.findall(r'(nern_\w+)\{device="(\w+)"\}', query)[0]
        assert re.search(rf'^{name}\{{device="{device}",status="queued"\}} ', text, re.MULTILINE)


def test_every_file_belongs_to_the_base_or_to_a_component() -> None:
    assert {file.name for file in FOLDER.glob("*.yaml")} == {"kustomization.yaml", *KUSTOMIZATION["resources"]}
    (component,) = read(FOLDER / "keda" / "kustomization.yaml")
    assert {file.name for file in (FOLDER / "keda").glob("*.yaml")} == {"kustomization.yaml", *component["resources"]}


def test_pods_run_the_commands_of_the_compose_file() -> None:
    assert PODS.keys() == PARTS.keys()
    for name, part in PARTS.items():
        (container,) = PODS[name]["containers"]
        assert container["command"] == COMPOSE["services"][part]["command"]


@pytest.mark.parametrize("name", PARTS)
def test_pods_have_no_privileges(name: str) -> None:
    pod = PODS[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_pods_run_as_the_user_of_the_image() -> None:
    user = re.search(r"useradd --create-home --uid (\d+) nern", (ROOT / "Dockerfile").read_text())
    assert user is not None
    assert {pod["securityContext"]["runAsUser"] for pod in PODS.values()} == {int(user[1])}


@pytest.mark.parametrize("name", PARTS)
def test_pods_can_write_where_the_service_does(name: str) -> None:
    (container,) = PODS[name]["containers"]
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    expected = {
        "nern-migrate": {"/tmp"},
        "nern-api": {"/tmp", "/var/lib/nern/artifacts"},
    }
    everything = {"/tmp", "/home/nern", "/var/lib/nern/artifacts", "/var/lib/nern/scratch"}
    assert writable == expected.get(name, everything)
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in PODS[name]["volumes"]
    }


@pytest.mark.parametrize("name", PARTS)
def test_every_container_asks_for_memory_and_has_a_limit(name: str) -> None:
    resources = PODS[name]["containers"][0]["resources"]
    assert {"cpu", "memory"} <= resources["requests"].keys()
    assert "memory" in resources["limits"]


def test_a_gpu_worker_has_a_gpu() -> None:
    assert PODS["nern-worker-gpu"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_settings_are_those_of_the_service_and_hold_no_secret() -> None:
    (settings,) = [document for document in MANIFESTS if document["kind"] == "ConfigMap"]
    names = {name.removeprefix("NERN_").lower() for name in settings["data"]}
    assert names <= Settings.model_fields.keys()
    assert names & {"database_url", "broker_url", "metrics_token"} == set()
    assert not any(document["kind"] == "Secret" for document in MANIFESTS)


def test_probes_ask_for_addresses_that_there_are(embedded: Settings) -> None:
    container = PODS["nern-api"]["containers"][0]
    with serving(embedded) as client:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert client.get(container[probe]["httpGet"]["path"]).status_code == 200


def test_claims_volumes_and_selectors_lead_to_something() -> None:
    claims = {document["metadata"]["name"] for document in MANIFESTS if document["kind"] == "PersistentVolumeClaim"}
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in PODS.values()
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert used == claims
    labels = [
        document["spec"]["template"]["metadata"]["labels"] for document in MANIFESTS if document["kind"] == "Deployment"
    ]
    (service,) = [document for document in MANIFESTS if document["kind"] == "Service"]
    assert service["spec"]["selector"] in labels
    (budget,) = [document for document in MANIFESTS if document["kind"] == "PodDisruptionBudget"]
    assert budget["spec"]["selector"]["matchLabels"] in labels
