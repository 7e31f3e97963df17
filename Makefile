# The only list of commands: `make` prints it. All that is built or downloaded is in the cache, outside the checkout.
export ISOBAR_CACHE ?= $(HOME)/.cache/isobar
export CARGO_TARGET_DIR ?= $(ISOBAR_CACHE)/target
DEMO_DIR ?= demo

STEP := scripts/step
LOCKED := $(if $(CI),--locked)
PYTEST := scripts/python -m pytest -c tests/system/pytest.ini
TESTS := tests/system
# Tests that assert durations when they run with the full counts.
TIMED := tests/system/test_malformed.py tests/system/test_many_commits.py
# The older commit whose binary continues with what this one has written.
OLD ?= c6d099f
DENY := $(ISOBAR_CACHE)/tools/bin/cargo-deny

.DEFAULT_GOAL := help
.PHONY: help demo test test-long test-compatibility check fuzz-sql bench bench-ingest bench-sql bless stack-up stack-down clean
.PHONY: setup-test setup-bench fmt clippy unit doc deny system

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

demo: ## the whole pipeline on simulated weather, in ./demo: no Kafka, no Hadoop, no key, no network
	@scripts/setup demo
	@echo "Building isobar. The first time all of DataFusion and Delta Lake are compiled too: 5 to 25 minutes; later, seconds."
	@$(STEP) build cargo build $(LOCKED) --package isobar
	@echo "Some days of simulated weather of several cities are fetched, landed as Delta tables and aggregated: seconds."
	@$(CARGO_TARGET_DIR)/debug/isobar demo --once --dir $(DEMO_DIR)

test: check system ## what every change must pass: check, then the system tests on real servers

test-long: check ## the same suites with the full counts; timed tests use a release build
	@ISOBAR_TEST_LONG=1 $(MAKE) --no-print-directory system TESTS="tests/system $(TIMED:%=--ignore=%)"
	@$(STEP) "release build" cargo build $(LOCKED) --release --package isobar
	@ISOBAR_TEST_LONG=1 ISOBAR_BIN=$(CARGO_TARGET_DIR)/release/isobar $(STEP) "timed tests" $(PYTEST) --numprocesses=0 $(TIMED)

test-compatibility: setup-test ## whether the binary of an older commit continues with what this one has written; OLD=c6d099f
	@$(STEP) build cargo build $(LOCKED) --package isobar --bins --features fail-points
	@ISOBAR_BIN=$(CARGO_TARGET_DIR)/debug/isobar $(STEP) "compatibility with $(OLD)" tests/compatibility $(OLD)

check: fmt clippy unit doc deny ## formatting, lints, unit and golden tests, documentation, dependency rules

fuzz-sql: ## random statements over random tables, compared with DuckDB and with each other; FUZZ='--seed 7 --statements 5000'
	@scripts/setup demo
	@$(STEP) build cargo build $(LOCKED) --package isobar --bins --features fail-points
	@ISOBAR_BIN=$${ISOBAR_BIN:-$(CARGO_TARGET_DIR)/debug/isobar} PYTHONPATH=tests/system scripts/python -m fuzz $(FUZZ)

bench: setup-bench ## release build, then the bench of each claim about speed (benches/)
	@$(STEP) "release build" cargo build $(LOCKED) --release --package isobar
	@ISOBAR_BIN=$(CARGO_TARGET_DIR)/release/isobar $(STEP) bench benches/run

bench-ingest: setup-bench ## likewise the claims about sources and Kafka: against kcat, Spark, a Python consumer; freshness
	@$(STEP) "release build" cargo build $(LOCKED) --release --package isobar
	@ISOBAR_BIN=$(CARGO_TARGET_DIR)/release/isobar $(STEP) bench-ingest benches/run kafka spark consume freshness

bench-sql: setup-bench ## likewise the claims about SQL: TPC-H, weather and checked sums, against DataFusion with its defaults and DuckDB
	@$(STEP) "release build" cargo build $(LOCKED) --release --package isobar
	@ISOBAR_BIN=$(CARGO_TARGET_DIR)/release/isobar $(STEP) bench-sql benches/run sql

bless: ## rewrite the expected rows of the golden tests; read the difference before you commit it
	@ISOBAR_BLESS=1 cargo test $(LOCKED) --workspace --test it golden

stack-up: ## start the servers (`tests/stack/env` prints their addresses)
	@scripts/setup stack
	@tests/stack/up
	@tests/stack/env

stack-down: ## stop the servers; their data stays (`tests/stack/down --wipe` deletes it)
	@tests/stack/down

clean: ## delete build output and ./demo; downloads stay
	cargo clean
	rm -rf $(DEMO_DIR)

setup-test:
	@scripts/setup test

setup-bench:
	@scripts/setup bench

fmt: setup-test
	@$(STEP) fmt cargo fmt --all --check

clippy: setup-test
	@$(STEP) clippy cargo clippy $(LOCKED) --workspace --all-targets -- -D warnings

unit: setup-test
	@$(STEP) "unit and golden tests" cargo test $(LOCKED) --workspace --no-fail-fast

doc: setup-test
	@RUSTDOCFLAGS="-D warnings" $(STEP) doc cargo doc $(LOCKED) --workspace --no-deps --document-private-items --quiet

deny: setup-test
	@# deny.toml has rules for crates that may be added later: an unused wrapper is allowed.
	@$(STEP) "dependency rules" $(DENY) --workspace $(LOCKED) check --allow unused-wrapper bans licenses sources

system: setup-test
	@$(STEP) build cargo build $(LOCKED) --package isobar --bins --features fail-points
	@ISOBAR_BIN=$(CARGO_TARGET_DIR)/debug/isobar $(STEP) "system tests" $(PYTEST) $(TESTS)
