# Thin over cargo. `make demo` shows Evenkeel on this machine in minutes; `make test` proves all of it, a real cluster included.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export EVENKEEL_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/evenkeel
DENY_VERSION := 0.20.2
DENY := $(EVENKEEL_CACHE)/bin/cargo-deny-$(DENY_VERSION)/bin/cargo-deny
LOAD := release --bin evenkeel-sidecar --bin echo

.PHONY: help deps check fmt lint test unit deny drift pure sim sim-check crds demo cluster cluster-down e2e bench

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  \1\t\2/' | expand -t 16

deps: ## install what the cluster, the tests and the benches need (Debian packages, cached binaries)
	e2e/cluster/deps base cluster bench
	$(MAKE) --no-print-directory $(DENY)

check: fmt lint unit ## fmt, clippy and unit tests: the loop of a working day

fmt: ## formatting
	cargo fmt --all --check

lint: ## clippy, warnings are errors
	cargo clippy --workspace --all-targets --features evenkeel-e2e/cluster --locked -- -D warnings

unit: ## unit, property and in-process tests
	cargo test --workspace --locked --quiet

$(DENY):
	@echo "cargo-deny $(DENY_VERSION): built once into $(EVENKEEL_CACHE) (about 4 minutes)"
	CARGO_TARGET_DIR=$(EVENKEEL_CACHE)/build/cargo-deny cargo install --quiet --locked --root $(EVENKEEL_CACHE)/bin/cargo-deny-$(DENY_VERSION) cargo-deny@$(DENY_VERSION)
	rm -rf $(EVENKEEL_CACHE)/build/cargo-deny

deny: $(DENY) ## licences, sources and banned crates
	$(DENY) --workspace --locked check licenses bans sources

crds: ## write the CRDs' YAML anew
	cargo run --quiet --locked -p evenkeel-crds --features kube --bin crdgen -- charts/evenkeel/crds

# Asked of the whole workspace, as `unit` does, so that nothing is built twice.
drift: ## the checked-in YAML is what the types say
	cargo test --workspace --locked --quiet --test definitions

pure: ## balance and plan stay pure, the sidecar never links kube
	scripts/pure

sim: ## every claim about balancing in simulated fleets; writes docs/balancing.md, CSV and plots into target/sim
	cargo run --quiet --locked --release -p evenkeel-sim --bin sim -- --docs docs/balancing.md

sim-check: ## the claims hold and docs/balancing.md says what the run says
	cargo run --quiet --locked --release -p evenkeel-sim --bin sim -- --check docs/balancing.md

demo: ## the embedded mode on real processes: backends, pools, a kill and a revival; ends by itself
	@e2e/cluster/deps base
	cargo build --locked --$(LOAD) --bin demo
	cargo run --quiet --locked --release -p evenkeel-e2e --bin demo

cluster: ## a real Kubernetes on this machine; prints where its kubeconfig is
	@e2e/cluster/deps cluster
	e2e/cluster/up

cluster-down: ## end it and drop its state
	e2e/cluster/down

e2e: $(if $(KUBECONFIG),,cluster) ## the tests on the real cluster (or on yours: KUBECONFIG=…)
	e2e/run

bench: ## against HAProxy and NGINX, into target/bench/summary.json
	@e2e/cluster/deps bench
	cargo build --locked --$(LOAD) --bin bench
	cargo run --quiet --locked --release -p evenkeel-e2e --bin bench

test: fmt deps lint deny drift pure unit sim-check e2e ## everything: what CI runs
