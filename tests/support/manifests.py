"""What Kubernetes' schemas cannot see wrong in the objects of one rendered overlay or chart.

Each rule takes all the objects and yields a line for each breach: names that lead nowhere, selectors that miss, probes
of ports that nobody opens, a grace period that cuts the drain short, rights that the pod does not need.

Must never know: who rendered them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from proxy.commands.serve import ANSWER_SECONDS
from proxy.config import ServeSettings
from proxy.config.describe import environment_name

DEPLOY = Path(__file__).parents[2] / "deploy"
RENDERED = DEPLOY / "rendered"
STAMP = RENDERED / "sources.sha256"
PROXY = "kinesis-proxy"
PREFIX = "KINESIS_PROXY_"
USER = 65_532
HTTPS = 443
PORTS_OF_SCHEMES = {"http": 80, "https": HTTPS}

Object = dict[str, Any]
Objects = list[Object]
Rule = Callable[[Objects], Iterator[str]]

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
# Volumes that the Pod Security Standard "restricted" allows and that are in use here.
RESTRICTED_VOLUMES = frozenset({"emptyDir", "secret", "configMap", "projected"})
# Written by make tables, and held to that by a test of their own; prose is no source of an object.
NO_SOURCES = frozenset({"README.md", "keys.example.toml", "prometheus-rule.yaml", "rules.yaml", "values.schema.json"})


def parse(text: str) -> Objects:
    """Return the objects of a YAML stream, without empty documents."""
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(objects: Objects, *kinds: str) -> Objects:
    """Return the objects of some kinds."""
    return [item for item in objects if item["kind"] in kinds]


def name_of(item: Object) -> str:
    """Return kind and name, as kubectl writes them."""
    return f"{item['kind']}/{item['metadata']['name']}"


def template_of(deployment: Object) -> Object:
    """Return the pod that a Deployment makes."""
    template: Object = deployment["spec"]["template"]
    return template


def containers_of(pod: Object) -> Objects:
    """Return all containers of a pod's specification, sidecars first."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def proxy_of(pod: Object) -> Object:
    """Return the proxy's container.

    Raises:
        ValueError: there is not exactly one.
    """
    (container,) = (item for item in containers_of(pod) if item["name"] == PROXY)
    return container


def environment_of(container: Object) -> dict[str, str]:
    """Return the variables that a container is given by value."""
    return {item["name"]: item["value"] for item in container.get("env", []) if "value" in item}


def settings_of(objects: Objects) -> dict[str, str]:
    """Return the proxy's settings among the variables of the Deployment."""
    (deployment,) = of_kind(objects, "Deployment")
    environment = environment_of(proxy_of(template_of(deployment)["spec"]))
    return {name: value for name, value in environment.items() if name.startswith(PREFIX)}


