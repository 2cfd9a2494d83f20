"""The table of commands: their names, and the module of each, which is imported when the command is used."""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from pynb_dag_runner.errors import UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "run": "pynb_dag_runner.cli.run:run",
        "resume": "pynb_dag_runner.cli.resume:resume",
        "check": "pynb_dag_runner.cli.check:check",
        "graph": "pynb_dag_runner.cli.graph:graph",
        "show": "pynb_dag_runner.cli.show:show",
        "list": "pynb_dag_runner.cli.list:list_runs",
        "report": "pynb_dag_runner.cli.report:report",
        "init": "pynb_dag_runner.cli.init:init",
    }
)
"""Our own commands, in the order of ``--help``: that in which one meets them."""

ENTRY_POINT_GROUP = "pynb_dag_runner.commands"
"""Where other packages register commands: a name and a click command. Ours win over theirs."""


class ReaderGoneError(Exception):
    """Who read our stdout does not any more. Click would take a BrokenPipeError for itself and exit with 1, which means
    something else here.
    """


class CommandTable(click.Group):
    """A group whose commands are imported when they are used or listed."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the command line; answers ``--help``."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except BrokenPipeError as error:
            raise ReaderGoneError from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGoneError from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Our own, then those of other packages by name."""
        return [*COMMANDS, *sorted(name for name in _plugins() if name not in COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command; a plug-in that can't be loaded is one that says so when it is called."""
        if cmd_name in COMMANDS:
            module, _, attribute = COMMANDS[cmd_name].partition(":")
            command = getattr(import_module(module), attribute)
            assert isinstance(command, click.Command)
            return command
        plugin = _plugins().get(cmd_name)
        return _load(plugin) if plugin else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, but an unknown name is answered with the nearest known one."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from pynb_dag_runner.model.graph import unknown_name

            ctx.fail(unknown_name("command", args[0], self.list_commands(ctx)))
        return super().resolve_command(ctx, args)


def _plugins() -> "dict[str, EntryPoint]":
    from importlib.metadata import entry_points  # a tenth of what show takes; our own commands do without

    return {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}


def _load(plugin: "EntryPoint") -> click.Command:
    """A plug-in's command; one broken plug-in must not take the others, or ``--help``, with it."""
    try:
        command = plugin.load()
    except Exception as error:  # noqa: BLE001 - whatever a foreign package does at import
        return _broken(plugin, f"{type(error).__name__}: {error}")
    if not isinstance(command, click.Command):
        return _broken(plugin, f"it is a {type(command).__name__}, expected a click command")
    return command


def _broken(plugin: "EntryPoint", problem: str) -> click.Command:
    def fail() -> None:
        raise UsageError(f"the command {plugin.name!r} can't be loaded from {plugin.value}: {problem}")

    return click.Command(
        plugin.name,
        callback=fail,
        help=f"Can't be loaded from {plugin.value}.",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
