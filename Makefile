# Waypost: `make demo` and `make test` do all set-up themselves.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

.PHONY: demo test test-rust test-web web lint bench soak clean help tools

help:
	@echo "make demo   build everything and run a server with a simulated fleet"
	echo "make test   all tests, small sizes (installs what they need)"
	echo "make lint   rustfmt, clippy, cargo-deny"
	echo "make bench  benchmarks;  make soak  the large test sizes"

tools:
	@command -v cargo >/dev/null || { echo "waypost needs a Rust toolchain (rustc 1.95 or later): https://rustup.rs"; exit 1; }

# The dashboard goes into the binary. Without Node the server still builds and serves a page that says so.
web/node_modules: web/package-lock.json
	cd web && npm ci --no-audit --no-fund --loglevel=error
	touch node_modules

web: web/node_modules
	cd web && npm run build

demo: tools
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory web; else echo "no Node.js here: the demo runs without its dashboard"; fi
	cargo build --release
	exec target/release/waypost demo $(ARGS)

test: tools test-rust test-web

test-rust: tools
	cargo build --tests --bins
	if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --no-fail-fast; else cargo test --no-fail-fast; fi

test-web:
	@if ! command -v npm >/dev/null; then echo "SKIPPED the web tests: no Node.js here"; exit 0; fi
	$(MAKE) --no-print-directory web
	cd web && npm test

lint: tools
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	if cargo deny --version >/dev/null 2>&1; then cargo deny check licenses bans sources; else echo "SKIPPED cargo-deny: not installed (cargo install cargo-deny --locked)"; fi

soak: tools
	WAYPOST_SOAK=1 cargo test --release --no-fail-fast

bench: tools
	cargo bench

clean:
	cargo clean
	rm -rf web/node_modules
	find web/dist -mindepth 1 ! -name .gitkeep -delete
