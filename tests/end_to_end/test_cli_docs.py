"""``docs/cli.md`` and the project's templates say what the command line really has."""

import re
from pathlib import Path

import click
import pytest

from pynb_dag_runner.cli import pynb_dag_runner

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")


def commands() -> list[tuple[str, click.Command]]:
    context = click.Context(pynb_dag_runner)
    names = pynb_dag_runner.list_commands(context)
    return [(name, command) for name in names if (command := pynb_dag_runner.get_command(context, name))]


def options() -> list[tuple[str, str]]:
    return [
        (name, flag)
        for name, command in commands()
        for option in command.params
        if isinstance(option, click.Option)
        for flag in (*option.opts, *option.secondary_opts)
    ]


def section(command: str) -> str:
    """The text below a command's heading."""
    found = re.search(rf"^## `{command}\b.*?(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/cli.md has no section for {command}"
    return found.group()


@pytest.mark.parametrize("command", [name for name, _ in commands()])
def test_every_command_is_in_the_table_and_has_a_section(command: str) -> None:
    assert re.search(rf"^\| \[?`{command}\b", PAGE, re.MULTILINE)
    assert section(command)


@pytest.mark.parametrize(("command", "option"), options())
def test_every_option_is_documented_with_its_command(command: str, option: str) -> None:
    assert re.search(rf"`{option}[ `]", section(command))


def test_no_option_is_documented_that_does_not_exist() -> None:
    for name, command in commands():
        known = {flag for option in command.params for flag in option.opts} | {"--help", "-h"}
        written = set(re.findall(r"^\| `(-[\w-]+)", section(name), re.MULTILINE))
        assert written <= known


@pytest.mark.parametrize(("name", "command"), commands())
def test_every_command_and_option_has_help(name: str, command: click.Command) -> None:
    assert command.help
    assert [option.name for option in command.params if isinstance(option, click.Option) and not option.help] == []
