"""Which kernelspec a notebook runs in."""

import sys
from collections.abc import Mapping
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from traitlets import List, Unicode

from pynb_dag_runner.work.kernels.provisioner import NAME

OWN = "python3"
"""Name under which the runner's own interpreter is offered, as every Jupyter installation does."""


class KernelSpecs(KernelSpecManager):
    """The installed kernelspecs, where ``python3`` always means the interpreter that runs this code.

    An installed ``python3`` may belong to any interpreter (papermill issue 638), and need not be installed at all.

    Attributes:
        fork_sockets: of fork servers to ask for a process of this interpreter.
    """

    fork_sockets = List(Unicode())

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The kernelspec called ``kernel_name``; raises NoSuchKernel."""
        if kernel_name != OWN:
            return super().get_kernel_spec(kernel_name)
        command = [sys.executable, "-m", "pynb_dag_runner.work.kernels.main", "-f", "{connection_file}"]
        provisioner = {"provisioner_name": NAME, "config": {"sockets": self.fork_sockets}}
        metadata = {"debugger": True, "kernel_provisioner": provisioner}
        return KernelSpec(argv=command, display_name="Python 3 (ipykernel)", language="python", metadata=metadata)


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
    command = KernelSpecs().get_kernel_spec(name).argv[:1]
    # jupyter_client takes these names for its own interpreter.
    generic = {"python", f"python{sys.version_info.major}", "python{}.{}".format(*sys.version_info[:2])}
    return command in ([sys.executable], *([program] for program in generic))


def language_of(name: str) -> str:
    """The language of an installed kernelspec, in lower case."""
    return str(KernelSpecs().get_kernel_spec(name).language).lower()


def _installed(name: str) -> bool:
    try:
        KernelSpecs().get_kernel_spec(name)
    except NoSuchKernel:
        return False
    return True


def _names() -> str:
    return ", ".join(repr(name) for name in sorted({OWN, *KernelSpecs().find_kernel_specs()}))