def sources_digest() -> str:
    """Return the digest of everything that objects are rendered from."""
    digest = hashlib.sha256()
    files = [path for folder in ("helm", "kustomize") for path in (DEPLOY / folder).rglob("*") if path.is_file()]
    for path in sorted(files):
        if path.name not in NO_SOURCES:
            digest.update(path.relative_to(DEPLOY).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def problems(objects: Objects) -> list[str]:
    """Return a line for each breach of any rule."""
    return [f"{rule.__name__}: {line}" for rule in RULES for line in rule(objects)]


def selectors_hit_the_pods(objects: Objects) -> Iterator[str]:
    """Every selector selects the pods of a Deployment here, and a Deployment's own selects its own."""
    pods = [template_of(item)["metadata"].get("labels", {}) for item in of_kind(objects, "Deployment")]
    for item in objects:
        selector = _pod_selector_of(item)
        if selector is None:
            continue
        if not selector:
            yield f"{name_of(item)} selects every pod of the namespace"
        elif not any(selector.items() <= labels.items() for labels in pods):
            yield f"{name_of(item)} selects no pod: {selector}"
    for item in of_kind(objects, "Deployment"):
        for spread in template_of(item)["spec"].get("topologySpreadConstraints", []):
            if not spread["labelSelector"]["matchLabels"].items() <= template_of(item)["metadata"]["labels"].items():
                yield f"{name_of(item)} spreads other pods than its own by {spread['topologyKey']}"


def _pod_selector_of(item: Object) -> Any:  # noqa: ANN401 - a part of a parsed document
    """Return the labels of the pods that an object is about; None where it is about none."""
    match item["kind"]:
        case "Deployment" | "PodDisruptionBudget" | "PodMonitor":
            return item["spec"]["selector"].get("matchLabels", {})
        case "Service":
            return item["spec"]["selector"]
        case "NetworkPolicy":
            return item["spec"]["podSelector"].get("matchLabels", {})
    return None


def autoscalers_have_their_target(objects: Objects) -> Iterator[str]:
    """An autoscaler scales a Deployment that is there, by a container that it has, and alone says how many pods."""
    deployments = {item["metadata"]["name"]: item for item in of_kind(objects, "Deployment")}
    for item in of_kind(objects, "HorizontalPodAutoscaler"):
        target = deployments.get(item["spec"]["scaleTargetRef"]["name"])
        if target is None:
            yield f"{name_of(item)} scales nothing"
            continue
        if "replicas" in target["spec"]:
            yield f"{name_of(item)} and {name_of(target)} both say how many pods there are"
        containers = {container["name"] for container in template_of(target)["spec"]["containers"]}
        for metric in item["spec"]["metrics"]:
            if metric["containerResource"]["container"] not in containers:
                yield f"{name_of(item)} watches a container that is not there"


def service_monitors_have_their_service(objects: Objects) -> Iterator[str]:
    """A ServiceMonitor selects a Service by its labels, and a port of it by its name."""
    for item in of_kind(objects, "ServiceMonitor"):
        wanted = item["spec"]["selector"]["matchLabels"].items()
        services = [s for s in of_kind(objects, "Service") if wanted <= s["metadata"].get("labels", {}).items()]
        if not services:
            yield f"{name_of(item)} selects no Service"
        ports = {port["name"] for service in services for port in service["spec"]["ports"]}
        for endpoint in item["spec"]["endpoints"]:
            if endpoint["port"] not in ports:
                yield f"{name_of(item)} scrapes no port of its Services: {endpoint['port']}"


def service_accounts_exist(objects: Objects) -> Iterator[str]:
    """Pods run as a service account that comes with them."""
    names = {name_of(item) for item in objects}
    for item in of_kind(objects, "Deployment"):
        account = template_of(item)["spec"].get("serviceAccountName", "default")
        if f"ServiceAccount/{account}" not in names:
            yield f"{name_of(item)} runs as a service account that is not there: {account}"


def containers_open_what_they_listen_on(objects: Objects) -> Iterator[str]:
    """The named ports are those on which the settings have the proxy listen, and probes ask one of them."""
    for item in of_kind(objects, "Deployment"):
        container = proxy_of(template_of(item)["spec"])
        environment = environment_of(container)
        listening = {
            "admin": environment.get(f"{PREFIX}ADMIN_LISTEN", str(_default("admin_listen"))),
            "kinesis": environment.get(f"{PREFIX}LISTEN", str(_default("listen"))),
        }
        for port in container["ports"]:
            if listening.get(port["name"]) != f"0.0.0.0:{port['containerPort']}":
                yield f"{name_of(item)} opens port {port}, but listens on {listening.get(port['name'])}"
        for probe in (name for name in container if name.endswith("Probe")):
            port = container[probe]["httpGet"]["port"]
            if port != "admin":
                yield f"{name_of(item)} has a {probe} of port {port}"


def probes_are_those_of_the_mode(objects: Objects) -> Iterator[str]:
    """The proxy is asked whether it started and lives; for its readiness only where calls could go elsewhere."""
    for item in of_kind(objects, "Deployment"):
        pod = template_of(item)["spec"]
        container = proxy_of(pod)
        wanted = {"startupProbe", "livenessProbe"} | ({"readinessProbe"} if container in pod["containers"] else set())
        probes = {name for name in container if name.endswith("Probe")}
        if probes != wanted:
            yield f"{name_of(item)} has the probes {sorted(probes)} instead of {sorted(wanted)}"


def ports_lead_to_the_container(objects: Objects) -> Iterator[str]:
    """Services, pod monitors and network policies lead to ports that the proxy's container opens."""
    opened: dict[str, int] = {}
    for item in of_kind(objects, "Deployment"):
        opened |= {port["name"]: port["containerPort"] for port in proxy_of(template_of(item)["spec"])["ports"]}
    for service in of_kind(objects, "Service"):
        for port in service["spec"]["ports"]:
            if opened.get(port["targetPort"]) != port["port"]:
                yield f"{name_of(service)} leads to a port that is not there: {port['targetPort']}"
    for monitor in of_kind(objects, "PodMonitor"):
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            if endpoint["port"] not in opened:
                yield f"{name_of(monitor)} scrapes a port that is not there: {endpoint['port']}"
    for policy in of_kind(objects, "NetworkPolicy"):
        let_in = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        if let_in != set(opened.values()):
            yield f"{name_of(policy)} lets in to {sorted(let_in)}, the pod opens {sorted(opened.values())}"


def upstreams_are_let_out_to(objects: Objects) -> Iterator[str]:
    """A network policy lets the proxy reach its upstream: AWS on 443, another on the port of its URL."""
    upstream = urlsplit(settings_of(objects).get(f"{PREFIX}UPSTREAM", ""))
    wanted = (upstream.port or PORTS_OF_SCHEMES[upstream.scheme]) if upstream.hostname else HTTPS
    for policy in of_kind(objects, "NetworkPolicy"):
        let_out = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
        if wanted not in let_out:
            yield f"{name_of(policy)} lets out to {sorted(let_out)}, and the upstream is on {wanted}"


def variables_are_settings(objects: Objects) -> Iterator[str]:
    """Every KINESIS_PROXY_... variable is a setting that `serve` reads."""
    known = {environment_name(name) for name in ServeSettings.model_fields}
    for name in sorted(settings_of(objects).keys() - known):
        yield f"{name} is no setting"


def drains_fit_the_grace_period(objects: Objects) -> Iterator[str]:
    """The pod may take longer to stop than the pause before SIGTERM, the drain and the last answers together."""
    for item in of_kind(objects, "Deployment"):
        pod = template_of(item)["spec"]
        container = proxy_of(pod)
        drain_ms = float(environment_of(container).get(f"{PREFIX}DRAIN_TIMEOUT_MS", _default("drain_timeout_ms")))
        needed = _pause_seconds_of(container) + drain_ms / 1000 + ANSWER_SECONDS
        if pod["terminationGracePeriodSeconds"] <= needed:
            yield f"{name_of(item)} is given {pod['terminationGracePeriodSeconds']} s to stop, and may need {needed}"


def _pause_seconds_of(container: Object) -> float:
    if "lifecycle" not in container:
        return 0.0
    program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    return float(seconds) if program == "sleep" else float("inf")


def sidecars_outlive_their_producer(objects: Objects) -> Iterator[str]:
    """A sidecar stays for as long as the producer, and nothing but SIGTERM, which comes after it, stops it."""
    for item in of_kind(objects, "Deployment"):
        for container in template_of(item)["spec"].get("initContainers", []):
            if container.get("restartPolicy") != "Always":
                yield f"{name_of(item)} waits for its sidecar to end before it starts"
            if "lifecycle" in container:
                yield f"{name_of(item)} has a sidecar with a preStop, which runs while the producer still needs it"


def pods_are_restricted(objects: Objects) -> Iterator[str]:
    """Pods meet the Pod Security Standard "restricted" and have no token of the Kubernetes API."""
    for item in of_kind(objects, "Deployment"):
        pod = template_of(item)["spec"]
        for name in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
            if pod.get(name):
                yield f"{name_of(item)} has {name}"
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{name_of(item)} mounts a token of the Kubernetes API"
        for volume in pod.get("volumes", []):
            if volume.keys() - {"name"} - RESTRICTED_VOLUMES:
                yield f"{name_of(item)} has a volume that is not allowed: {volume['name']}"


def containers_are_restricted(objects: Objects) -> Iterator[str]:
    """Containers meet that standard too, write nowhere but into volumes, and the proxy's user is the image's."""
    for item in of_kind(objects, "Deployment"):
        pod = template_of(item)["spec"]
        for container in containers_of(pod):
            own = container.get("securityContext", {})
            # What a container does not say of itself, the pod says for it; the first three only it can say.
            effective = {**pod.get("securityContext", {}), **own}
            for key, value in RESTRICTED.items():
                if effective.get(key) != value:
                    yield f"{name_of(item)}, container {container['name']}: {key} is not {value}"
            if effective.get("runAsUser") == 0 or own.get("privileged"):
                yield f"{name_of(item)}, container {container['name']} is root or privileged"
            if any("hostPort" in port for port in container.get("ports", [])):
                yield f"{name_of(item)}, container {container['name']} has a port of the host"
        if proxy_of(pod).get("securityContext", {}).get("runAsUser") != USER:
            yield f"{name_of(item)} runs the proxy as another user than the image's {USER}"


def resources_are_bounded(objects: Objects) -> Iterator[str]:
    """Containers ask for cpu and memory, have a memory limit, and the proxy has no cpu limit."""
    for item in of_kind(objects, "Deployment"):
        for container in containers_of(template_of(item)["spec"]):
            resources = container.get("resources", {})
            if not {"cpu", "memory"} <= resources.get("requests", {}).keys():
                yield f"{name_of(item)}, container {container['name']} does not say what it needs"
            if "memory" not in resources.get("limits", {}):
                yield f"{name_of(item)}, container {container['name']} has no memory limit"
            if container["name"] == PROXY and "cpu" in resources.get("limits", {}):
                yield f"{name_of(item)} throttles the proxy's event loop by a cpu limit"


def files_are_mounted(objects: Objects) -> Iterator[str]:
    """Every mount has its volume, every volume is mounted, and files named in settings are below a mount."""
    for item in of_kind(objects, "Deployment"):
        pod = template_of(item)["spec"]
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        mounts = [mount for container in containers_of(pod) for mount in container.get("volumeMounts", [])]
        mounted = {mount["name"] for mount in mounts}
        if mounted != volumes:
            yield f"{name_of(item)} mounts {sorted(mounted)} and has {sorted(volumes)}"
        container = proxy_of(pod)
        paths = [Path(mount["mountPath"]) for mount in container.get("volumeMounts", [])]
        for name, value in environment_of(container).items():
            if name.startswith(PREFIX) and name.endswith("_FILE"):
                file = Path(value)
                if not any(path == file or path in file.parents for path in paths):
                    yield f"{name_of(item)}: {name} names {value}, which is in no volume"


def _default(name: str) -> Any:  # noqa: ANN401 - a setting's default has the setting's type
    return ServeSettings.model_fields[name].default


RULES: tuple[Rule, ...] = (
    selectors_hit_the_pods,
    autoscalers_have_their_target,
    service_monitors_have_their_service,
    service_accounts_exist,
    containers_open_what_they_listen_on,
    probes_are_those_of_the_mode,
    ports_lead_to_the_container,
    upstreams_are_let_out_to,
    variables_are_settings,
    drains_fit_the_grace_period,
    sidecars_outlive_their_producer,
    pods_are_restricted,
    containers_are_restricted,
    resources_are_bounded,
    files_are_mounted,
)
