SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Everything that is built lives here, outside the tree: every clone shares it.
export HEDGEROW_CACHE ?= /var/cache/hedgerow
export CARGO_TARGET_DIR ?= $(HEDGEROW_CACHE)/target
# Rust and Go are found where their installers put them, also from a bare root shell.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/local/go/bin

HEDGEROW := $(CARGO_TARGET_DIR)/debug/hedgerow
CARGO_DENY := $(HEDGEROW_CACHE)/tools/bin/cargo-deny

.PHONY: help
help:
	@echo 'make demo       the tutorial: two pods on one node, one reaches the database (DEMO="--keep" keeps the lab)'
	@echo 'make test       everything that is checked: lint, then unit, kernel and cluster tests'
	@echo 'make fuzz       the fuzz targets for FUZZ_SECONDS each (60), and random topologies (needs root)'
	@echo 'make bench      what packets and API calls cost, beside a plain veth pair and moto (needs root)'
	@echo 'make lint       formatting, clippy, licences, import table, each crate alone'
	@echo 'make setup      packages, tools, Kubernetes, crates and images, without running anything'
	@echo 'make clean      remove the crates'\'' build products and the images'
	@echo 'make distclean  remove the whole cache, $(HEDGEROW_CACHE)'

.PHONY: demo
demo: setup
	@$(HEDGEROW) demo $(DEMO)

.PHONY: setup
setup: images

# Archives for containerd; those whose inputs changed are written again.
.PHONY: images
images: tools
	@scripts/kubernetes
	@cargo build --locked --workspace --bins
	@$(HEDGEROW) image build

.PHONY: tools
tools:
	@scripts/preflight
	@scripts/packages
	@scripts/aws
	@scripts/own-target

.PHONY: lint
lint: tools
	@scripts/preflight lint
	@scripts/cargo-deny
	cargo fmt --all -- --check
	$(CARGO_DENY) --log-level error --locked check licenses bans sources
	cargo clippy --quiet --locked --workspace --all-targets --features hedgerow-fuzz/libfuzzer -- -D warnings
	@scripts/alone
	cargo test --quiet --locked --workspace --test imports

.PHONY: test
test: lint setup
	HEDGEROW_TOPOLOGY=$${HEDGEROW_TOPOLOGY:-4} cargo test --locked --workspace
	@scripts/fuzz

.PHONY: fuzz
fuzz: tools
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-60} scripts/fuzz
	HEDGEROW_TOPOLOGIES=$${TOPOLOGIES:-20000} cargo test --locked -p hedgerow-vpc --test topologies -- --nocapture

# Numbers, not verdicts: a busy machine measures itself.
.PHONY: bench
bench: tools
	@scripts/moto
	cargo build --quiet --locked --release -p hedgerow-vpc --bins --example load --test bench
	cargo test --quiet --locked -p hedgerow-datapath --lib --no-run
	@python3 bench/run.py $(CARGO_TARGET_DIR)/release $(HEDGEROW_CACHE)/moto/bin/moto_server

.PHONY: clean
clean:
	cargo clean
	rm -rf $(HEDGEROW_CACHE)/images

.PHONY: distclean
distclean:
	rm -rf $(HEDGEROW_CACHE)
