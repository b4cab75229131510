# Everything sets itself up: a virtual environment in .venv, with the locked and hashed dependencies.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q

.DEFAULT_GOAL := help

help:  ## show the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Name another with make PYTHON=…" if sys.version_info < (3, 11) else 0)'
	@echo "making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }  # half of one would be taken for whole

$(VENV)/.run: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing the locked dependencies"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: tests/requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing the locked dependencies for tests and tools (a minute the first time)"
	@$(PIP) install --require-hashes -r tests/requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run  ## simulator and gateway on loopback, with a ready curl line; Ctrl-C ends it
	@$(BIN)/aicore-gateway demo

run: $(VENV)/.run  ## the gateway with your config.json, or with CONFIG=file
	@$(BIN)/aicore-gateway serve $(if $(CONFIG),--config $(CONFIG))

test: $(VENV)/.dev  ## every test, end-to-end ones included; every branch of the translation
	@folder=$$(mktemp -d) && { $(BIN)/python -m pytest -n 3 --dist loadfile --basetemp=$$folder --cov=services.translation --cov-branch --cov-fail-under=100 --cov-report=term-missing:skip-covered; status=$$?; rm -rf $$folder; exit $$status; }

check: $(VENV)/.dev  ## format, lint, strict types, import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@PYTHONPATH=. $(BIN)/lint-imports --no-cache

format: $(VENV)/.dev  ## put the code into the project's form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.dev  ## the scenarios of the performance budget, against nginx and bare Sanic in the same run
	@$(BIN)/python -m perf.bench --readme

chaos: $(VENV)/.dev  ## ten minutes of faults, kills and restarts: every answer right, or an honest error
	@$(BIN)/python -m perf.chaos --output-dir results --readme

soak: $(VENV)/.dev  ## half an hour of steady load: is the memory of each worker flat?
	@$(BIN)/python -m perf.soak --output-dir results --readme

faults: $(VENV)/.dev  ## sixteen faults of the upstream on every surface, judged; the table goes into the README
	@$(BIN)/python -m perf.faults --readme

compose-test:  ## docker compose for real: TLS, streams, scaling, a restart under load
	@bash tests/compose/run.sh

client-test: $(VENV)/.dev  ## Claude Code and Codex CLI from the npm registry, headless against the simulator
	@CLIENT_TEST=1 $(BIN)/python -m pytest -s tests/clients

lock: $(VENV)/.dev  ## lock the dependencies again, with hashes
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --extra redis pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --extra redis --extra perf --group dev pyproject.toml -o tests/requirements.lock

clean:  ## remove what the targets made
	@rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis results

.PHONY: help demo run test check format bench faults chaos soak compose-test client-test lock clean
