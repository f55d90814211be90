# Thin over cargo. `make demo` shows Evenkeel on this machine in minutes; `make test` proves all of it, a real cluster included.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export EVENKEEL_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/evenkeel
DENY_VERSION := 0.20.2
DENY := $(EVENKEEL_CACHE)/bin/cargo-deny-$(DENY_VERSION)/bin/cargo-deny
FUZZ_VERSION := 0.13.2
FUZZ := $(EVENKEEL_CACHE)/bin/cargo-fuzz-$(FUZZ_VERSION)/bin/cargo-fuzz
SECONDS ?= 60
MINUTES ?= 20
LOAD := release --bin evenkeel-sidecar --bin echo
BUILT := $(or $(CARGO_TARGET_DIR),target)
# The sidecar as the image has it.
SIDECAR = $$(scripts/ship evenkeel-sidecar evenkeel-sidecar)

.PHONY: protocols abuse soak clients h2spec conformance help deps check fmt lint test unit deny drift pure sim sim-check crds demo cluster cluster-down e2e bench bench-core bench-instructions model fuzz

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  \1\t\2/' | expand -t 16

deps: ## install what the cluster and the tests need (Debian packages, cached binaries); `make bench` installs its own peers
	e2e/cluster/deps base fuzz cluster instructions
	$(MAKE) --no-print-directory $(DENY) $(FUZZ)

check: fmt lint unit ## fmt, clippy and unit tests: the loop of a working day

fmt: ## formatting
	cargo fmt --all --check

lint: ## clippy, warnings are errors
	cargo clippy --workspace --all-targets --features evenkeel-e2e/cluster,evenkeel-e2e/protocols --locked -- -D warnings

unit: ## unit, property and in-process tests
	cargo test --workspace --locked --quiet

$(DENY):
	@echo "cargo-deny $(DENY_VERSION): built once into $(EVENKEEL_CACHE) (about 4 minutes)"
	CARGO_TARGET_DIR=$(EVENKEEL_CACHE)/build/cargo-deny cargo install --quiet --locked --root $(EVENKEEL_CACHE)/bin/cargo-deny-$(DENY_VERSION) cargo-deny@$(DENY_VERSION)
	rm -rf $(EVENKEEL_CACHE)/build/cargo-deny

deny: $(DENY) ## licences, sources and banned crates
	$(DENY) --workspace --locked check licenses bans sources

bench-core: ## what picks and rebuilds cost, beside their goals (criterion, about 3 minutes)
	cargo bench --quiet --locked -p evenkeel-balance --bench pick --bench rebuild -- --quiet
	@cargo bench --quiet --locked -p evenkeel-balance --bench goals

model: ## what workers race on, in hundreds of orders of its atomic steps (shuttle)
	RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR=$(BUILT)/model cargo test --quiet --locked -p evenkeel-balance --lib model::

$(FUZZ):
	@echo "cargo-fuzz $(FUZZ_VERSION): built once into $(EVENKEEL_CACHE) (about 1 minute)"
	CARGO_TARGET_DIR=$(EVENKEEL_CACHE)/build/cargo-fuzz cargo install --quiet --locked --root $(EVENKEEL_CACHE)/bin/cargo-fuzz-$(FUZZ_VERSION) cargo-fuzz@$(FUZZ_VERSION)
	rm -rf $(EVENKEEL_CACHE)/build/cargo-fuzz

# No sanitizer: the code is safe Rust, and so the pinned stable toolchain is enough. What is found new stays under the target folder.
FUZZED = $(patsubst %.rs,%,$(wildcard balance/fuzz/fuzz_targets/*.rs sidecar/fuzz/fuzz_targets/*.rs))
fuzz: $(FUZZ) ## random operations on the balancing core and any bytes on what is parsed, for SECONDS (60) in all
	@e2e/cluster/deps fuzz
	@seconds=$$(( ($(SECONDS) + $(words $(FUZZED)) - 1) / $(words $(FUZZED)) )); \
	for target in $(FUZZED); do \
		name=$${target##*/} folder=$${target%/fuzz_targets/*} corpus=$(BUILT)/fuzz/corpus/$${target##*/}; \
		mkdir -p $$corpus; echo "fuzz $$name, $$seconds s"; \
		$(FUZZ) run --fuzz-dir $$folder --target-dir $(abspath $(BUILT))/fuzz --sanitizer none $$name $$corpus $$folder/corpus/$$name \
			-- -max_total_time=$$seconds -max_len=4096 -verbosity=0 -print_final_stats=1 2>&1 | { grep -v '# Uses:\|dictionary\|^INFO\|^WARNING' || true; }; \
	done

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
	$(BUILT)/release/demo

cluster: ## a real Kubernetes on this machine; prints where its kubeconfig is
	@e2e/cluster/deps cluster
	e2e/cluster/up

cluster-down: ## end it and drop its state
	e2e/cluster/down

e2e: $(if $(KUBECONFIG),,cluster) ## the tests on the real cluster (or on yours: KUBECONFIG=…)
	e2e/run

bench: ## against HAProxy, NGINX and Envoy, into target/bench/summary.json (15 minutes); ARGUMENTS="--row http1 --rounds 3"
	@e2e/cluster/deps bench
	cargo build --locked --release -p evenkeel-e2e --bin echo --bin bench
	@sidecar=$(SIDECAR) && $(BUILT)/release/bench --sidecar $$sidecar $(ARGUMENTS)

bench-instructions: ## instructions and system calls of one small HTTP/1.1 request, against the limit that is checked in
	@e2e/cluster/deps instructions
	@sidecar=$(SIDECAR) && cargo run --quiet --locked -p evenkeel-e2e --bin bench -- --sidecar $$sidecar instructions

protocols: ## the data path from outside: conformance at every cut, h2spec, abuse, gRPC interop and real clients
	@e2e/cluster/deps protocols
	e2e/protocols

clients: ## real clients through the sidecar: curl, WebSocket, psql, redis-cli, dig, gRPC's own
	@e2e/cluster/deps protocols
	e2e/protocols clients interop

abuse: ## floods and slow clients: what a well-behaved client notices, beside as many idle connections (about 12 minutes)
	cargo build --locked --$(LOAD) --bin abuse
	$(BUILT)/release/abuse --folder $(BUILT)/abuse

soak: ## 20 minutes of load and faults (MINUTES=…): memory, descriptors and tasks stay flat, into target/soak/summary.json
	@e2e/cluster/deps base
	cargo build --locked --$(LOAD) --bin soak
	$(BUILT)/release/soak --minutes $(MINUTES) --folder $(BUILT)/soak

h2spec: ## the HTTP/2 conformance suite against the sidecar
	@e2e/cluster/deps protocols
	e2e/protocols h2spec

conformance: ## what Evenkeel, HAProxy, NGINX and Envoy make of bad messages, into docs/conformance.md
	@e2e/cluster/deps protocols
	cargo build --locked --bin evenkeel-sidecar --bin conformance
	$(BUILT)/debug/conformance --folder $(BUILT)/conformance

test: SECONDS = 20
test: fmt deps lint deny drift pure unit protocols model fuzz sim-check e2e bench-instructions ## everything: what CI runs
