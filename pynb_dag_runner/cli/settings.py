"""Options of commands that derive from declared settings: their names, types, defaults and help."""

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click

from pynb_dag_runner.model.declarations import Declared, Number, declared
from pynb_dag_runner.model.run_settings import RunChoices, RunSettings

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Settings = TypeVar("_Settings")


def setting_options(kind: type, *, left_open: Collection[str] = ()) -> Callable[[_Function], _Function]:
    """An option for each setting that ``kind`` declares. The command gets their values as keyword arguments.

    Args:
        left_open: settings that are None if they are not given, whatever their default.
    """

    def decorate(command: _Function) -> _Function:
        for name, setting in reversed(list(declared(kind).items())):
            command = _option(setting, is_open=name in left_open)(command)
        return command

    return decorate


def flag_of(name: str) -> str:
    """The command line's name for a setting."""
    return declared(RunChoices)[name].flag


def refuse_problems(settings: RunSettings) -> None:
    """Raise a usage error for the first thing that is wrong with the settings."""
    if problems := settings.problems(flag_of):
        raise click.UsageError(problems[0])


def values_of(kind: type[_Settings], options: Mapping[str, Any]) -> _Settings:
    """An instance of a class of settings, of a command's keyword arguments; what is None keeps its default."""
    return kind(**{name: options[name] for name in declared(kind) if options.get(name) is not None})


def _option(setting: Declared, *, is_open: bool) -> Callable[[_Function], _Function]:
    details = _details(setting)
    flag = setting.flag
    if setting.type is bool and (is_open or setting.default):
        flag += f"/--no-{flag.removeprefix('--')}"
    elif setting.type is bool:
        details["is_flag"] = True
    default = None if is_open else setting.default
    said = f"{setting.help[0].upper()}{setting.help[1:]}.".replace("`", "")
    repeatable = " Repeatable." if "multiple" in details else ""
    return click.option(flag, setting.name, default=default, help=said + repeatable, **details)


def _details(setting: Declared) -> dict[str, Any]:
    """What click wants to know of a setting's type."""
    if setting.type is bool:
        return {}
    if get_origin(setting.type) is Literal:
        return {"type": click.Choice(get_args(setting.type))}
    metavar = setting.metavar or setting.type.__name__.upper()
    if isinstance(setting.rule, Number):
        return {"type": _range(setting.rule), "callback": no_nan, "metavar": metavar}
    if setting.type is str:
        return {"metavar": metavar}
    if setting.default == ():
        return {"multiple": True, "metavar": metavar}
    return {"type": click.Path(path_type=Path), "show_default": True, "metavar": metavar}


def _range(rule: Number) -> click.IntRange | click.FloatRange:
    least = rule.least if rule.above is None else rule.above
    if rule.is_whole:
        return click.IntRange(min=int(least), max=None if rule.most is None else int(rule.most))
    return click.FloatRange(min=least, min_open=rule.above is not None, max=rule.most)


def no_nan(context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """Refuse "nan", which is in every range that click knows."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("got nan, expected a number", context, option)
    return value
