"""What a kernel process of the runner's own interpreter runs: an ordinary IPython kernel that dies with its starter.

A kernel leads a session of its own, so nothing ends it when its starter is killed; ipykernel's own watch is a Python
thread, which a cell that holds the GIL keeps from running. The system's PR_SET_PDEATHSIG needs neither.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""


def main() -> None:
    """Start the kernel; arguments are ipykernel's own."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if str(os.getppid()) != os.environ.get("JPY_PARENT_PID", str(os.getppid())):
            os._exit(1)  # the starter died before the line above
    # Ray blocks SIGINT in its workers, and children inherit the mask: without this no cell could be interrupted.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    from pynb_dag_runner.work.kernels import sending

    # What child processes print goes to the log. ipykernel would send it to the notebook, but from a thread of its own:
    # what is still on its way when the cell ends is lost.
    options = [
        "--HistoryManager.hist_file=:memory:",
        "--IPKernelApp.capture_fd_output=False",
        f"--IPKernelApp.outstream_class={sending.__name__}.PiecewiseStream",
    ]
    sending.SendingKernelApp.launch_instance([*options, *sys.argv[1:]])


if __name__ == "__main__":
    main()
