# Everything a developer or a new user runs. The first target prints the list.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE =

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.run: requirements/run.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what Gristmill needs (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	@echo "Installing what the tests need (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(VENV)/.run ## set up, ingest examples/ and answer three questions
	@$(BIN)/python scripts/demo.py

check: $(VENV)/.dev ## formatting, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## check, then every test; those against the clock by themselves
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m "not alone"
	$(BIN)/python -m pytest -m alone

# What Gristmill is compared with has an environment of its own; where that cannot be made, its row is left empty.
.venv-bench/.done: requirements/bench.txt
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $< \
		&& touch $@ || echo "What bench compares with was not installed; its row says so."

bench: $(VENV)/.dev .venv-bench/.done ## measure speed and answers; writes bench/results/
	$(BIN)/python -m bench.run

soak: $(VENV)/.dev ## the slow, long versions of the tests
	GRISTMILL_TEST_SOAK=1 $(BIN)/python -m pytest -s -o faulthandler_timeout=0 tests/acceptance tests/contract/test_sqlite_batches.py tests/contract/test_postgres_batches.py tests/contract/test_qdrant_batches.py tests/contract/test_failover_servers.py tests/contract/test_failover_sqlite.py tests/integration/test_engine_machine.py tests/integration/test_stores_copy_around.py tests/integration/test_stores_copy_killed.py tests/integration/test_failover_simulation.py

mutants: $(VENV)/.dev ## plant defects in the adapters and in failover; each must turn its suite red
	$(BIN)/python -m tests.mutants.run

revision: $(VENV)/.dev ## write the next step of the schema from the tables: make revision NAME=what_it_does
	$(BIN)/python scripts/make_revision.py "$(NAME)"

fix: $(VENV)/.dev ## format and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: help demo check test bench soak mutants revision fix
.DEFAULT_GOAL := help
