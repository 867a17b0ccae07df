from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from proxy.frontend.keys import KeysError, KeyStore
from proxy.upstream.counters import DESCRIBE_STREAM_SUMMARY, LIST_SHARDS, PUT_RECORD, PUT_RECORDS
from tests.support.deploy_files import CHART_README
from tests.support.manifests import DEPLOY, RENDERED, of_kind, parse, proxy_of, template_of

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = DEPLOY.parent
README = DEPLOY / "README.md"
EXAMPLE_KEYS = DEPLOY / "kustomize" / "overlays" / "deployment" / "keys.example.toml"


def anchors_of(text: str) -> set[str]:
    """Return the anchors of a Markdown file's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", [README, CHART_README], ids=["deploy", "chart"])
def test_links_lead_somewhere(document: Path) -> None:
    """To a file or folder of the repository, and to a heading that it has."""
    links = re.findall(r"\]\(([^)]+)\)", document.read_text(encoding="utf-8"))
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors_of(target.read_text(encoding="utf-8")), link


def test_commands_name_files_that_are_there() -> None:
    """Commands are for the top of the repository."""
    named = set(re.findall(r"(?<=[ =])deploy/[\w./-]*\w", README.read_text(encoding="utf-8")))
    assert len(named) > 4
    assert [path for path in named if not (PROJECT / path).exists()] == []


def test_with_the_lock_of_traces_the_image_has_all_that_it_has_without() -> None:
    """Whoever builds it with traces, as the document says, changes nothing else."""
    plain, traced = (
        set(re.findall(r"^[\w.-]+==\S+", (PROJECT / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in ("requirements.lock", "requirements-otel.lock")
    )
    assert plain < traced


def test_commands_install_the_checkout_and_no_name_of_an_index() -> None:
    """The program is on no index: what a stranger put there under its name must not be installed."""
    for document in (PROJECT / "README.md", README):
        for command in re.findall(r"pip install ([^`#\n]+)", document.read_text(encoding="utf-8")):
            assert re.fullmatch(r"(\.|'\.\[\w+\]')", command.strip()), command


def test_the_ten_lines_of_a_sidecar_are_taken_from_the_overlay() -> None:
    """Whoever copies them has, but for the image's name, a part of what the overlay makes."""
    (block,) = re.findall(r"```yaml\n(initContainers:\n.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(block.splitlines()) <= 10
    (short,) = yaml.safe_load(block)["initContainers"]
    (deployment,) = of_kind(parse((RENDERED / "sidecar.yaml").read_text(encoding="utf-8")), "Deployment")
    whole = proxy_of(template_of(deployment)["spec"])
    assert short.pop("image").endswith(whole["image"].rpartition("/")[2])
    assert is_part(short, whole), short


def is_part(part: Any, whole: Any) -> bool:  # noqa: ANN401 - parsed documents
    """Return whether all of a document is in another; lists may have further items."""
    if isinstance(part, dict):
        return all(key in whole and is_part(value, whole[key]) for key, value in part.items())
    if isinstance(part, list):
        return all(any(is_part(item, other) for other in whole) for item in part)
    return bool(part == whole)


def test_the_role_may_do_what_the_proxy_asks_for_and_no_more() -> None:
    """The minimal policy names the operations of the upstream, each for named resources."""
    policy = json.loads((DEPLOY / "iam" / "policy.json").read_text(encoding="utf-8"))
    puts, key = policy["Statement"]
    asked = {PUT_RECORD, PUT_RECORDS, LIST_SHARDS, DESCRIBE_STREAM_SUMMARY}
    assert set(puts["Action"]) == {f"kinesis:{operation}" for operation in asked}
    assert key["Action"] == "kms:GenerateDataKey"
    assert all("*" not in statement["Resource"] for statement in policy["Statement"])


def test_the_example_of_keys_is_refused_until_its_secret_is_replaced(tmp_path: Path) -> None:
    """Nobody runs on a secret that everybody knows; otherwise the file is as the program wants it."""
    with pytest.raises(KeysError):
        KeyStore(EXAMPLE_KEYS).load()
    mended = tmp_path / "keys.toml"
    text = EXAMPLE_KEYS.read_text(encoding="utf-8").replace("REPLACE ME", "0123456789abcdef")
    mended.write_text(text, encoding="utf-8")
    store = KeyStore(mended)
    store.load()
    assert store.find("ORDERSERVICE1") is not None
