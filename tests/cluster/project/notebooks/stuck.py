# %%
import subprocess
import time

subprocess.Popen(["setsid", "sleep", "4321"])
print("before", flush=True)
# %%
time.sleep(4321)
