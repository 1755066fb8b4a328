# Everything a developer or an operator runs from a clone. `make` lists it.

CARGO ?= cargo
LOCKED = --locked

# What the tests run against: the server that is shipped, and the oldest of each line that behaves differently.
NATS_VERSIONS = 2.15.1 2.14.6 2.12.8 2.10.26
# Fault schedules of `make test-slow`; `make test` runs 20,000.
DST_SEEDS ?= 60000
# Tests wait for servers and venues more than they work: more of them at a time than there are processors.
TEST_THREADS ?= 4
# Seconds for each target of `make fuzz`.
FUZZ_SECONDS ?= 600
# Only `make miri` and `make tsan` use it.
NIGHTLY ?= nightly
CARGO_DENY_VERSION = 0.20.2
CARGO_DENY = .tools/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny

# What `make test-python` runs in: made on first use, and anew when what it is made of changes.
PYTHON_ENV = $(CURDIR)/.tools/python
PYTHON_STAMP = $(PYTHON_ENV)/requirements-test.stamp
PYTHON_NEEDS = clients/python/requirements-test.txt

.DEFAULT_GOAL := help
.PHONY: help run test test-slow test-python chaos chaos-quick bench bench-quick fuzz fuzz-quick fuzz-build loom miri tsan lint fmt deny advisories cargo-deny tools clean-tools

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## simulated venues -> data-manager -> a nats-server of its own and shared memory; Ctrl-C stops all of it
	@python3 scripts/run $(RUN_ARGS)

test: tools ## unit, property, real nats-server, real processes, two processes on one ring; what takes long is test-slow's
	$(CARGO) test $(LOCKED) -- --skip slow:: --test-threads=$(TEST_THREADS)

test-slow: tools ## outages, pairs, lines, clusters; three times as many seeded fault schedules, or DST_SEEDS=n of them
	DST_SEEDS=$(DST_SEEDS) $(CARGO) test $(LOCKED) --test dst
	$(CARGO) test $(LOCKED) --test e2e --test backup slow:: -- --test-threads=$(TEST_THREADS)

test-python: tools $(PYTHON_STAMP) ## the Python client against the real daemon; the same trades in Rust, Python and C
	$(CARGO) build $(LOCKED)
	cd clients/python && $(PYTHON_ENV)/bin/mypy --strict src tests
	cd clients/python && DATA_MANAGER_BIN=$(CURDIR)/target/debug/data-manager \
	  NATS_SERVER_BIN=$(CURDIR)/.tools/nats-server-$(firstword $(NATS_VERSIONS))/nats-server \
	  $(PYTHON_ENV)/bin/python -m pytest $(PYTEST_ARGS)
	$(CARGO) test $(LOCKED) --test readers

$(PYTHON_STAMP): $(PYTHON_NEEDS)
	rm -rf $(PYTHON_ENV)
	python3 -m venv $(PYTHON_ENV)
	$(PYTHON_ENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $(PYTHON_NEEDS)
	touch $@

# The figures of the last run, a line a row.
CHAOS_FIGURES = $(CURDIR)/target/chaos.jsonl

chaos: tools ## the fault matrix in its long form, hours; then writes docs/reliability.md
	rm -f $(CHAOS_FIGURES)
	code=0; CHAOS_LONG=1 CHAOS_REPORT=$(CHAOS_FIGURES) $(CARGO) test $(LOCKED) --test chaos -- --test-threads=1 \
	  || code=$$?; \
	UPDATE_DOCS=1 CHAOS_REPORT=$(CHAOS_FIGURES) $(CARGO) test $(LOCKED) --test docs reliability && exit $$code

chaos-quick: tools ## the fault matrix in its short form, some minutes
	$(CARGO) test $(LOCKED) --test chaos -- --test-threads=2

bench: tools ## all benchmarks; quiet machine, several minutes
	$(CARGO) bench $(LOCKED)

bench-quick: tools ## each benchmark for a moment, unoptimized, to see that it still runs: no figures
	$(CARGO) bench $(LOCKED) --profile dev --benches -- --quick

fuzz: ## each fuzz target for ten minutes, or FUZZ_SECONDS; FUZZ_TARGETS="decode_..." for some of them
	@python3 scripts/fuzz --seconds $(FUZZ_SECONDS) $(FUZZ_TARGETS)

fuzz-quick: ## each fuzz target for twenty seconds, from its seeds
	@python3 scripts/fuzz --seconds 20

fuzz-build: ## builds the fuzz targets
	@python3 scripts/fuzz --build

loom: ## the ring on a model checker: two readers, wrap-around, up to two preemptions; exhaustive within that
	cd model && RUSTFLAGS="--cfg loom" $(CARGO) run $(LOCKED) --target-dir ../target/loom

miri: ## the ring's unit tests in an interpreter that finds undefined behaviour; needs a nightly toolchain with miri
	@$(CARGO) +$(NIGHTLY) miri --version > /dev/null 2>&1 || { \
		echo "make miri needs miri: rustup toolchain install $(NIGHTLY) --component miri --component rust-src" >&2; exit 1; }
	cd model && $(CARGO) +$(NIGHTLY) miri test $(LOCKED) --target-dir ../target/miri

tsan: ## the ring's unit tests under the thread sanitizer; needs a nightly toolchain
	@$(CARGO) +$(NIGHTLY) --version > /dev/null 2>&1 || { \
		echo "make tsan needs a nightly toolchain: rustup toolchain install $(NIGHTLY)" >&2; exit 1; }
	cd model && TSAN_OPTIONS="suppressions=$$PWD/tsan.supp" \
		RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" $(CARGO) +$(NIGHTLY) test $(LOCKED) \
		--target "$$(rustc -vV | sed -n 's/^host: //p')" --target-dir ../target/tsan

lint: ## formatting, clippy, documentation; warnings are errors
	$(CARGO) fmt --all -- --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml -- --check
	$(CARGO) fmt --manifest-path model/Cargo.toml -- --check
	$(CARGO) clippy $(LOCKED) --all-targets -- -D warnings
	$(CARGO) clippy $(LOCKED) --lib --bins --no-default-features --features daemon -- -D warnings
	$(CARGO) clippy $(LOCKED) --test chaos --test readers -- -D warnings
	$(CARGO) clippy $(LOCKED) --lib --no-default-features --features ipc -- -D warnings
	$(CARGO) clippy $(LOCKED) --lib --no-default-features --features nats -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(LOCKED) --no-deps --document-private-items

fmt: ## formats the sources in place
	$(CARGO) fmt --all
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml
	$(CARGO) fmt --manifest-path model/Cargo.toml

deny: $(CARGO_DENY) ## licences, banned and doubled crates, sources (installs cargo-deny, pinned, on first use)
	$(CARGO_DENY) --locked check bans licenses sources

advisories: $(CARGO_DENY) ## known vulnerabilities of the dependencies; needs the network
	$(CARGO_DENY) --locked check advisories

cargo-deny: $(CARGO_DENY) ## installs what `make deny` runs

$(CARGO_DENY):
	$(CARGO) install --locked --root .tools/cargo-deny-$(CARGO_DENY_VERSION) cargo-deny@$(CARGO_DENY_VERSION)

tools: ## fetches the nats-servers that the tests start, and a clang where PATH has none, into .tools/
	@python3 scripts/fetch-nats-server $(NATS_VERSIONS) > /dev/null
	@python3 scripts/fetch-clang > /dev/null

clean-tools: ## removes .tools/ and .cache/
	rm -rf .tools .cache
