"""The installed kernelspecs, and the one of this very interpreter."""

import sys

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from traitlets import Bool, Unicode

from pynb_dag_runner.notebooks.kernel_names import OWN, PROVISIONER


class KernelSpecs(KernelSpecManager):
    """The installed kernelspecs, where ``python3`` always means the interpreter that runs this code.

    An installed ``python3`` may belong to any interpreter (papermill issue 638), and need not be installed at all.

    Attributes:
        fork_socket: of the fork server to ask for a process of this interpreter; empty: there is none.
        fork_preloaded: the process is to have the server's preload.
    """

    fork_socket = Unicode()
    fork_preloaded = Bool()

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The kernelspec called ``kernel_name``; raises NoSuchKernel."""
        if kernel_name != OWN:
            return super().get_kernel_spec(kernel_name)
        command = [sys.executable, "-m", "pynb_dag_runner.worker.kernels.main", "-f", "{connection_file}"]
        provisioner = {
            "provisioner_name": PROVISIONER,
            "config": {"socket": self.fork_socket, "preload": self.fork_preloaded},
        }
        metadata = {"debugger": True, "kernel_provisioner": provisioner}
        return KernelSpec(argv=command, display_name="Python 3 (ipykernel)", language="python", metadata=metadata)
