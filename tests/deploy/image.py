"""`make image`: builds the image, runs it as unprivileged as the manifests do, puts records through it, and stops it.

Needs root and Debian's buildah, podman, runc, catatonit and debootstrap. The base image is made of Debian's packages,
under the name of the official one; `--pulled` takes the official one from its registry. The program runs on the
machine's own network, with an emulator beside it from which is read back what arrived.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import sys
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import boto3
import yaml

from tests.deploy.containers import (
    BASE,
    BUILD,
    BUILD_BASE,
    IMAGE,
    MEMORY_BYTES,
    Container,
    ContainerError,
    build,
    make_base,
    missing_programs,
    podman,
)
from tests.support.kinesis_client import KinesisClient
from tests.support.manifests import PREFIX, RENDERED, USER, Object, of_kind, parse, proxy_of, template_of
from tests.support.processes import CREDENTIALS, Metrics, emulate, free_port, status_of
from tests.support.producers import Habits, Ledger, Producer, Quota
from tests.support.proof import Books
from tests.support.readback import read_stream, verify
from tests.support.workload import when

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.processes import Service

STREAM_NAME = "orders"
PRODUCERS = 32
RECORDS_BEFORE_THE_SIGNAL = 5_000
KEY_ID, SECRET = "ORDERSERVICE1", "0123456789abcdef0123456789abcdef"  # the check's own
KEYS = f'[[key]]\naccess_key_id = "{KEY_ID}"\nsecret_access_key = "{SECRET}"\n'
SIGNED_RECORDS = 200
REFUSED_IN_A_DRAIN = "InternalFailure"
REFUSALS = ("UnrecognizedClientException", "InvalidSignatureException")
# What an SDK needs; files of the machine's are not in the container.
ENVIRONMENT = {name: value for name, value in CREDENTIALS.items() if not name.endswith("_FILE")}


class CheckError(Exception):
    """The image is not as it should be."""


def main() -> int:
    """Run every check; return the exit code."""
    parser = argparse.ArgumentParser(prog="make image", description=__doc__)
    parser.add_argument("--pulled", action="store_true", help="build on the official base image, from its registry")
    parser.add_argument("--keep", action="store_true", help="leave the images in build/image, for a quicker next time")
    options = parser.parse_args()
    missing = missing_programs()
    if missing or os.geteuid() != 0:
        tell(f"needs root, and: apt-get install {' '.join(missing) or 'nothing more'}")
        return 2
    try:
        if options.pulled:
            podman("pull", BASE)
            podman("pull", BUILD_BASE)
        else:
            make_base(BASE)
            make_base(BUILD_BASE, "gcc", "libc6-dev", "python3-dev")
        build()
        say("built", f"{int(the_image()['Size']) / 1e6:.0f} MB, base {BASE}{'' if options.pulled else ' (a stand-in)'}")
        check_what_it_says_of_itself()
        check_health()
        check_run_and_drain()
        check_deployment()
    except (CheckError, ContainerError) as error:
        tell(f"FAILED: {error}")
        return 1
    finally:
        if not options.keep:
            shutil.rmtree(BUILD, ignore_errors=True)
    return 0


def say(what: str, figures: str) -> None:
    """Tell one thing that was seen to be so."""
    sys.stdout.write(f"{what:<12} {figures}\n")
    sys.stdout.flush()


def tell(what: str) -> None:
    """Tell what went wrong."""
    sys.stderr.write(f"{what}\n")


def demand(truth: object, text: str) -> None:
    """Fail the check with a text unless something is so.

    Raises:
        CheckError: it is not.
    """
    if not truth:
        raise CheckError(text)


def the_image() -> dict[str, Any]:
    """Return what podman knows of the image."""
    (found,) = yaml.safe_load(podman("image", "inspect", IMAGE))
    image: dict[str, Any] = found
    return image


def check_what_it_says_of_itself() -> None:
    """User, entry point, signal, health check and labels are in the image, and nothing of pip or the build is."""
    config = the_image()["Config"]
    demand(config["User"] == f"{USER}:{USER}", f"user {config['User']}")
    demand((config["Entrypoint"], config["Cmd"]) == (["kinesis-proxy"], ["serve"]), f"starts {config}")
    demand(config["StopSignal"] in {"SIGTERM", "15"}, f"stopped by {config['StopSignal']}")
    demand("Healthcheck" in the_image() or "Healthcheck" in config, "no health check")
    demand(config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0", f"labels {config['Labels']}")
    say(
        "says",
        f"user {config['User']}, {config['StopSignal']}, {config['Entrypoint']} {config['Cmd']}",
    )


@contextmanager
def watched(container: Container) -> Iterator[None]:
    """Show what a container logged if something goes wrong, and remove it at the end."""
    try:
        yield
    except BaseException:
        tell(container.output())
        raise
    finally:
        container.remove()


async def until(condition: Callable[[], bool], timeout_seconds: float = 30.0) -> None:
    """Wait for something that another process brings about."""
    async with asyncio.timeout(timeout_seconds):
        await when(condition)


def await_ready(admin_url: str) -> None:
    """Wait until the proxy is ready."""
    asyncio.run(until(lambda: status_of(f"{admin_url}/readyz") == HTTPStatus.OK))


def books_of(admin_url: str) -> Books:
    """Scrape the proxy's account of its records."""
    with urlopen(f"{admin_url}/metrics", timeout=5) as answer:  # noqa: S310 - loopback
        return Books.of(Metrics(answer.read().decode()))


