"""The manifests as kubectl renders them: valid by schema, and true to each other and to the services' configuration."""

import copy
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from llm_repair.coordinator.settings import read_settings as read_coordinator
from llm_repair.evaluation.settings import read_settings as read_evaluation
from llm_repair.rpc.configuration import Configuration
from llm_repair.selection.settings import read_settings as read_selection
from llm_repair.trainer.settings import read_settings as read_trainer

Manifest = dict[str, Any]

DEPLOY = Path(__file__).parents[3] / "deploy"
SERVICES = {
    "coordinator": read_coordinator,
    "selection": read_selection,
    "trainer": read_trainer,
    "evaluation": read_evaluation,
}
FOLDERS = ["base", *(f"overlays/{folder.name}" for folder in sorted((DEPLOY / "overlays").iterdir()))]
MADE_BY_HAND = {"llm-repair-token": {"token"}}  # a Secret that must not be in the repository


def render(folder: str) -> list[Manifest]:
    beside_python = Path(sys.executable).with_name("kubectl")
    kubectl = str(beside_python) if beside_python.exists() else shutil.which("kubectl")
    assert kubectl, "kubectl is needed: it is in the `dev` extra"
    done = subprocess.run([kubectl, "kustomize", str(DEPLOY / folder)], capture_output=True, text=True, check=True)
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


