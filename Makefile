# The same words for people and for CI: venv, demo, test, test-faults, soak, test-oldest, test-pythons, test-rays, test-mlflows, test-docker, bench, bench-smoke, check, format,
# ui, ui-dev, clean.
# Needs Python 3.11, git and make. Another Python: make PYTHON=/path/to/python3

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export VENV

# Neither Ray nor MLflow calls home from a build.
export RAY_USAGE_STATS_ENABLED := 0
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true

SHELL_SCRIPTS := $(filter-out %.py,$(wildcard .ci/*))

.PHONY: venv demo test test-faults soak test-oldest test-pythons test-rays test-mlflows test-docker bench bench-smoke check format ui ui-dev clean

venv: $(VENV)/run.stamp

$(BIN)/python:
	@.ci/make-venv "$(PYTHON)" "$(VENV)"

# What it takes to run the examples and to browse them in MLflow.
$(VENV)/run.stamp: setup.cfg setup.py | $(BIN)/python
	@echo "Installing into $(VENV)" >&2
	@.ci/install "$(VENV)" mlflow,examples
	@touch $@

# The same and what developers need; with it, the smaller set is there too.
$(VENV)/dev.stamp: setup.cfg setup.py | $(BIN)/python
	@echo "Installing into $(VENV), with what tests and checks need" >&2
	@.ci/install "$(VENV)" mlflow,examples,dev
	@touch $(VENV)/run.stamp $@

# The same and what measurements need.
$(VENV)/bench.stamp: setup.cfg setup.py | $(BIN)/python
	@echo "Installing into $(VENV), with what tests, checks and measurements need" >&2
	@.ci/install "$(VENV)" mlflow,examples,dev,bench
	@touch $(VENV)/run.stamp $(VENV)/dev.stamp $@

demo:
	@.ci/demo

test: $(VENV)/dev.stamp
	@.ci/need-chromium
	@.ci/need-namespaces
	@.ci/need-postgresql
	@.ci/need-r
	@.ci/test $(PYTEST_ARGS)

test-faults: $(VENV)/dev.stamp
	@.ci/need-chromium
	@.ci/need-namespaces
	@.ci/test tests/faults tests/cluster tests/contracts $(PYTEST_ARGS)

soak: $(VENV)/dev.stamp # what repeats itself, many times: hours
	@.ci/need-namespaces
	SOAK=1 $(BIN)/python -m pytest -m soak --timeout 3600 $(PYTEST_ARGS)

test-oldest: # with the oldest releases that setup.cfg admits; minutes
	@.ci/test-oldest $(PYTEST_ARGS)

test-pythons: # on Python 3.11 to 3.14, as far as they can be had; an hour. Some: make test-pythons PYTHONS="3.13 3.14"
	@.ci/test-pythons $(PYTHONS)

test-rays: # all minor versions of Ray that setup.cfg allows: hours; some: make test-rays RAYS="2.40.0 2.54.0"
	@.ci/test-rays $(RAYS)

test-mlflows: $(VENV)/dev.stamp # old MLflow servers and clients: half an hour; some: make test-mlflows MLFLOWS="--servers 3.8.1 --clients"
	$(BIN)/python -m tests.bridge.releases $(MLFLOWS)

test-docker: # the images, where there is a Docker engine; minutes
	@.ci/test-docker

bench: $(VENV)/bench.stamp # all groups: hours; some: make bench BENCH_ARGS="notebooks latency"
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

bench-smoke: $(VENV)/bench.stamp # that every comparison works, in a minute or two
	$(BIN)/python -m benchmarks --short $(BENCH_ARGS)

check: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck $(SHELL_SCRIPTS)
	$(BIN)/hadolint docker/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker/compose.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

ui: $(VENV)/run.stamp
	@$(BIN)/pynb-dag-runner ui

ui-dev: $(VENV)/dev.stamp
	@.ci/need-chromium
	@$(BIN)/python ui-dev/start.py

clean: # the environment and the tools' caches; run folders and the MLflow store stay
	rm -rf $(VENV) .oldest .pythons build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
