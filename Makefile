# `make help` lists what there is. Everything sets up what it needs; nothing else has to be done before.
.DEFAULT_GOAL := help
.PHONY: help setup build demo test test-python test-rust interop check page bench microbench profile fuzz sanitize fmt clean
SHELL := /bin/bash -o pipefail
PYTHON ?= python3
BIN := .venv/bin
RUST_SOURCES := $(shell find crates bench -name '*.rs' -o -name '*.toml' 2>/dev/null | grep -v /target/)
FUZZ_SECONDS ?= 60

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: .venv/.installed ## Make the virtual environment from the lock file

.venv/.installed: requirements-dev.lock
	@scripts/check_machine.sh $(PYTHON)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing the locked Python packages (a minute on a new machine)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

build: .venv/.built ## Build the engine and install the package into .venv

.venv/.built: .venv/.installed Cargo.toml Cargo.lock pyproject.toml python/meltemi/xds/descriptors.binpb $(RUST_SOURCES)
	@echo "building the engine with link-time optimization (some minutes the first time)"
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation --editable .
	@touch $@

demo: build ## Run the guided tours: Thrift, Dubbo, calls without a sidecar, and lanes
	@$(BIN)/meltemi demo thrift
	@$(BIN)/meltemi demo dubbo
	@$(BIN)/meltemi demo proxyless
	@$(BIN)/meltemi demo bookinfo

test: test-rust test-python ## Run all tests

test-rust: ## Run the tests of the crates
	cargo test --locked --workspace --quiet

test-python: build ## Run the Python and end-to-end tests
	@scripts/install_browser.sh
	$(BIN)/python -m pytest

interop: build ## Test against Envoy, istiod and Kitex (need Go), Apache Dubbo (a JDK and Maven), PyPI's clients
	tests/interop/dubbo/build.sh .cache/interop-dubbo
	tests/interop/kitex/build.sh .cache/interop-kitex
	tests/interop/istiod/build.sh .cache/interop-istiod
	$(BIN)/python -m pytest --peers

check: build ## Check format, lint, types, imports, crate edges, licences and sources
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	scripts/check_types.sh
	$(BIN)/python -m mypy.stubtest meltemi._engine
	$(BIN)/lint-imports --no-cache
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
	$(BIN)/python scripts/check_crates.py
	$(BIN)/python scripts/check_licences.py
	$(BIN)/python scripts/descriptors.py --check
	$(BIN)/python scripts/page.py --check

page: setup ## Build and test the page of Bookinfo (needs Node 20; the built files are committed)
	$(BIN)/python scripts/page.py

bench: build ## Compare with a direct connection and with Envoy (QUICK=1: one point)
	cargo build --locked --release --quiet -p meltemi-bench
	$(BIN)/python bench/run.py $(if $(QUICK),--quick) $(if $(NOISY),--noisy)

microbench: ## Measure codecs, route index, resources, balancer and the choice of a call by themselves
	cargo bench --locked --quiet -p meltemi-codec -p meltemi-routing -p meltemi-resources -p meltemi-balancer -p meltemi-proxyless --benches

profile: build ## Draw a flame graph of the engine under load (ARGS="--pool --point 16x16x32")
	cargo build --locked --release --quiet -p meltemi-bench
	$(BIN)/python bench/flame_graph.py $(ARGS)

fuzz: setup ## Run each fuzz target for FUZZ_SECONDS (default 60) and keep its corpus
	scripts/fuzz.sh $(FUZZ_SECONDS)

sanitize: ## Run the engine's tests under the address and the thread sanitizer (needs nightly)
	scripts/sanitize.sh

fmt: setup ## Format everything
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix --quiet .
	cargo fmt --all

clean: ## Remove what was built
	rm -rf target .venv .cache page/node_modules page/screenshots bench/results.json bench/results.txt \
		bench/profile.svg bench/profile.txt
