# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Clean
#
# Leave out the days without a reading. Here things go wrong when `fault` says so.

# %%
import time

from pynb_dag_runner import tracking

# %% tags=["parameters"]
days: list[int] = [1, 2, 3, 4]
celsius: list[float | None] = [-2.5, None, -1.0, 0.5]
fault: str = "none"  # "raise": every attempt fails; "hang": it never ends

# %%
known = [(day, value) for day, value in zip(days, celsius, strict=True) if value is not None]
print(f"{len(days) - len(known)} of {len(days)} readings are missing")
tracking.log_metrics({"readings": len(known), "missing": len(days) - len(known)})


# %%
def check(values: list[float], allowed: range) -> None:
    """Fail when a value can't be a temperature of this place."""
    for position, value in enumerate(values):
        if not allowed.start <= value <= allowed.stop:
            raise ValueError(f"reading {position} is {value} °C, expected {allowed.start} to {allowed.stop}")


readings = [value for _, value in known]
if fault == "raise":
    readings[7] = 451.0
if fault == "hang":
    print("waiting for the weather station", flush=True)
    time.sleep(3600)
check(readings, range(-40, 50))

# %%
tracking.set_output("days", [day for day, _ in known])
tracking.set_output("celsius", readings)
