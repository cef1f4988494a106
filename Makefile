# Waypost: `make demo` and `make test` do all set-up themselves.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

.PHONY: demo test test-rust lint soak clean help tools

help:
	@echo "make demo   build everything and run a server with a simulated fleet"
	echo "make test   all tests, small sizes (installs what they need)"
	echo "make lint   rustfmt, clippy, cargo-deny"
	echo "make soak   the large test sizes"

tools:
	@command -v cargo >/dev/null || { echo "waypost needs a Rust toolchain (rustc 1.95 or later): https://rustup.rs"; exit 1; }

demo: tools
	cargo build --release
	exec target/release/waypost demo $(ARGS)

test: tools test-rust

test-rust: tools
	cargo build --workspace --tests --bins
	if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --workspace --no-fail-fast; else cargo test --workspace --no-fail-fast; fi

lint: tools
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	if cargo deny --version >/dev/null 2>&1; then cargo deny check licenses bans sources; else echo "SKIPPED cargo-deny: not installed (cargo install cargo-deny --locked)"; fi

soak: tools
	WAYPOST_SOAK=1 cargo test --workspace --release --no-fail-fast

clean:
	cargo clean
