"""buildah and podman with a storage of their own in build/image, apart from the machine's own images."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT = Path(__file__).parents[2]
BUILD = PROJECT / "build" / "image"
STORAGE = ("--storage-driver", "overlay", "--root", str(BUILD / "storage"), "--runroot", str(BUILD / "run"))
PODMAN = ("podman", *STORAGE, "--runtime", "runc", "--cgroup-manager", "cgroupfs")
PROGRAMS = ("buildah", "podman", "runc", "catatonit", "debootstrap")
BASE = "docker.io/library/python:3.11-slim"
BUILD_BASE = "docker.io/library/python:3.11"
IMAGE = "localhost/kinesis-proxy:check"
# Nothing is writable, not even /tmp; nobody asks for its health but this check, for podman would want systemd to.
CONFINED = ("--read-only", "--read-only-tmpfs=false", "--health-interval", "disable")
# No more files and processes than a machine lets its containers have that is itself confined.
CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=2000:2000"]
"""
STOP_SECONDS = 30
MEMORY_BYTES = 256 * 1024 * 1024
# The machine's own certificate authorities and settings of pip, with which the builder reaches its package index.
OF_THE_MACHINE = ("/etc/ssl/certs", "/etc/pip.conf")


class ContainerError(Exception):
    """A program failed; the text is what it said."""


def call(*command: str | Path, with_errors: bool = False, **variables: str) -> str:
    """Run a program and return its output.

    Raises:
        ContainerError: it failed.
    """
    ended = subprocess.run(  # noqa: S603 - the arguments are this module's own
        command, capture_output=True, text=True, check=False, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **variables}
    )
    if ended.returncode:
        raise ContainerError(f"{' '.join(map(str, command))}\n{ended.stdout[-4000:]}{ended.stderr[-4000:]}")
    return (ended.stdout + (ended.stderr if with_errors else "")).strip()


def podman(*arguments: str | Path, with_errors: bool = False) -> str:
    """Run podman on the storage of this check."""
    file = BUILD / "containers.conf"
    if not file.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        file.write_text(CONFIGURATION, encoding="utf-8")
    return call(*PODMAN, *arguments, with_errors=with_errors, CONTAINERS_CONF=str(file))


def missing_programs() -> list[str]:
    """Return what has to be installed first."""
    return [name for name in PROGRAMS if shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]


def make_base(name: str, *packages: str) -> None:
    """Make a stand-in for an official base image out of Debian's packages, where no image registry can be reached.

    Args:
        name: the image's.
        packages: that it has beside those of all.
    """
    if f"{name}\n" in podman("images", "--format", "{{.Repository}}:{{.Tag}}") + "\n":
        return
    root = BUILD / "base"
    shutil.rmtree(root, ignore_errors=True)
    included = ",".join(("python3", "python3-venv", "ca-certificates", *packages))
    call("debootstrap", "--variant=minbase", f"--include={included}", "bookworm", root)
    # Where the official image has it.
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    archive = BUILD / "base.tar"
    call("tar", "--directory", root, "--exclude=./var/cache", "--exclude=./var/lib/apt/lists", "-cf", archive, ".")
    podman("import", archive, name)
    archive.unlink()
    shutil.rmtree(root)


def build() -> None:
    """Build the image as deploy/Dockerfile says."""
    volumes = [f"--volume={path}:{path}:ro" for path in OF_THE_MACHINE if Path(path).exists()]
    call(
        *("buildah", *STORAGE, "bud", "--isolation", "chroot", "--format", "docker", "--pull-never", *volumes),
        *("--file", PROJECT / "deploy" / "Dockerfile", "--tag", IMAGE, PROJECT),
    )


class Container:
    """A container that runs until it ends by itself.

    Args:
        name: of a container that podman knows.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def started(cls, name: str, environment: Mapping[str, str], network: str = "host") -> Container:
        """Start one as unprivileged as the manifests have it."""
        podman("rm", "--force", "--ignore", name)
        unprivileged = ("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", str(MEMORY_BYTES))
        variables = [f"--env={key}={value}" for key, value in environment.items()]
        podman("run", "--detach", "--name", name, "--network", network, *CONFINED, *unprivileged, *variables, IMAGE)
        return cls(name)

    def state(self) -> dict[str, Any]:
        """Return what podman knows of it."""
        (found,) = json.loads(podman("inspect", self.name))
        state: dict[str, Any] = found
        return state

    @property
    def pid(self) -> int:
        """The process id of the program."""
        return int(self.state()["State"]["Pid"])

    def status(self) -> dict[str, str]:
        """Return what the kernel says of the program: /proc/PID/status."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}

    def memory_limit_bytes(self) -> int:
        """Return the limit that the kernel holds the program's control group to."""
        for line in Path(f"/proc/{self.pid}/cgroup").read_text(encoding="ascii").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "memory":
                return int(Path(f"/sys/fs/cgroup/memory{path}/memory.limit_in_bytes").read_text(encoding="ascii"))
            if not controllers and Path(f"/sys/fs/cgroup{path}/memory.max").exists():
                return int(Path(f"/sys/fs/cgroup{path}/memory.max").read_text(encoding="ascii"))
        raise ContainerError("no control group limits memory")

    def python(self, program: str) -> str:
        """Run a Python program in it.

        Raises:
            ContainerError: it failed; the text ends with what Python said.
        """
        return podman("exec", self.name, "python", "-c", program)

    def healthy(self) -> bool:
        """Run the image's health check once."""
        try:
            podman("healthcheck", "run", self.name)
        except ContainerError:
            return False
        return True

    def stop(self) -> int:
        """Stop it as an orchestrator does, by the image's stop signal, and return its exit code."""
        podman("stop", "--time", str(STOP_SECONDS), self.name)
        return int(self.state()["State"]["ExitCode"])

    def output(self) -> str:
        """Return what it wrote to standard output and, by podman's own way of it, to standard error."""
        return podman("logs", self.name, with_errors=True)

    def log(self) -> list[dict[str, Any]]:
        """Return what it logged."""
        return [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]

    def remove(self) -> None:
        """End it, if it still runs, and forget it."""
        podman("rm", "--force", "--ignore", self.name)