def check_health() -> None:
    """The image's health check, on the ports that it is made for, passes once the proxy is ready and not without it."""
    with_credentials = Container.started("kinesis-proxy-healthy", {f"{PREFIX}UPSTREAM": "embedded"}, network="none")
    with watched(with_credentials):
        asyncio.run(until(with_credentials.healthy))
        version = podman("exec", with_credentials.name, "kinesis-proxy", "--version")
        settings = podman("exec", with_credentials.name, "kinesis-proxy", "config").splitlines()
        demand(len(settings) > 50, "config shows no settings")
    without = Container.started("kinesis-proxy-unhealthy", {f"{PREFIX}REGION": "us-east-1"}, network="none")
    with watched(without):
        asyncio.run(until(lambda: readiness_of(without) == str(HTTPStatus.SERVICE_UNAVAILABLE.value)))
        demand(not without.healthy(), "it is healthy without credentials")
    say("health", f"{version}, {len(settings) - 1} settings; HEALTHCHECK passes when ready, fails without credentials")


def readiness_of(container: Container) -> str:
    """Return the status of /readyz, asked for inside the container; empty while nothing answers."""
    asked = "import http.client as c; a = c.HTTPConnection('127.0.0.1', 9464); a.request('GET', '/readyz')"
    try:
        return container.python(f"{asked}; print(a.getresponse().status)")
    except ContainerError:
        return ""


def check_run_and_drain() -> None:
    """Without rights, with little memory and nothing to write to, it serves a load, and SIGTERM loses none of it."""
    port, admin_port = free_port(), free_port()
    with emulate(stream=[f"{STREAM_NAME}:16"], fault=["latency_ms=200"]) as upstream:
        environment = {
            f"{PREFIX}LISTEN": f"127.0.0.1:{port}",
            f"{PREFIX}ADMIN_LISTEN": f"127.0.0.1:{admin_port}",
            f"{PREFIX}UPSTREAM": upstream.url,
            **ENVIRONMENT,
        }
        container = Container.started("kinesis-proxy-check", environment)
        with watched(container):
            await_ready(f"http://127.0.0.1:{admin_port}")
            check_rights(container)
            asyncio.run(
                load_and_stop(container, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}", upstream)
            )


async def load_and_stop(container: Container, url: str, admin_url: str, upstream: Service) -> None:
    """Put records through a container until SIGTERM comes in the middle of it, and look for them in the stream."""
    ledger, quota = Ledger(), Quota(1_000_000)
    async with KinesisClient(url) as client, asyncio.TaskGroup() as tasks:
        for number in range(PRODUCERS):
            keys = [f"k{number}-{key}" for key in range(50)]
            chance = random.Random(number)  # noqa: S311 - a seeded load, no secret
            producer = Producer(client, STREAM_NAME, keys, ledger, Habits(records_per_call=20), chance)
            tasks.create_task(producer.run(quota))
        await until(lambda: ledger.acknowledged() > RECORDS_BEFORE_THE_SIGNAL, 60)
        peak = (await asyncio.to_thread(container.status))["VmHWM"]
        books = await asyncio.to_thread(books_of, admin_url)
        held = books.queued + books.in_flight
        quota.close()
        exit_code = await asyncio.to_thread(container.stop)
    demand(exit_code == 0, f"exit code {exit_code}")
    async with KinesisClient(upstream.url) as reader:
        verdict = verify(ledger, await read_stream(reader, STREAM_NAME))
    demand(not verdict.problems, f"{verdict.problems}")
    # A call that is on its way when the drain begins is told so, and its SDK tries it again elsewhere.
    refused = ledger.failures.pop(REFUSED_IN_A_DRAIN, 0)
    demand(not ledger.failures, f"{ledger.failures}")
    demand(
        verdict.acknowledged == ledger.sent() - refused == verdict.stored, f"{verdict} of {ledger.sent()}, {refused}"
    )
    demand(held > 0, "nothing was held when the signal came")
    events = [event["event"] for event in container.log()]
    demand(events[-1] == "stopped" and "draining" in events, f"log {events}")
    say("load", f"{verdict.stored} records acknowledged and read back in order; peak memory {peak}")
    say("SIGTERM", f"with {held} records held: all delivered, {refused} refused after it; exit code {exit_code}")


def check_user(container: Container) -> None:
    """The kernel knows the program as a user without any right of root's."""
    status = container.status()
    demand(status["Uid"].split() == [str(USER)] * 4, f"runs as {status['Uid']}")
    demand(int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0, f"capabilities {status['CapEff']}")


