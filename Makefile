# One command per purpose; each does all of its own set-up on a fresh Debian 12 with Rust, and is quick the second time.
#
# Everything is built with `--workspace` in the one dev profile, so that tests, lints, documentation and the demo agree
# on features and RocksDB is compiled once.

export PATH := $(HOME)/.cargo/bin:$(PATH)
TARGET := $(or $(CARGO_TARGET_DIR),target)
ARGS ?=

# Owners, devices and capabilities need root. Cargo itself never runs as root unless you are root.
ifneq ($(shell id -u),0)
AS_ROOT := sudo -E
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER := sudo -E
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER := sudo -E
endif

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench build images fmt format clippy doc deny
.NOTPARALLEL:

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: images build ## Bake two Debian images, drive three machines through them, damage one, watch the repair (ARGS=--keep)
	$(AS_ROOT) $(TARGET)/debug/dominator-lab demo $(ARGS)

test: images ## Run all tests (ARGS='-p dominator-store-core' and the like narrow it down)
	@tools/setup/install build test
	cargo test --locked $(or $(ARGS),--workspace)

lint: fmt deny clippy doc ## Check format, dependencies, clippy and documentation, warnings denied

bench: build ## Measure publishing beside casync, borg, restic and ostree
	@tools/setup/install bench
	tools/demo/bake --big
	$(AS_ROOT) benches/compare/publish $(ARGS)

build: ## Compile imageserver, subd, dominator, domtool and the lab
	@tools/setup/install build
	cargo build --locked --workspace --bins

images: ## Bake the two Debian trees of the demo and the tests
	@tools/setup/install demo
	@tools/demo/bake

fmt: ## Check the format
	cargo fmt --all --check

format: ## Format everything
	cargo fmt --all

clippy: ## Check with clippy, warnings denied
	@tools/setup/install build
	cargo clippy --locked --workspace --all-targets -- -D warnings

doc: ## Build the documentation, warnings denied
	@tools/setup/install build
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps

deny: ## Check licences, sources and who depends on what
	@tools/setup/install deny
	cargo deny --locked check --allow unused-wrapper --hide-inclusion-graph bans licenses sources
