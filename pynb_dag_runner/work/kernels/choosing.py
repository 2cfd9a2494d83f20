"""Which kernelspec a notebook runs in."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pynb_dag_runner.work.kernels import OWN

if TYPE_CHECKING:
    from pynb_dag_runner.work.kernels.specs import KernelSpecs


def choose(wanted: str | None, metadata: Mapping[str, Any]) -> str:
    """Name of the kernelspec to run a notebook in.

    Args:
        wanted: what the task's ``kernel`` option says.
        metadata: the notebook's metadata. The kernelspec that it names counts if it is installed. One that is not is
            no obstacle for a Python notebook: it carries the name of an environment on its author's machine.

    Raises:
        LookupError: with a sentence, when there is no kernel for the notebook.
    """
    if wanted is not None:
        if not _installed(wanted):
            raise LookupError(f"there is no kernelspec {wanted!r}; installed are {_names()}")
        return wanted
    kernelspec = metadata.get("kernelspec") or {}
    name = kernelspec.get("name")
    if not name or name == OWN:
        return OWN
    if _installed(name):
        return str(name)
    language = str(kernelspec.get("language") or (metadata.get("language_info") or {}).get("name") or "python").lower()
    if language == "python":
        return OWN
    raise LookupError(f"it needs the kernelspec {name!r} (language {language}); installed are {_names()}")


def is_own(name: str) -> bool:
    """Whether an installed kernelspec starts the interpreter that runs this code, under whatever name."""
    if name == OWN:
        return True
    command = _specs().get_kernel_spec(name).argv[:1]
    # jupyter_client takes these names for its own interpreter.
    generic = {"python", f"python{sys.version_info.major}", "python{}.{}".format(*sys.version_info[:2])}
    return command in ([sys.executable], *([program] for program in generic))


def language_of(name: str) -> str:
    """The language of an installed kernelspec, in lower case."""
    return "python" if name == OWN else str(_specs().get_kernel_spec(name).language).lower()


def _specs() -> "KernelSpecs":
    # With jupyter_client, which takes a tenth of a second to import; most notebooks run in our own interpreter.
    from pynb_dag_runner.work.kernels.specs import KernelSpecs

    return KernelSpecs()


def _installed(name: str) -> bool:
    if name == OWN:
        return True
    specs = _specs()
    from jupyter_client.kernelspec import NoSuchKernel

    try:
        specs.get_kernel_spec(name)
    except NoSuchKernel:
        return False
    return True


def _names() -> str:
    return ", ".join(repr(name) for name in sorted({OWN, *_specs().find_kernel_specs()}))
