from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientSession

from proxy.admin.health import Health
from proxy.admin.pulse import Pulse
from proxy.admin.server import AdminServer
from proxy.config import ServeSettings, load
from proxy.config.values import Address
from proxy.metrics.registry import make_registry
from tests.support.manifests import (
    RENDERED,
    STAMP,
    Objects,
    containers_of,
    of_kind,
    parse,
    problems,
    proxy_of,
    settings_of,
    sources_digest,
    template_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

OVERLAYS = ("deployment", "sidecar")


PARSED = {overlay: parse((RENDERED / f"{overlay}.yaml").read_text(encoding="utf-8")) for overlay in OVERLAYS}


def objects_of(overlay: str) -> Objects:
    """Return what an overlay makes, less its alerts: a copy that may be changed."""
    return copy.deepcopy(PARSED[overlay])


def the(objects: Objects, kind: str) -> dict[str, object]:
    """Return the specification of the only object of a kind."""
    (item,) = of_kind(objects, kind)
    spec: dict[str, object] = item["spec"]
    return spec


def test_what_is_rendered_is_of_the_sources_as_they_are() -> None:
    """The overlays and the chart have passed `make manifests` since they were changed."""
    assert STAMP.read_text(encoding="ascii").strip() == sources_digest(), "run: make manifests"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_is_wrong_that_schemas_cannot_see(overlay: str) -> None:
    """Names, selectors, ports, rights and times fit each other."""
    assert problems(objects_of(overlay)) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_program_accepts_the_settings(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`serve` would start with the environment that the container is given."""
    for name, value in settings_of(objects_of(overlay)).items():
        monkeypatch.setenv(name, value)
    settings = load(ServeSettings, {}).settings
    assert settings.admin_listen.host == "0.0.0.0"  # noqa: S104 - where kubelet probes
    assert settings.listen.is_loopback is (overlay == "sidecar")
    assert settings.inbound_auth == ("none" if overlay == "sidecar" else "sigv4")


@pytest.mark.parametrize("overlay", OVERLAYS)
async def test_probes_and_monitors_ask_for_what_the_admin_port_serves(overlay: str) -> None:
    """A path that the program does not know would be answered with 404."""
    objects = objects_of(overlay)
    container = proxy_of(template_of(of_kind(objects, "Deployment")[0])["spec"])
    paths = {container[name]["httpGet"]["path"] for name in container if name.endswith("Probe")}
    for monitor in of_kind(objects, "ServiceMonitor", "PodMonitor"):
        endpoints = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
        paths |= {endpoint["path"] for endpoint in endpoints}
    assert len(paths) == 3
    health = Health(upstream_ready=lambda: True)
    health.listening()
    server = AdminServer(health, Pulse(dict), make_registry(dict), dict)
    await server.start(Address("127.0.0.1", 0))
    try:
        async with ClientSession(f"http://127.0.0.1:{server.port}") as client:
            for path in paths:
                async with client.get(path) as response:
                    assert response.status == 200, path
    finally:
        await server.close()


def test_the_deployment_survives_a_node_and_a_rollout() -> None:
    """Before a pod goes its successor is ready, and evictions take one at a time and never the last."""
    objects = objects_of("deployment")
    strategy = the(objects, "Deployment")["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    budget, autoscaler = the(objects, "PodDisruptionBudget"), the(objects, "HorizontalPodAutoscaler")
    assert budget["maxUnavailable"] == 1
    assert isinstance(autoscaler["minReplicas"], int)
    assert autoscaler["minReplicas"] > 1


def test_the_producer_beside_the_sidecar_is_pointed_at_it() -> None:
    """One variable, as the README says."""
    objects = objects_of("sidecar")
    pod = template_of(of_kind(objects, "Deployment")[0])["spec"]
    (producer,) = pod["containers"]
    listen = ServeSettings.model_fields["listen"].default
    assert {"name": "AWS_ENDPOINT_URL_KINESIS", "value": f"http://{listen}"} in producer["env"]


def _deployment(objects: Objects) -> dict[str, object]:
    (item,) = of_kind(objects, "Deployment")
    return item


def _container(objects: Objects) -> dict[str, object]:
    return proxy_of(template_of(_deployment(objects))["spec"])


def _set_variable(objects: Objects, name: str, value: str) -> None:
    env = _container(objects)["env"]
    assert isinstance(env, list)
    env[:] = [item for item in env if item["name"] != name] + [{"name": name, "value": value}]


# Each changes what `deployment` makes in one way that Kubernetes would accept.
BREACHES: dict[str, Callable[[Objects], object]] = {
    "selects no pod": lambda o: the(o, "Service").update(selector={"app": "other"}),
    "selects every pod": lambda o: the(o, "NetworkPolicy").update(podSelector={}),
    "spreads other pods": lambda o: template_of(_deployment(o))["spec"]["topologySpreadConstraints"][0].update(
        labelSelector={"matchLabels": {"app": "other"}}
    ),
    "scales nothing": lambda o: the(o, "HorizontalPodAutoscaler").update(scaleTargetRef={"name": "other"}),
    "both say how many": lambda o: the(o, "Deployment").update(replicas=3),
    "watches a container": lambda o: the(o, "HorizontalPodAutoscaler").update(
        metrics=[{"containerResource": {"container": "other"}}]
    ),
    "runs as a service account": lambda o: template_of(_deployment(o))["spec"].update(serviceAccountName="other"),
    "selects no Service": lambda o: the(o, "ServiceMonitor").update(selector={"matchLabels": {"app": "other"}}),
    "scrapes no port": lambda o: the(o, "ServiceMonitor").update(endpoints=[{"port": "metrics"}]),
    "has a startupProbe of port": lambda o: _container(o).update(startupProbe={"httpGet": {"port": "health"}}),
    "has the probes": lambda o: _container(o).pop("livenessProbe"),
    "but listens on": lambda o: _set_variable(o, "KINESIS_PROXY_ADMIN_LISTEN", "0.0.0.0:9999"),
    "leads to a port that is not there": lambda o: the(o, "Service").update(
        ports=[{"name": "admin", "port": 9464, "targetPort": "metrics"}]
    ),
    "lets out to": lambda o: the(o, "NetworkPolicy").update(egress=[{"ports": [{"port": 53}]}]),
    "lets in to": lambda o: the(o, "NetworkPolicy").update(ingress=[{"ports": [{"port": 4567}]}]),
    "KINESIS_PROXY_LINGER is no setting": lambda o: _set_variable(o, "KINESIS_PROXY_LINGER", "2"),
    "s to stop, and may need": lambda o: _set_variable(o, "KINESIS_PROXY_DRAIN_TIMEOUT_MS", "24000"),
    "mounts a token": lambda o: template_of(_deployment(o))["spec"].pop("automountServiceAccountToken"),
    "has hostNetwork": lambda o: template_of(_deployment(o))["spec"].update(hostNetwork=True),
    "readOnlyRootFilesystem is not True": lambda o: _container(o).update(securityContext={"runAsUser": 65532}),
    "as another user than the image's": lambda o: _container(o).update(securityContext={"runAsUser": 1000}),
    "has a volume that is not allowed": lambda o: template_of(_deployment(o))["spec"].update(
        volumes=[{"name": "kinesis-proxy-keys", "hostPath": {"path": "/etc"}}]
    ),
    "does not say what it needs": lambda o: _container(o).update(resources={"limits": {"memory": "1Gi"}}),
    "has no memory limit": lambda o: _container(o).update(resources={"requests": {"cpu": 1, "memory": "1Gi"}}),
    "by a cpu limit": lambda o: _container(o).update(resources={"limits": {"cpu": 1, "memory": "1Gi"}}),
    "mounts [": lambda o: template_of(_deployment(o))["spec"].update(volumes=[]),
    "which is in no volume": lambda o: _set_variable(o, "KINESIS_PROXY_INBOUND_KEYS_FILE", "/etc/keys.toml"),
}


@pytest.mark.parametrize("words", BREACHES)
def test_a_breach_of_the_rules_is_noticed(words: str) -> None:
    """A rule that could not fail would prove nothing."""
    objects = objects_of("deployment")
    BREACHES[words](objects)
    assert any(words in line for line in problems(objects)), problems(objects)


def test_a_sidecar_that_ends_or_is_stopped_too_early_is_noticed() -> None:
    """It stays for as long as the producer, and is told to stop only by SIGTERM."""
    objects = objects_of("sidecar")
    container = containers_of(template_of(_deployment(objects))["spec"])[0]
    container.pop("restartPolicy")
    container["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", "5"]}}}
    told = " ".join(problems(objects))
    assert "waits for its sidecar" in told
    assert "a sidecar with a preStop" in told
