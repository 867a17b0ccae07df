"""`make manifests`: what kubectl and helm make of deploy/, held against schemas, linters and what those cannot see."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from proxy.config import ServeSettings, load
from tests.deploy.render import BUILD, CHART, HERE, RenderError, helm, kustomize, run
from tests.support.manifests import (
    DEPLOY,
    Object,
    Objects,
    containers_of,
    of_kind,
    parse,
    problems,
    proxy_of,
    settings_of,
    template_of,
)

if TYPE_CHECKING:
    from pathlib import Path

VALUES = HERE / "values"
OLDEST, NEWEST = "1.29.0", "1.37.0"
# Overlay and components, by the values of which the chart makes the same.
PAIRS = {
    "deployment": ("deployment",),
    "sidecar": ("sidecar",),
    "tls": ("deployment", "tls"),
    "same-zone": ("deployment", "same-zone"),
    "embedded": ("deployment", "embedded"),
}
KUSTOMIZED = {"-".join(parts): parts for parts in PAIRS.values()}
VALUE_SETS = sorted(path.stem for path in VALUES.glob("*.yaml"))
OUTPUTS = [f"kustomize {name}" for name in KUSTOMIZED] + [f"helm {name}" for name in VALUE_SETS]
# What these use exists from this version of Kubernetes.
SINCE = {"kustomize deployment-same-zone": "1.31.0", "helm same-zone": "1.31.0"}
# Schemas of Kubernetes know nothing of the Prometheus Operator's objects.
OPERATORS = ("ServiceMonitor", "PodMonitor", "PrometheusRule")
# What Helm says of itself.
HELMS_OWN = ("helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/version")
# Whose labels select nothing and are selected by nothing but what `labels` of the chart is for.
FREELY_LABELLED = ("PrometheusRule", "PodMonitor")

REFUSED = {
    "an unknown value": ("deployment.replica=2", "replica"),
    "an unknown setting": ("settings.linger=2", "linger"),
    "a setting out of bounds": ("settings.linger_ms=100000", "linger_ms"),
    "a setting of the wrong type": ("settings.linger_ms=soon", "linger_ms"),
    "a setting that the chart sets itself": ("settings.admin_listen=127.0.0.1:1", "admin_listen"),
    "an unknown mode": ("mode=daemonset", "mode"),
    "a grace period that cuts the drain short": ("settings.drain_timeout_ms=24000", "terminationGracePeriodSeconds"),
    "a pause that cuts the drain short": ("deployment.preStopSeconds=24", "terminationGracePeriodSeconds"),
    "a client's authority without TLS": ("tls.clientCa=true", "tls.clientCa"),
}


def rendered(output: str) -> str:
    """Return one output, rendered when it is first asked for."""
    file = BUILD / f"{output.replace(' ', '-')}.yaml"
    if not file.exists():
        tool, name = output.split(" ")
        text = kustomize(*KUSTOMIZED[name]) if tool == "kustomize" else helm(VALUES / f"{name}.yaml")
        file.write_text(text, encoding="utf-8")
    return file.read_text(encoding="utf-8")


@pytest.fixture(scope="session", autouse=True)
def _afresh() -> None:
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)


def normalised(objects: Objects) -> dict[str, Object]:
    """Return the objects by kind and name, less what Helm says of itself and the order of what has none."""
    by_name: dict[str, Object] = {}
    for item in objects:
        labels = item["metadata"].get("labels", {})
        for label in HELMS_OWN:
            labels.pop(label, None)
        if item["kind"] in FREELY_LABELLED:
            item["metadata"]["labels"] = {"app.kubernetes.io/name": labels["app.kubernetes.io/name"]}
        if item["kind"] == "Deployment":
            for container in containers_of(template_of(item)["spec"]):
                container["env"] = sorted(container.get("env", []), key=_named)
                container["ports"] = sorted(container.get("ports", []), key=_named)
                container["volumeMounts"] = sorted(container.get("volumeMounts", []), key=_named)
            template_of(item)["spec"]["volumes"] = sorted(template_of(item)["spec"].get("volumes", []), key=_named)
        name = f"{item['kind']} {item['metadata']['name']}"
        assert name not in by_name, f"{name} twice"
        by_name[name] = item
    return by_name


def _named(item: dict[str, Any]) -> str:
    return str(item["name"])


@pytest.mark.parametrize("pair", PAIRS)
def test_kustomize_and_helm_make_the_same_objects(pair: str) -> None:
    """Who changes from the one to the other changes nothing in the cluster but labels."""
    by_kustomize = normalised(parse(rendered(f"kustomize {'-'.join(PAIRS[pair])}")))
    by_helm = normalised(parse(rendered(f"helm {pair}")))
    assert by_helm.keys() == by_kustomize.keys()
    for name, item in by_kustomize.items():
        assert by_helm[name] == item, name


@pytest.mark.parametrize("output", OUTPUTS)
def test_nothing_is_wrong_that_schemas_cannot_see(output: str) -> None:
    """Names, selectors, ports, rights and times fit each other."""
    assert problems(parse(rendered(output))) == []


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_program_accepts_the_settings(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`serve` would start with the environment that the container is given."""
    for name, value in settings_of(parse(rendered(output))).items():
        monkeypatch.setenv(name, value)
    load(ServeSettings, {})


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("output", OUTPUTS)
def test_objects_are_as_kubernetes_wants_them(output: str, version: str, tmp_path: Path) -> None:
    """Every object meets the schema of the oldest and the newest version, and has no member that it does not know."""
    known = [item for item in parse(rendered(output)) if item["kind"] not in OPERATORS]
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump_all(known), encoding="utf-8")
    since = SINCE.get(output, OLDEST) if version == OLDEST else version
    run("kubernetes-validate", "--strict", "--quiet", "--kubernetes-version", since, file)


