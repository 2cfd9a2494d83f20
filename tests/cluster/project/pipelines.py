"""Pipelines for a cluster with the resources ``left`` and ``right`` on one node each."""

import ctypes
import os
import socket
import subprocess
import time
from pathlib import Path

from shapes.squares import Square

from pynb_dag_runner import Pipeline, pipeline, tracking


def make_square(side: int) -> Square:
    print("made on", socket.gethostname())
    return Square(side)


def measure(square: Square, host: str) -> dict[str, object]:
    return {"area": square.area, "notebook": host, "here": socket.gethostname()}


@pipeline
def travel(p: Pipeline, name: str = "you"):
    where = p.notebook("notebooks/where.py", parameters={"name": name}, resources={"right": 1})
    square = p.function(make_square, parameters={"side": 7}, resources={"right": 1}, after=where)
    p.function(measure, parameters={"square": square.output(), "host": where.output("host")}, resources={"left": 1})


def log_large_file(megabytes: int) -> None:
    path = Path("/tmp/large.bin")
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1 << 20))
    tracking.log_artifact(path)
    path.unlink()


@pipeline
def large(p: Pipeline, megabytes: int = 1):
    p.function(log_large_file, parameters={"megabytes": megabytes}, resources={"right": 1})


def hold_the_lock() -> None:
    tracking.log_metric("before", 1)
    print("holding", flush=True)
    machine = "PYNB_TEST_MACHINE"  # by which the test finds it, and nobody else
    subprocess.Popen(["env", "-i", f"{machine}={os.environ[machine]}", "setsid", "sleep", "4321"])
    ctypes.PyDLL(None).sleep(4321)


@pipeline
def stuck(p: Pipeline):
    p.function(hold_the_lock, timeout_s=1, resources={"right": 1})
    p.notebook("notebooks/stuck.py", timeout_s=8, resources={"left": 1})


def sleep_long() -> None:
    machine = "PYNB_TEST_MACHINE"  # by which the test finds it, and nobody else
    subprocess.Popen(["env", "-i", f"{machine}={os.environ[machine]}", "setsid", "sleep", "4321"])
    tracking.log_text("started", "started.txt")
    print("sleeping", flush=True)
    time.sleep(4321)


@pipeline
def endless(p: Pipeline):
    p.function(sleep_long, resources={"right": 1})
    p.notebook("notebooks/stuck.py", resources={"left": 1})


@pipeline
def too_much(p: Pipeline):
    p.function(make_square, parameters={"side": 1}, num_cpus=2)
    p.function(make_square, name="fpga", parameters={"side": 1}, resources={"fpga": 1})


def sleep_where_allowed(until: str) -> str:
    while not Path(until).exists():
        time.sleep(0.1)
    return socket.gethostname()


@pipeline
def survive(p: Pipeline, tasks: int = 2):
    for number in range(tasks):
        p.function(
            sleep_where_allowed, name=f"task-{number}", parameters={"until": "/tmp/allowed"}, retries=2, retry_delay_s=1
        )
