# %% tags=["parameters"]
name = ""
# %%
import socket

import beside

from pynb_dag_runner import tracking

print(beside.greeting(name))
tracking.set_output("host", socket.gethostname())
tracking.log_metric("length", len(name))
tracking.log_text(beside.greeting(name), "texts/greeting.txt")
