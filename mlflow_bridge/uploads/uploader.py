"""Who made an MLflow run: a process, told by host, number and start. An incomplete run of a dead one can be removed."""

import os
import socket
import uuid

import psutil


def new_uploader() -> str:
    """A name for an upload of this process; no two uploads get the same."""
    return f"{socket.gethostname()}/{os.getpid()}/{psutil.Process().create_time():.2f}/{uuid.uuid4().hex}"


def has_ended(uploader: str) -> bool:
    """Whether the process that made an upload is gone for sure; of other hosts nothing is known."""
    parts = uploader.split("/")
    if len(parts) != 4 or parts[0] != socket.gethostname() or not parts[1].isdecimal():
        return False
    try:
        process = psutil.Process(int(parts[1]))
        is_another = f"{process.create_time():.2f}" != parts[2]
        return is_another or process.status() == psutil.STATUS_ZOMBIE  # for ever, where nobody asks how it ended
    except (psutil.NoSuchProcess, OverflowError):
        return True
    except psutil.AccessDenied:
        return False
