"""What runs in the worker of a private Ray: one call after another, as the driver sends them over a socket."""

import socket
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from pynb_dag_runner.executors.base import JobEnded, JobKept
from pynb_dag_runner.executors.hosts.supervisor import Host
from pynb_dag_runner.executors.on_ray.relay import Request, made, warm_up
from pynb_dag_runner.processes.private_directory import is_same_user


def serve(address: str, token: bytes, inputs: list[Any], new_host: Callable[[], Host]) -> Iterator[object]:
    """In the worker of a private Ray: make one call after another for the driver, until that closes the connection.

    What calls say goes over the connection; what this yields are the values to keep, each after which follows the word
    of it there. For each call the last word is :class:`JobEnded`.

    Args:
        address: path of the driver's socket.
        token: tells the driver which lane this is.
        inputs: in Ray's store, for the first call.
        new_host: makes a process for calls.
    """
    import ray

    with socket.socket(socket.AF_UNIX) as connecting:
        connecting.connect(address)
        if not is_same_user(connecting):
            raise PermissionError(f"{address}: another user listens there")
        driver = Connection(connecting.detach())
    with driver:
        driver.send_bytes(token)
        warm_up(new_host)  # while the driver makes up its mind
        values = [ray.get(reference) for reference in inputs]
        while True:
            try:
                request: Request = driver.recv()
            except (EOFError, ConnectionError):
                return
            ended = JobEnded(key=request.key)
            messages = made(request, request.imports, values, new_host)
            for message in messages:
                if isinstance(message, JobEnded):
                    ended = message
                    continue
                if isinstance(message, JobKept):
                    yield next(messages)
                driver.send(message)
            values = []
            driver.send(ended)
