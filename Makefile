# Every habit is a target. `make help` lists them.

CARGO    ?= cargo
PROFILE  ?= quick
DATA_DIR ?= varve-data
ARGS     ?=
# Build output may live elsewhere (CI keeps it beside the checkout).
TARGET   := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

setup: ## Install what the build needs (Debian packages)
	@sh tests/setup.sh

run: setup ## Build quickly and start `varve standalone` on ./varve-data
	$(CARGO) build --locked --profile $(PROFILE) --workspace --bin varve
	exec $(TARGET)/$(PROFILE)/varve standalone --data-dir $(DATA_DIR) $(ARGS)

build: setup ## Build the release binary target/release/varve
	$(CARGO) build --locked --release --workspace --bin varve --bin varve-rig

test: ## All tests, with the servers and clients they drive; under 25 minutes on 2 cores from nothing
	@TEST_TOOLS=1 CLIENTS=$(TARGET)/clients sh tests/setup.sh
	VARVE_PYTHON=$$(command -v $(abspath $(TARGET))/clients/bin/python) $(CARGO) test --locked --workspace

check: fmt lint tidy ## The inner loop: format, lint, rules, unit tests
	$(CARGO) test --locked --workspace --lib

fmt: ## Check the format
	$(CARGO) fmt --all --check

lint: ## Clippy, warnings are errors
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

tidy: ## The house rules: layers, sizes, bans, frozen fixtures
	$(CARGO) run --locked -q -p varve-tidy

freeze: ## Add the hashes of new fixtures to tests/compat/frozen.toml
	$(CARGO) run --locked -q -p varve-tidy freeze

stats: ## Lines per package, sizes of files
	$(CARGO) run --locked -q -p varve-tidy stats

# `--workspace` everywhere: another selection of packages is another set of features, and rebuilds DataFusion.
it: ## Integration tests: the roles together, over both adapters
	$(CARGO) test --locked --workspace --test it

cases: ## The SQL cases of tests/cases, in every mode
	$(CARGO) test --locked --workspace --test it -- cases

sim: ## Simulation: SEEDS=40 seeds
	$(CARGO) test --locked --workspace --test sim -- --nocapture

sim-one: ## Replay one seed: VARVE_SEED=0x.. make sim-one; VARVE_SIM_LOG=debug shows the log
	$(CARGO) test --locked --workspace --test sim -- --nocapture replay

bugs: ## Planted bugs, each until it is found: BUG=all SEEDS=200; the table of docs/reliability.md
	VARVE_BUG=$(or $(BUG),all) $(CARGO) test --locked --workspace --test sim -- --nocapture --exact search

# Optimised, without building the dependencies anew.
models: ## The protocol models with their larger bounds, every mutation
	VARVE_MODEL=full $(CARGO) test --locked --workspace --test model \
		--config profile.dev.package.varve-engine.opt-level=2 --config profile.dev.package.stateright.opt-level=2 \
		-- --nocapture --test-threads 2

props: ## Property tests with new random cases: CASES=2000
	PROPTEST_RNG_SEED=$$(date +%s) PROPTEST_CASES=$(or $(CASES),2000) $(CARGO) test --locked --workspace --lib

torture: ## kill -9 under load, a third by fail points: ROUNDS=60
	$(CARGO) build --locked --profile $(PROFILE) --workspace --features failpoints --bin varve
	VARVE_BINARY=$(abspath $(TARGET))/$(PROFILE)/varve VARVE_ROUNDS=$(or $(ROUNDS),60) VARVE_CLUSTER_KILLS=0 \
		$(CARGO) test --locked --workspace --test torture

CLUSTER_DIR ?= target/cluster
# A cluster runs what was built last, so that `make build` is not followed by another build.
BUILT = $(shell ls -t $(TARGET)/$(PROFILE)/varve-rig $(TARGET)/release/varve-rig 2>/dev/null | head -1)
RIG_PROFILE = $(if $(findstring /release/,$(BUILT)),release,$(PROFILE))
RIG = $(TARGET)/$(RIG_PROFILE)/varve-rig
VARVE = $(abspath $(TARGET))/$(RIG_PROFILE)/varve

rig:
	@TEST_TOOLS=1 sh tests/setup.sh
	$(CARGO) build --locked --profile $(RIG_PROFILE) --workspace --bin varve --bin varve-rig

cluster-up: rig ## A cluster on loopback: DATANODES=3 FRONTENDS=2 METASRVS=3 CLUSTER_DIR=target/cluster
	$(RIG) up --dir $(CLUSTER_DIR) --varve $(VARVE) \
		--datanodes $(or $(DATANODES),3) --frontends $(or $(FRONTENDS),2) --metasrvs $(or $(METASRVS),3)

cluster-start: rig ## Start a node that was stopped or killed: NODE=datanode-0
	$(RIG) start --dir $(CLUSTER_DIR) --varve $(VARVE) --node $(NODE)

cluster-down: ## Stop the cluster of CLUSTER_DIR
	$(RIG) down --dir $(CLUSTER_DIR)

torture-cluster: rig ## Kills and pauses of a cluster's processes: KILLS=60 PAUSES=20, S3=127.0.0.1:7070 on that server
	VARVE_BINARY=$(VARVE) VARVE_ROUNDS=0 VARVE_S3=$(S3) \
		VARVE_CLUSTER_KILLS=$(or $(KILLS),60) VARVE_CLUSTER_PAUSES=$(or $(PAUSES),20) \
		$(CARGO) test --locked --workspace --test torture

bench: bench-load bench-size bench-cluster ## All benchmarks

# The harness is built like a test, the server it measures as release: one slow build, not two.
bench-load: build ## Rows per second acked and visible, CPU per stage
	VARVE_BINARY=$(abspath $(TARGET))/release/varve $(CARGO) test --locked --workspace --bench bench -- load $(ARGS)

bench-size: build ## Bytes per point after flush and after merge
	VARVE_BINARY=$(abspath $(TARGET))/release/varve $(CARGO) test --locked --workspace --bench bench -- size $(ARGS)

bench-cluster: build ## A cluster: rows/s, acknowledge p50/p99, requests to the bucket, five idle minutes
	VARVE_BINARY=$(abspath $(TARGET))/release/varve $(CARGO) test --locked --workspace --bench bench -- cluster $(ARGS)

deny: ## Licences, bans and sources of dependencies (needs cargo-deny)
	$(CARGO) deny check licenses bans sources

typos: ## Spelling (needs typos-cli)
	typos

docs: ## Documentation of all packages
	$(CARGO) doc --locked --workspace --no-deps

ci: fmt lint tidy test docs ## What CI runs (`make test`), and the checks of form beside it

clean: ## Remove build output
	$(CARGO) clean

.PHONY: help setup run build test check fmt lint tidy freeze stats it cases sim sim-one bugs models props torture torture-cluster rig cluster-up cluster-start cluster-down bench bench-load bench-size bench-cluster deny typos docs ci clean