@pytest.fixture(scope="module", params=FOLDERS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return render(request.param)


def schema_faults(manifests: list[Manifest]) -> Iterator[str]:
    for manifest in manifests:
        try:
            kubernetes_validate.validate(manifest, "1.32", strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as fault:
            yield f"{manifest.get('kind')}: {type(fault).__name__}"


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {manifest["metadata"]["name"]: manifest for manifest in manifests if manifest["kind"] == kind}


def reference_faults(manifests: list[Manifest]) -> Iterator[str]:
    """Yields every name that points nowhere."""
    for name, service in of_kind(manifests, "Service").items():
        selector = service["spec"]["selector"].items()
        targets = [
            deployment["spec"]["template"]
            for deployment in of_kind(manifests, "Deployment").values()
            if selector <= deployment["spec"]["template"]["metadata"]["labels"].items()
        ]
        if len(targets) != 1:
            yield f"service {name} selects {len(targets)} deployments"
            continue
        names = {port["name"] for port in targets[0]["spec"]["containers"][0]["ports"]}
        yield from (
            f"service {name}: no port {p['targetPort']}"
            for p in service["spec"]["ports"]
            if p["targetPort"] not in names
        )
    for name, deployment in of_kind(manifests, "Deployment").items():
        yield from (f"deployment {name}: {fault}" for fault in deployment_faults(deployment, manifests))


def deployment_faults(deployment: Manifest, manifests: list[Manifest]) -> Iterator[str]:
    template = deployment["spec"]["template"]
    pod, container = template["spec"], template["spec"]["containers"][0]
    if not deployment["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items():
        yield "its selector does not select its own pods"
    if pod["serviceAccountName"] not in of_kind(manifests, "ServiceAccount"):
        yield "no such service account"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    yield from (f"no volume {m['name']}" for m in container["volumeMounts"] if m["name"] not in volumes)
    for volume in volumes.values():
        yield from volume_faults(volume, manifests)
    quantity = re.compile(r"[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi|Ti)?")
    for amounts in container["resources"].values():
        yield from (f"{amount} is no quantity" for amount in amounts.values() if not quantity.fullmatch(str(amount)))


def volume_faults(volume: Manifest, manifests: list[Manifest]) -> Iterator[str]:
    if claim := volume.get("persistentVolumeClaim"):
        if claim["claimName"] not in of_kind(manifests, "PersistentVolumeClaim"):
            yield f"no claim {claim['claimName']}"
    elif config := volume.get("configMap"):
        found = of_kind(manifests, "ConfigMap").get(config["name"], {"data": {}})["data"]
        yield from (f"no key {i['key']} in {config['name']}" for i in config["items"] if i["key"] not in found)
    elif secret := volume.get("secret"):
        found = MADE_BY_HAND.get(secret["secretName"], set())
        yield from (f"no key {i['key']} in {secret['secretName']}" for i in secret["items"] if i["key"] not in found)


def hardening_faults(manifests: list[Manifest]) -> Iterator[str]:
    """Yields what a pod may do and should not."""
    for name, deployment in of_kind(manifests, "Deployment").items():
        pod = deployment["spec"]["template"]["spec"]
        container = pod["containers"][0]
        inside, around = container["securityContext"], pod["securityContext"]
        wanted = {
            "runs as root": around["runAsNonRoot"] is True and around["runAsUser"] > 0,
            "has no seccomp profile": around["seccompProfile"] == {"type": "RuntimeDefault"},
            "gains privileges": inside["allowPrivilegeEscalation"] is False,
            "writes to its image": inside["readOnlyRootFilesystem"] is True,
            "keeps capabilities": inside["capabilities"] == {"drop": ["ALL"]},
            "may call the Kubernetes API": pod["automountServiceAccountToken"] is False,
            "has no limits": {"cpu", "memory"} <= container["resources"].get("limits", {}).keys(),
            "has no /tmp": "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]},
        }
        yield from (f"{name} {fault}" for fault, holds in wanted.items() if not holds)


def test_every_manifest_is_valid_by_schema(manifests: list[Manifest]) -> None:
    assert list(schema_faults(manifests)) == []


def test_every_name_points_to_something(manifests: list[Manifest]) -> None:
    assert list(reference_faults(manifests)) == []


def test_pods_may_do_no_more_than_they_need(manifests: list[Manifest]) -> None:
    assert list(hardening_faults(manifests)) == []


def test_there_is_one_deployment_and_one_service_for_each_service(manifests: list[Manifest]) -> None:
    assert sorted(of_kind(manifests, "Deployment")) == sorted(of_kind(manifests, "Service")) == sorted(SERVICES)


def test_no_secret_is_rendered(manifests: list[Manifest]) -> None:
    assert of_kind(manifests, "Secret") == {}


def config_of(manifests: list[Manifest]) -> str:
    (config,) = of_kind(manifests, "ConfigMap").values()
    return config["data"]["config.toml"]


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_accepts_the_mounted_configuration(
    manifests: list[Manifest], service: str, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("t" * 64)
    file = tmp_path / "config.toml"
    file.write_text(config_of(manifests).replace("/var/run/secrets/llm-repair/token", str(token)))

    settings = SERVICES[service](Configuration.read(file))

    assert getattr(settings, "service", settings).token == "t" * 64


@pytest.mark.parametrize("service", SERVICES)
def test_ports_probes_and_grace_are_those_of_the_configuration(manifests: list[Manifest], service: str) -> None:
    section = tomllib.loads(config_of(manifests))[service]
    listens = {"grpc": "listen", "health": "health_listen", "metrics": "metrics_listen"}
    expected = {port: int(section[key].rpartition(":")[2]) for port, key in listens.items()}

    pod = of_kind(manifests, "Deployment")[service]["spec"]["template"]["spec"]
    container = pod["containers"][0]

    assert {port["name"]: port["containerPort"] for port in container["ports"]} == expected
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["grpc"]["port"] == expected["health"]
    assert container["command"] == ["python", "-m", f"llm_repair.{service}"]
    assert pod["terminationGracePeriodSeconds"] > section["drain_s"]
    ports = {port["name"]: port["port"] for port in of_kind(manifests, "Service")[service]["spec"]["ports"]}
    assert ports == {"grpc": expected["grpc"], "metrics": expected["metrics"]}
    if service != "coordinator":
        assert section["address"] == f"{service}:{ports['grpc']}"


def test_readiness_asks_for_a_service_of_the_contract(manifests: list[Manifest]) -> None:
    protos = "".join(file.read_text() for file in (DEPLOY.parent / "protos/llm_repair/v1").glob("*.proto"))
    known = {f"llm_repair.v1.{name}" for name in re.findall(r"^service (\w+) ", protos, re.MULTILINE)}

    for deployment in of_kind(manifests, "Deployment").values():
        probe = deployment["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
        assert probe["grpc"]["service"] in known


def test_every_path_of_the_configuration_lies_on_a_volume(manifests: list[Manifest]) -> None:
    paths = set(re.findall(r'"(?:file://)?(/[^"]+)"', config_of(manifests)))

    mounts = {
        mount["mountPath"]
        for deployment in of_kind(manifests, "Deployment").values()
        for mount in deployment["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    }

    assert len(paths) >= 4
    assert [path for path in paths if not any(f"{path}/".startswith(f"{mount}/") for mount in mounts)] == []


def pod_of(manifests: list[Manifest], name: str) -> Manifest:
    return of_kind(manifests, "Deployment")[name]["spec"]["template"]["spec"]


def _unknown_kind(m: list[Manifest]) -> None:
    m.append({"apiVersion": "example.com/v1", "kind": "Trainer", "metadata": {"name": "x"}})


def _unknown_field(m: list[Manifest]) -> None:
    pod_of(m, "trainer")["containers"][0]["livenesProbe"] = {}


def _wrong_type(m: list[Manifest]) -> None:
    of_kind(m, "Deployment")["trainer"]["spec"]["replicas"] = "two"


def _other_label(m: list[Manifest]) -> None:
    of_kind(m, "Deployment")["trainer"]["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] = "x"


def _port_name(m: list[Manifest]) -> None:
    of_kind(m, "Service")["trainer"]["spec"]["ports"][0]["targetPort"] = "grcp"


def _config_key(m: list[Manifest]) -> None:
    for volume in pod_of(m, "trainer")["volumes"]:
        volume.get("configMap", {"items": [{}]})["items"][0]["key"] = "config.yaml"


def _secret_key(m: list[Manifest]) -> None:
    for volume in pod_of(m, "trainer")["volumes"]:
        volume.get("secret", {"items": [{}]})["items"][0]["key"] = "password"


def _claim(m: list[Manifest]) -> None:
    m.remove(of_kind(m, "PersistentVolumeClaim")["llm-repair-jobs"])


def _volume(m: list[Manifest]) -> None:
    pod_of(m, "trainer")["volumes"].pop()


def _account(m: list[Manifest]) -> None:
    pod_of(m, "trainer")["serviceAccountName"] = "trainers"


def _quantity(m: list[Manifest]) -> None:
    pod_of(m, "trainer")["containers"][0]["resources"]["limits"]["memory"] = "256Mx"


def _root(m: list[Manifest]) -> None:
    pod_of(m, "trainer")["securityContext"]["runAsUser"] = 0


def _writable(m: list[Manifest]) -> None:
    pod_of(m, "trainer")["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = False


def _unlimited(m: list[Manifest]) -> None:
    del pod_of(m, "trainer")["containers"][0]["resources"]["limits"]


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        *((spoil, schema_faults) for spoil in (_unknown_kind, _unknown_field, _wrong_type)),
        *((spoil, reference_faults) for spoil in (_other_label, _port_name, _config_key, _secret_key)),
        *((spoil, reference_faults) for spoil in (_claim, _volume, _account, _quantity)),
        *((spoil, hardening_faults) for spoil in (_root, _writable, _unlimited)),
    ],
    ids=lambda function: function.__name__.strip("_"),
)
def test_the_checks_bite(
    spoil: Callable[[list[Manifest]], None], check: Callable[[list[Manifest]], Iterator[str]]
) -> None:
    spoiled = copy.deepcopy(render("base"))
    assert list(check(spoiled)) == []

    spoil(spoiled)

    assert list(check(spoiled)) != []


def test_the_image_is_built_without_root_cache_or_secrets() -> None:
    lines = (DEPLOY / "images" / "Dockerfile").read_text()

    arguments = re.findall(r"^ARG (\w+)", lines, re.MULTILINE)
    final = lines[lines.rindex("\nFROM ") :]
    assert {"BASE", "SERVICE", "EXTRAS"} <= set(arguments)
    assert re.search(r"^USER 10001:10001$", final, re.MULTILINE)
    assert "PIP_NO_CACHE_DIR=1" in lines
    assert "requirements/cpu.lock" in lines
    for source in re.findall(r"^COPY (?!--from)(\S+) ", lines, re.MULTILINE):
        assert source == "${LOCK}" or (DEPLOY.parent / source).exists()
        assert source != "."
