"""The command line: serve, emulate, config.

Decides what flags there are (one for each setting that a command reads) and how a mistake is told: one line for each on
standard error, exit code 2, no traceback.

Must never know: what a command does.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import proxy
from proxy.config import ConfigurationError, EmulateSettings, ServeSettings, Settings, load
from proxy.config.describe import as_json, as_markdown, as_table, bounds_of, choices_of, flag_of, shown
from proxy.config.settings import GROUPS, group_of, unit_of
from proxy.config.sources import CONFIG_VARIABLE, Configuration
from proxy.config.values import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

PROGRAM = "kinesis-proxy"
UNDELIVERED = 1
USAGE_ERROR = 2
INTERRUPTED = 130
REPEATABLE = frozenset({"fault", "stream"})

DESCRIPTION = """\
A batching proxy for Amazon Kinesis Data Streams: point an AWS SDK's endpoint at it and keep calling PutRecord and
PutRecords. Records are queued by partition key, batched within the shards' limits, retried, and answered with the shard
id and sequence number that Kinesis assigned.
"""
SOURCES = f"""\
Each flag can also be set in the environment (--linger-ms is KINESIS_PROXY_LINGER_MS) or in a TOML file
(linger_ms = 5) named by --config or {CONFIG_VARIABLE}. Flags win over the environment, the environment over the file.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit code."""
    parser = _parser()
    namespace, unknown = parser.parse_known_args(arguments)
    options = vars(namespace)
    command: Callable[[dict[str, Any]], int] | None = options.pop("run", None)
    if command is None:
        parser.print_help(sys.stderr)
        return USAGE_ERROR
    subparser: _Parser = options.pop("parser")
    if unknown:
        # What follows an unknown flag is likely its value.
        flags = [argument for argument in unknown if argument.startswith("-")] or unknown
        subparser.error("; ".join(_unknown(argument, subparser) for argument in flags))
    try:
        return command(options)
    except ConfigurationError as error:
        return _refused(str(error))
    except BrokenPipeError:
        # the reader of a listing has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in one line instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(_refused(f"{message}; see {self.prog} --help"))


def _parser() -> _Parser:
    parser = _Parser(
        prog=PROGRAM, description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {proxy.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
    serve = _command(commands, "serve", "run the proxy", ServeSettings)
    serve.set_defaults(run=_serve)
    emulate = _command(commands, "emulate", "run the embedded Kinesis on a port of its own", EmulateSettings)
    emulate.set_defaults(run=_emulate)
    config = _command(commands, "config", "print every setting, its value and where it came from", ServeSettings)
    config.add_argument("--format", choices=("table", "json", "markdown"), default="table", help="default: table")
    config.add_argument(
        "--command", choices=("serve", "emulate"), default="serve", help="whose settings to print; default: serve"
    )
    config.set_defaults(run=_config)
    return parser


def _command(commands: Any, name: str, meaning: str, settings_type: type[Settings]) -> _Parser:  # noqa: ANN401 - argparse does not name its type
    parser: _Parser = commands.add_parser(
        name,
        help=meaning,
        description=f"{meaning[0].upper()}{meaning[1:]}.",
        epilog=SOURCES,
        usage=f"{PROGRAM} {name} [--flag value] ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.set_defaults(parser=parser)
    parser.add_argument("--config", metavar="FILE", help=f"TOML file of settings ({CONFIG_VARIABLE})")
    groups = {group: parser.add_argument_group(f"{group}: {GROUPS[group]}") for group in settings_type.flag_groups}
    for setting, field in settings_type.model_fields.items():
        if settings_type.reads(setting):
            # a setting of a group that the command does not read otherwise
            arguments = groups.get(group_of(setting)) or groups["emulator"]
            _add_flag(arguments, setting, field.default, field.description or "")
    return parser


def _add_flag(arguments: argparse._ArgumentGroup, name: str, default: object, description: str) -> None:
    """Add the flag of one setting; its value is checked with those of the other sources."""
    notes = [f"default: {shown(default)}"] if shown(default) else []
    if default is True or default is False:
        notes.append(f"{_negated(name)} is false")
        arguments.add_argument(
            flag_of(name), metavar="true|false", nargs="?", const=True, help=_help_of(description, notes), dest=name
        )
        arguments.add_argument(_negated(name), action="store_const", const=False, help=argparse.SUPPRESS, dest=name)
        return
    if bounds_of(name) and not choices_of(name):
        notes.append(bounds_of(name))
    metavar = "|".join(choices_of(name)) or unit_of(name) or "VALUE"
    action = "append" if name in REPEATABLE else "store"
    arguments.add_argument(flag_of(name), metavar=metavar, action=action, help=_help_of(description, notes), dest=name)


def _negated(name: str) -> str:
    """Return the flag that makes a setting false."""
    return flag_of(f"no_{name}")


def _help_of(description: str, notes: list[str]) -> str:
    text = f"{description} [{'; '.join(notes)}]" if notes else description
    return text.replace("%", "%%")


def _unknown(argument: str, parser: argparse.ArgumentParser) -> str:
    flag = argument.partition("=")[0]
    known = [option for action in parser._actions for option in action.option_strings]  # noqa: SLF001 - argparse has no other way to ask
    return f"unknown argument {flag}{suggestion(flag, known)}"


def _refused(text: str) -> int:
    """Tell one line for each problem."""
    for line in text.splitlines():
        _tell(line)
    return USAGE_ERROR


def _tell(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # whoever might read it has left
        sys.stderr.write(f"{PROGRAM}: {line}\n")


def _load(settings_type: type[Any], options: dict[str, Any]) -> Configuration[Any]:
    file = options.pop("config", None)
    return load(settings_type, options, file)


def _serve(options: dict[str, Any]) -> int:
    from proxy.commands.serve import serve  # noqa: PLC0415 - half a second of imports that help and config do without

    return _run(serve, _load(ServeSettings, options))


def _emulate(options: dict[str, Any]) -> int:
    from proxy.commands.emulate import emulate  # noqa: PLC0415 - as in `_serve`

    return _run(emulate, _load(EmulateSettings, options))


def _run(command: Callable[[Any], Coroutine[None, None, int | None]], configuration: Configuration[Any]) -> int:
    """Run a command until it ends by itself; it returns how many accepted records were not delivered."""
    import uvloop  # noqa: PLC0415 - as in `_serve`

    from proxy import log  # noqa: PLC0415 - as in `_serve`
    from proxy.commands.process import CommandError  # noqa: PLC0415 - as in `_serve`

    settings = configuration.settings
    log.configure(settings.log_format, settings.log_level)
    try:
        undelivered = uvloop.run(command(settings))
    except CommandError as error:
        return _refused(configuration.with_source(str(error)))
    if undelivered:
        records = "record was" if undelivered == 1 else "records were"
        _tell(f"{undelivered} accepted {records} not delivered")
        return UNDELIVERED
    return 0


def _config(options: dict[str, Any]) -> int:
    output_format = options.pop("format")
    command = options.pop("command")
    settings_type = {"serve": ServeSettings, "emulate": EmulateSettings}[command]
    useless = [name for name in options if name in Settings.model_fields and not settings_type.reads(name)]
    if useless:
        raise ConfigurationError("\n".join(f"{command} has no flag {flag_of(name)}" for name in useless))
    configuration = _load(settings_type, options)
    write = {"table": as_table, "json": as_json, "markdown": as_markdown}[output_format]
    text = write(configuration.settings, configuration.origins)
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    return 0
