# %%
import os
import subprocess
import time

machine = "PYNB_TEST_MACHINE"  # by which the test finds it, and nobody else
subprocess.Popen(["env", "-i", f"{machine}={os.environ[machine]}", "setsid", "sleep", "4321"])
print("before", flush=True)
# %%
time.sleep(4321)
