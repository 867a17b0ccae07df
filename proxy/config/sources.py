"""Gathers the settings: flags win over the environment, the environment over the TOML file, the file over defaults.

Decides which names are known, and how a wrong one is told: always with the setting, where its value came from and what
would be right. Nothing wrong is ignored.

Must never know: what the settings mean.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from proxy.config.describe import bounds_of, environment_name, flag_of
from proxy.config.settings import ENVIRONMENT_PREFIX, Settings
from proxy.config.values import suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

    from proxy.config.settings import Problem

CONFIG_VARIABLE = f"{ENVIRONMENT_PREFIX}CONFIG"

# What Kubernetes puts into the environment of every pod beside a Service whose name begins with kinesis-proxy.
_SERVICE_LINK = re.compile(
    rf"{ENVIRONMENT_PREFIX}(\w+_)?"
    r"(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)

# Settings that the file may write as a table.
_TABLES = frozenset({"fault"})

SettingsT = TypeVar("SettingsT", bound=Settings)


class ConfigurationError(Exception):
    """The settings cannot be used; the text has a line for each problem."""


@dataclass(frozen=True)
class Configuration(Generic[SettingsT]):
    """Valid settings and where each came from.

    Args:
        settings: the values.
        origins: by setting, what gave the value; a setting that kept its default is absent.
    """

    settings: SettingsT
    origins: Mapping[str, str]

    def with_source(self, text: str) -> str:
        """Add to an error whose text begins with `setting:` where the setting's value came from."""
        name, colon, _ = text.partition(":")
        return f"{text} (from {self.origins[name]})" if colon and name in self.origins else text


def load(settings_type: type[SettingsT], flags: Mapping[str, Any], file: str | None = None) -> Configuration[SettingsT]:
    """Gather and check the settings of a command, reading the process's environment.

    Args:
        settings_type: the command's view of the settings.
        flags: by setting, the values given on the command line.
        file: path of a TOML file; None takes `KINESIS_PROXY_CONFIG`, if that is set.

    Raises:
        ConfigurationError: a name is unknown, a value out of bounds, or the file cannot be read.
    """
    path = file or os.environ.get(CONFIG_VARIABLE) or None
    named_by = "flag --config" if file else f"environment {CONFIG_VARIABLE}"
    problems = _unknown_variables(os.environ)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if path is not None:
        try:
            file_values = _read_file(Path(path))
        except ConfigurationError as error:
            raise ConfigurationError(f"{error} (from {named_by})") from error
        problems += _unknown_keys(file_values, path)
        values |= {name: value for name, value in file_values.items() if _is_setting(name, value)}
        origins |= dict.fromkeys(values, f"file {path}")
    for name, value in EnvSettingsSource(settings_type)().items():
        values[name] = value
        origins[name] = f"environment {environment_name(name)}"
    for name, value in flags.items():
        values[name] = value
        origins[name] = f"flag {flag_of(name)}"
    settings: SettingsT | None = None
    try:
        settings = settings_type(**values)
        problems += [_told(problem, origins) for problem in settings.problems()]
    except ValidationError as error:
        problems += _invalid_values(error, values, origins)
    if settings is None or problems:
        raise ConfigurationError("\n".join(problems))
    return Configuration(settings, origins)


def _read_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigurationError(f"settings file {path} does not exist or is no file")
    try:
        return TomlConfigSettingsSource(Settings, toml_file=path)()
    except (TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"settings file {path} is not TOML: {error}") from error
    except OSError as error:
        raise ConfigurationError(f"settings file {path} cannot be read: {error.strerror}") from error


def _unknown_keys(values: Mapping[str, Any], path: str) -> list[str]:
    return [
        f"unknown setting {name} in file {path}{_hint(name, value)}"
        for name, value in values.items()
        if not _is_setting(name, value)
    ]


def _is_setting(name: str, value: object) -> bool:
    return name in Settings.model_fields and (not isinstance(value, dict) or name in _TABLES)


def _hint(name: str, value: object) -> str:
    if isinstance(value, dict):
        return f": settings are not grouped in the file; write them without [{name}], before any table"
    return suggestion(name, Settings.model_fields)


def _unknown_variables(environment: Mapping[str, str]) -> list[str]:
    known = {environment_name(name) for name in Settings.model_fields} | {CONFIG_VARIABLE}
    return [
        f"unknown setting in the environment: {name}{suggestion(name, known)}"
        for name in sorted(environment)
        if name.upper().startswith(ENVIRONMENT_PREFIX)
        and name.upper() not in known
        and not _SERVICE_LINK.fullmatch(name)
    ]


def _invalid_values(error: ValidationError, values: Mapping[str, Any], origins: Mapping[str, str]) -> list[str]:
    """Say for each wrong value what it was, where it came from and what would be right."""
    lines: list[str] = []
    for detail in error.errors(include_url=False, include_input=False):
        name = str(detail["loc"][0])
        bounds = bounds_of(name)
        # A parser's own text says what it wants, and may have a reason not to repeat the value.
        spoken = detail["type"] == "value_error" or not bounds
        wrong = _cause(detail) if spoken else f"{values[name]!r} is not {bounds}"
        lines.append(f"{name}: {wrong} (from {origins[name]})")
    return lines


def _cause(detail: ErrorDetails) -> str:
    """Return the text of the ValueError that a validator raised, or pydantic's own."""
    cause = detail.get("ctx", {}).get("error")
    return str(cause) if cause is not None else detail["msg"]


def _told(problem: Problem, origins: Mapping[str, str]) -> str:
    """Add to a problem where the settings of it came from."""
    sources = [f"{name} from {origins[name]}" for name in problem.names if name in origins]
    return f"{problem.text} ({', '.join(sources)})" if sources else problem.text