def test_the_schema_check_notices_a_member_that_kubernetes_does_not_know(tmp_path: Path) -> None:
    """A check that could not fail would prove nothing."""
    objects = [item for item in parse(rendered("helm deployment")) if item["kind"] == "Service"]
    objects[0]["spec"]["trafficDistribution"] = "PreferClose"
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    run("kubernetes-validate", "--strict", "--quiet", "--kubernetes-version", NEWEST, file)
    with pytest.raises(RenderError, match="trafficDistribution"):
        run("kubernetes-validate", "--strict", "--quiet", "--kubernetes-version", OLDEST, file)


@pytest.mark.parametrize("values", ["", *VALUE_SETS])
def test_helm_lints_the_chart(values: str) -> None:
    """With its defaults and with each set of values."""
    given: list[str | Path] = ["--values", VALUES / f"{values}.yaml"] if values else []
    run("helm", "lint", "--strict", CHART, *given)


@pytest.mark.parametrize("mistake", REFUSED)
def test_the_chart_refuses(mistake: str) -> None:
    """A mistake is told when the chart is rendered, not by a pod that does not start."""
    setting, word = REFUSED[mistake]
    with pytest.raises(RenderError, match=word):
        run("helm", "template", "kinesis-proxy", CHART, "--set", setting)


@pytest.mark.parametrize(
    ("values", "endpoint", "condition"),
    [
        ("deployment", "http://kinesis-proxy.default:4567", "a key of the proxy"),
        ("mutual-tls", "https://kinesis-proxy.default:4567", "a certificate"),
        ("sidecar", "http://127.0.0.1:4567", "example-producer"),
        ("everything", "http://shared-proxy.default:4567", "Secret callers"),
    ],
)
def test_the_notes_tell_producers_where_to_call_and_with_what(values: str, endpoint: str, condition: str) -> None:
    """What Helm prints after an installation is true of these values."""
    told = run("helm", "install", "kinesis-proxy", CHART, "--dry-run=client", "--values", VALUES / f"{values}.yaml")
    notes = told.partition("\nNOTES:\n")[2]
    assert endpoint in notes
    assert condition in notes


def test_monitors_are_made_where_the_cluster_knows_them() -> None:
    """By default the chart asks the cluster."""
    kinds = {item["kind"] for item in parse(helm())}
    assert not kinds & set(OPERATORS)
    asked = run("helm", "template", "kinesis-proxy", CHART, "--api-versions", "monitoring.coreos.com/v1")
    assert {item["kind"] for item in parse(asked)} - kinds == {"ServiceMonitor", "PrometheusRule"}


def test_a_chart_of_ones_own_gets_the_sidecar_from_this_one(tmp_path: Path) -> None:
    """Mode library makes nothing itself; the template gives the very container of mode sidecar."""
    parent = tmp_path / "shop"
    (parent / "templates").mkdir(parents=True)
    (parent / "charts").mkdir()
    shutil.copytree(CHART, parent / "charts" / "kinesis-proxy")
    (parent / "Chart.yaml").write_text("{apiVersion: v2, name: shop, version: 1.0.0}", encoding="utf-8")
    (parent / "values.yaml").write_text("kinesis-proxy: {mode: library}", encoding="utf-8")
    (parent / "templates" / "pod.yaml").write_text(
        "kind: Pod\nspec:\n      initContainers:\n"
        '        {{- include "kinesis-proxy.sidecar" (index .Subcharts "kinesis-proxy") | nindent 8 }}\n'
        "      containers: []\n",
        encoding="utf-8",
    )
    (pod,) = parse(helm(chart=parent))
    (deployment,) = of_kind(parse(rendered("helm sidecar")), "Deployment")
    assert proxy_of(pod["spec"]) == proxy_of(template_of(deployment)["spec"])


def _values_of(name: str) -> Any:  # noqa: ANN401 - values are anything
    return yaml.safe_load((VALUES / f"{name}.yaml").read_text(encoding="utf-8"))


def test_settings_reach_the_environment_as_they_were_written() -> None:
    """0, false, large numbers and lists among them."""
    settings = settings_of(parse(rendered("helm everything")))
    wanted = _values_of("everything")["settings"]
    assert wanted["connection_age_max_ms"] == 0
    for name, value in wanted.items():
        text = ",".join(value) if isinstance(value, list) else json.dumps(value).strip('"')
        assert settings[f"KINESIS_PROXY_{name.upper()}"] == text


@pytest.mark.timeout(300)
@pytest.mark.parametrize("framework", ["kubernetes", "dockerfile"])
def test_checkov_finds_nothing_that_is_not_excepted_by_name(framework: str) -> None:
    """The exceptions, each with its reason, are in tests/deploy/checkov.yaml."""
    files = (
        [DEPLOY / "Dockerfile"] if framework == "dockerfile" else [_file(name) for name in OUTPUTS if rendered(name)]
    )
    targets = [word for file in files for word in ("--file", file)]
    report = run(
        "checkov", "--config-file", HERE / "checkov.yaml", "--framework", framework, "--output", "json", *targets
    )
    summary = json.loads(report)["summary"]
    assert summary["passed"] > 20, "checkov saw nothing"
    assert summary["failed"] == 0


def _file(output: str) -> Path:
    return BUILD / f"{output.replace(' ', '-')}.yaml"


def test_hadolint_has_nothing_to_say_of_the_dockerfile() -> None:
    """Not even by way of style."""
    assert run("hadolint", "--failure-threshold", "style", DEPLOY / "Dockerfile") == ""
