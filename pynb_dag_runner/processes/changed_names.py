"""What the files ``*_internals.py`` share: whether a library has a private name as we know it, and what is said if not.

Where it has not, the caller does without the trick, in the library's public way, and notes a line. Whoever has a log
writes the lines into it: a worker into that of its attempt, a kernel to its standard error, which is the same file.
"""

import inspect

_lines: dict[str, None] = {}


def problem_of(owner: object, name: str, *parameters: str, awaited: bool = False) -> str | None:
    """Why a function can't be called, or overridden, as we know it; None: it can.

    Args:
        owner: the module or class that has it.
        parameters: their names, in order, ``self`` with them. A function in C that does not tell them
            is taken for the known one.
        awaited: it is a coroutine function.
    """
    called = f"{getattr(owner, '__name__', type(owner).__name__)}.{name}"
    found = getattr(owner, name, None)
    if found is None:
        return f"it has no {called}"
    if not callable(found):
        return f"{called} is no function"
    try:
        has = tuple(inspect.signature(found).parameters)
    except ValueError:
        has = parameters
    if has != parameters:
        return f"{called} takes ({', '.join(has)}), not ({', '.join(parameters)})"
    if inspect.iscoroutinefunction(found) != awaited:
        return f"{called} is {'no' if awaited else 'a'} coroutine function"
    return None


def note(library: str, problem: str, instead: str) -> None:
    """Keep a line for the log; the same one once.

    Args:
        library: name of its distribution, or ``Python``.
        problem: a clause, such as :func:`problem_of` gives.
        instead: a clause on what happens now.
    """
    from importlib.metadata import PackageNotFoundError, version  # most processes have nothing to note

    try:
        release = f" {version(library)}"
    except PackageNotFoundError:
        release = ""
    _lines[f"{library}{release} differs from the releases that were tried: {problem}; {instead}"] = None


def notes() -> tuple[str, ...]:
    """The lines that were noted in this process, and in those that it was forked from."""
    return tuple(_lines)
