# Waypost: `make demo` and `make test` do all set-up themselves.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

.PHONY: demo test test-rust test-web web lint bench bench-peers bench-curves soak clean help tools

help:
	@echo "make demo   build everything and run a server with a simulated fleet"
	echo "make test   all tests, small sizes (installs what they need)"
	echo "make lint   rustfmt, clippy, cargo-deny"
	echo "make bench  the benchmarks, each beside its budget"
	echo "make bench-peers  beside Redis and PostGIS in one run, written to benches/results (installs them where it may)"
	echo "make bench-curves  how cost and age grow with drivers, sessions, ticks, levels and cells, written to benches/results"
	echo "make soak   the large test sizes"

tools:
	@command -v cargo >/dev/null || { echo "waypost needs a Rust toolchain (rustc 1.95 or later): https://rustup.rs"; exit 1; }

# The dashboard goes into the binary. Without Node the server still builds, and serves a page that says so.
web:
	@if ! command -v npm >/dev/null; then echo "no Node.js here: building without the dashboard (Node 20.19 or later builds it)"; exit 0; fi
	cd web
	if [ ! -d node_modules ] || [ package-lock.json -nt node_modules ]; then npm ci --no-audit --no-fund --loglevel=error; touch node_modules; fi
	npm run build

demo: tools web
	cargo build --release
	exec target/release/waypost demo $(ARGS)

test: tools web test-rust test-web

test-rust: tools
	cargo build --workspace --tests --bins
	if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --workspace --no-fail-fast; else cargo test --workspace --no-fail-fast; fi

test-web: tools
	@if ! command -v npm >/dev/null; then echo "SKIPPED the web tests: no Node.js here"; exit 0; fi
	(cd web && npm test)
	if ! command -v chromium >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null
	fi
	if ! command -v chromium >/dev/null; then echo "SKIPPED the browser test: install Debian's chromium, or set WAYPOST_CHROMIUM"; exit 0; fi
	cargo build --workspace --tests --bins
	web/test/real-server.sh

lint: tools
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	if cargo deny --version >/dev/null 2>&1; then cargo deny check licenses bans sources; else echo "SKIPPED cargo-deny: not installed (cargo install cargo-deny --locked)"; fi

bench: tools web
	cargo bench -p waypost --bench ingest --bench recovery --bench requests --bench hints --bench credentials --bench dead_letters --bench viewports --bench live --bench links --bench memory
	if ! command -v npm >/dev/null || ! command -v chromium >/dev/null; then echo "SKIPPED the demo's first paint: it needs Node.js and chromium"; exit 0; fi
	cargo build --release
	cd web && npm run measure:first-paint

# Each peer is started by the bench itself, on a free port; what is neither here nor can be installed is skipped with a line that says so.
bench-peers: tools web
	@missing=()
	command -v redis-server >/dev/null || missing+=(redis-server)
	compgen -G "/usr/share/postgresql/*/extension/postgis.control" >/dev/null || missing+=(postgresql-postgis)
	if [ "$${#missing[@]}" -gt 0 ] && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${missing[@]}" >/dev/null || echo "some peers could not be installed"
	fi
	cargo bench -p waypost --bench peers

# The size of the finest cells is built in, so the servers that are compared are built beside the usual one.
bench-curves: tools web
	for finest in 7 9; do WAYPOST_BUILD_FINEST=$$finest cargo build --release --bin waypost --target-dir target/finest-$$finest || exit 1; done
	WAYPOST_BENCH_SERVER_R7=$(CURDIR)/target/finest-7/release/waypost WAYPOST_BENCH_SERVER_R9=$(CURDIR)/target/finest-9/release/waypost \
		cargo bench -p waypost --bench curves

# The figures of a run stand on stderr.
soak: tools
	WAYPOST_SOAK=1 cargo test --workspace --release --no-fail-fast -- --nocapture

clean:
	cargo clean
	rm -rf web/node_modules
	find web/dist -mindepth 1 ! -name .gitkeep -delete
