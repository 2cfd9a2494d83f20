"""One attempt, inside a worker; knows neither Ray nor the plan."""