def check_rights(container: Container) -> None:
    """What the kernel says of the running program, and what it may not do."""
    check_user(container)
    demand(container.status()["NoNewPrivs"] == "1", "may gain privileges")
    limit = container.memory_limit_bytes()
    demand(limit == MEMORY_BYTES, f"memory limit {limit}")
    for path in ("/opt/kinesis-proxy/x", "/tmp/x", "/x"):  # noqa: S108 - where it must not be able to write
        try:
            container.python(f"open({path!r}, 'w')")
        except ContainerError as error:
            demand("Read-only file system" in str(error), str(error))
        else:
            raise CheckError(f"it can write {path}")
    found = container.python("import importlib.util as u; print([bool(u.find_spec(m)) for m in ('pip', 'hatchling')])")
    demand(found == "[False, False]", "build tools are left in the image")
    found = container.python("import proxy.core.stream as module; print(module.__file__)")
    demand(found.endswith(".so"), f"the hot path is not compiled: {found}")
    say("rights", f"uid {USER}, no capabilities, no new privileges, nothing writable, {limit >> 20} MiB")


def check_deployment() -> None:
    """The rendered Deployment runs as a pod: `podman play kube`, a signed load, SIGTERM, exit 0."""
    port, admin_port = free_port(), free_port()
    with emulate(stream=[f"{STREAM_NAME}:4"]) as upstream:
        file = BUILD / "pod.yaml"
        file.write_text(yaml.safe_dump_all(for_podman(upstream.url, port, admin_port)), encoding="utf-8")
        podman("play", "kube", "--replace", file)
        (name,) = (name for name in container_names() if name.endswith("-kinesis-proxy"))
        container = Container(name)
        with watched(container):
            await_ready(f"http://127.0.0.1:{admin_port}")
            check_user(container)
            put_signed(f"http://127.0.0.1:{port}")
            books = books_of(f"http://127.0.0.1:{admin_port}")
            demand(books.acknowledged == SIGNED_RECORDS, f"{books}")
            exit_code = container.stop()
            demand(exit_code == 0, f"exit code {exit_code}")
            events = [event["event"] for event in container.log()]
            demand("draining" in events and events[-1] == "stopped", f"log {events}")
            say("play kube", f"{SIGNED_RECORDS} signed records, a stranger refused; SIGTERM; exit code {exit_code}")
        podman("play", "kube", "--down", file)


def container_names() -> list[str]:
    """Return the names of all containers of this check, those that have ended included."""
    return podman("ps", "--all", "--format", "{{.Names}}").splitlines()


def for_podman(upstream_url: str, port: int, admin_port: int) -> list[Object]:
    """Return the rendered Deployment, with what podman lacks taken out and what a cluster would add put in.

    That is: the host's network and other ports on it, no Service behind the named ports, the keys in a ConfigMap, and
    an upstream on this machine with credentials for it.
    """
    (deployment,) = of_kind(parse((RENDERED / "deployment.yaml").read_text(encoding="utf-8")), "Deployment")
    pod = template_of(deployment)["spec"]
    pod["hostNetwork"] = True
    (volume,) = pod["volumes"]
    # Podman 4.3 mounts a Secret's data without decoding it.
    volume["configMap"] = {"name": volume.pop("secret")["secretName"]}
    container = proxy_of(pod)
    container["image"] = IMAGE
    del container["ports"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        container[probe]["httpGet"]["port"] = admin_port
    given = {
        f"{PREFIX}LISTEN": f"0.0.0.0:{port}",
        f"{PREFIX}ADMIN_LISTEN": f"0.0.0.0:{admin_port}",
        f"{PREFIX}UPSTREAM": upstream_url,
        **ENVIRONMENT,
    }
    kept = [item for item in container["env"] if item["name"] not in given]
    container["env"] = kept + [{"name": name, "value": value} for name, value in given.items()]
    keys = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": volume["configMap"]["name"]}}
    return [{**keys, "data": {"keys.toml": KEYS}}, deployment]


def put_signed(url: str) -> None:
    """Put records with the key, and see that another key is refused."""

    def client(key_id: str) -> Any:  # noqa: ANN401 - boto3 has no types
        keys = {"aws_access_key_id": key_id, "aws_secret_access_key": SECRET}
        return boto3.client("kinesis", endpoint_url=url, region_name="us-east-1", **keys)

    kinesis = client(KEY_ID)
    for number in range(0, SIGNED_RECORDS, 50):
        records = [{"PartitionKey": f"k{number + entry}", "Data": b"x"} for entry in range(50)]
        answer = kinesis.put_records(StreamName=STREAM_NAME, Records=records)
        demand(answer["FailedRecordCount"] == 0, str(answer))
    stranger = client("STRANGER1")
    try:
        stranger.put_record(StreamName=STREAM_NAME, PartitionKey="k", Data=b"x")
    except stranger.exceptions.ClientError as error:
        demand(error.response["Error"]["Code"] in REFUSALS, str(error))
    else:
        raise CheckError("a stranger was served")


if __name__ == "__main__":
    sys.exit(main())
