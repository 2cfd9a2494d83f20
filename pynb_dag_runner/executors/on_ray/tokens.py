"""Which token a Ray has that is started or joined here, and that it stays with that one.

Ray reads from the environment whether there is a token, and which: when it is imported, and again if its internals can
be told to. So the variables are set before the import.
"""

import contextlib
import os
import secrets
import sys
from pathlib import Path

from pynb_dag_runner.errors import ExecutorError
from pynb_dag_runner.executors.on_ray.internals import RayPrivate
from pynb_dag_runner.processes.environment import set_variables

_MODE, _TOKEN, _PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_FILE = Path("~/.ray/auth_token")
_HOW = f"put it into {_TOKEN}, into a file named by {_PATH}, or into {_FILE}"

_remembered: dict[str, str] = {}
"""The variables with which this process's Ray was imported, if it can't be told to read others."""


class Tokens:
    """The environment's variables as long as one Ray is used. Give them back when it has been left."""

    def __init__(self) -> None:
        self._private: RayPrivate | None = None
        self._is_imported = "ray" in sys.modules
        self._before = {name: os.environ.get(name) for name in (_MODE, _TOKEN, _PATH)}

    def make_one(self) -> None:
        """For a private Ray: a token of its own, whatever the user has; Ray would write a lasting one to the home."""
        os.environ.update(_remembered or {_MODE: "token", _TOKEN: secrets.token_hex(32)})

    def use_rays_own(self) -> None:
        """For a cluster: what Ray itself takes for the address ``auto``. It looks for no token with any other one.

        Raises:
            ExecutorError: Ray would find no token there that can be sent, and abort its process with a stack of C++.
        """
        if _MODE not in os.environ and self._place is not None:
            os.environ[_MODE] = "token"
        if os.environ.get(_MODE, "").lower() == "token" and (problem := self._problem) is not None:
            self.give_back()
            raise ExecutorError(problem)

    def have_read(self, private: RayPrivate) -> None:
        """Have Ray, which is imported now, read the variables, and again when they are given back."""
        self._private = private
        if private.read_token_again():
            return
        if self._is_imported and not _remembered:
            self._restore()
            private.miss("way to hand a token to a Ray that was imported before", "this run's Ray asks nobody for one")
        else:
            _remembered.update({name: os.environ[name] for name in self._before if name in os.environ})
            private.miss("way to hand another token to Ray", "a cluster may refuse this process from now on")

    def give_back(self) -> None:
        """The variables are again as they were."""
        self._restore()
        if self._private is not None:
            self._private.read_token_again()

    def _restore(self) -> None:
        set_variables(self._before)

    @property
    def refusal(self) -> str:
        """Words for a cluster that does not take the token; the subject is the cluster."""
        if os.environ.get(_MODE, "").lower() != "token" and _MODE in os.environ:
            return f"asks for a token, and {_MODE}={os.environ[_MODE]} sends none"
        if self._place is None:
            return f"asks for a token, and there is none here: {_HOW}"
        return f"does not accept the token in {self._place}"

    @property
    def _place(self) -> str | None:
        """Where Ray finds a token, in its order; None: nowhere."""
        if os.environ.get(_TOKEN):
            return _TOKEN
        named = os.environ.get(_PATH)
        if named:
            return f"{named} ({_PATH})"
        with contextlib.suppress(OSError, RuntimeError):  # unreadable; no home
            if _FILE.expanduser().read_text().strip():
                return str(_FILE)
        return None

    @property
    def _problem(self) -> str | None:
        """Why the token that Ray would take can't be sent; None: it can."""
        place = self._place
        if place is None:
            return f"{_MODE}=token, but there is no token here: {_HOW}"
        try:
            given = os.environ.get(_TOKEN)
            named = Path(os.environ.get(_PATH) or _FILE.expanduser())
            token = (os.fsencode(given) if given else named.read_bytes()).strip()
        except OSError as error:
            return f"the token in {place} can't be read: {error.strerror}"
        if not token:
            return f"the token in {place} is empty"
        return None if token.isascii() and token.decode().isprintable() else f"{place} holds no token, but other bytes"
