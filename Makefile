# Điểm Cầu: everything a newcomer runs. `make run` and `make test` need nothing but Rust, Node and (for the browsers) Debian.
SHELL := /bin/bash
CARGO ?= cargo
APT_PACKAGES := chromium firefox-esr build-essential fonts-noto-core
BIN := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help deps packages run test rust-test web web-test e2e lint bench bench-load bench-rest soak scale interop sim-report browser-report compare plots sim-nightly fuzz clean

help: ## what there is
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

deps: packages ## what the tests need: browsers by apt-get, pages by npm ci
	cd tests/e2e && npm ci --no-audit --no-fund --loglevel=error

packages:
	@missing=""; for p in $(APT_PACKAGES); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	  else echo "Packages are missing. Run:  sudo apt-get install -y$$missing"; exit 1; fi; fi

web: web-client/dist/index.html ## the page, built for embedding in the binary

web-client/node_modules/.installed: web-client/package-lock.json
	cd web-client && npm ci --no-audit --no-fund --loglevel=error && touch node_modules/.installed

web-client/dist/index.html: web-client/node_modules/.installed $(shell find web-client/src web-client/public -type f 2>/dev/null) web-client/index.html web-client/vite.config.ts
	cd web-client && npm run --silent build && touch dist/index.html

run: web ## build and start the whole system on this machine; prints the address and a join link
	$(CARGO) build --release --locked --bin diemcau
	$(BIN)/release/diemcau serve $(ARGS)

test: deps web-test rust-test e2e ## all that must be green

lint: ## formatting and lints, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) check -p sfu --no-default-features --locked

rust-test: web lint ## unit, property, simulation and server tests
	$(CARGO) test --workspace --locked

web-test: web ## types, unit tests and size budget of the page
	cd web-client && npm run --silent check && npm test --silent && npm run --silent size

e2e: web ## real browsers against the real server
	$(CARGO) build --workspace --locked --bins --tests # the very artefacts of the Rust tests
	cd tests/e2e && npm test --silent

INTEROP_PACKAGES := gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-nice \
  gir1.2-gst-plugins-bad-1.0 python3-gi python3-aiortc

interop: ## WHIP and WHEP with GStreamer and aiortc as Debian packages them (PAIRS=gst-aiortc); prints figures
	@$(MAKE) --no-print-directory packages APT_PACKAGES="$(INTEROP_PACKAGES)"
	$(CARGO) build --package signaling --locked --bin diemcau
	/usr/bin/python3 tests/interop/run.py $(PAIRS)

bench: ## benchmarks: they report, a person judges
	$(CARGO) bench --package testkit --bench '*' --locked

bench-load: web ## what forwarding costs on this machine, beside the bare loop (SPAN=10 seconds a case; ONLY=words of a name)
	$(CARGO) build --release --locked --bin diemcau --bin diemcau-load
	$(BIN)/release/diemcau-load bench --seconds $(or $(SPAN),10) --only "$(ONLY)"
	$(if $(ONLY),,$(MAKE) --no-print-directory bench-rest)

soak: web ## 20 minutes in which points come and go, and what of them stays in the server's memory (SPAN=1200 seconds)
	$(CARGO) build --release --locked --bin diemcau --bin diemcau-load
	$(BIN)/release/diemcau-load bench --seconds $(or $(SPAN),1200) --only soak

bench-rest: web ## the goals that are not of forwarding: the allocation, the page's size, its first picture in Chromium (make deps)
	$(CARGO) build --release --locked --bin diemcau
	$(CARGO) bench --package testkit --bench allocate --locked
	cd web-client && npm run --silent size
	cd tests/e2e && DIEMCAU=$(abspath $(BIN))/release/diemcau node first-picture.report.mjs

scale: web ## the same meeting with 10 to 500 points, drawn for docs/performance.md (SPAN=10 seconds a step; POINTS=10,50)
	$(CARGO) build --release --locked --bin diemcau --bin diemcau-load
	$(BIN)/release/diemcau-load scale --seconds $(or $(SPAN),10) $(if $(POINTS),--points $(POINTS)) --json docs/plots/scale.json --svg docs/plots/scale.svg

sim-nightly: ## the simulated meetings over 500 seeds each (SIM_SEEDS=n for more; SIM_SEED=n replays one)
	SIM_SEEDS=$(or $(SIM_SEEDS),500) $(CARGO) test --release --locked --package testkit --test sim_meeting

sim-report: ## the goals of the media engine as a table: in virtual time (SIM_SEEDS=200), then in real browsers (ONLY=words of a name: those in virtual time alone)
	SIM_SEEDS=$(or $(SIM_SEEDS),200) $(CARGO) run --release --quiet --locked --package testkit --bin sim-report -- "$(ONLY)"
	$(if $(ONLY),,$(MAKE) --no-print-directory browser-report)

browser-report: deps web ## the goals that only real browsers can tell of
	$(CARGO) build --quiet --workspace --locked --bins --tests
	cd tests/e2e && node goals.report.mjs

compare: web ## against two browsers that call each other directly, over the same line (RATES=1500,3000 SPAN=60 RUNS=1); reports
	$(CARGO) build --workspace --locked --bins
	cd tests/e2e && node direct.report.mjs

plots: ## draws the estimate over the traces for docs/estimation.md
	for trace in mobile microwave; do $(CARGO) run --quiet --locked --package testkit --bin sim-plot -- tests/traces/$$trace.csv > docs/plots/estimate-$$trace.svg || exit 1; done

fuzz: ## each fuzz target for FUZZ_SECONDS (600); needs cargo-fuzz and a nightly compiler
	cd tests/fuzz && targets=$$(cargo +nightly fuzz list --fuzz-dir .) && test -n "$$targets" && for target in $$targets; do \
	  cargo +nightly fuzz run --fuzz-dir . $$target -- -max_total_time=$(or $(FUZZ_SECONDS),600) -rss_limit_mb=512 || exit 1; done

clean:
	$(CARGO) clean
	rm -rf web-client/dist web-client/node_modules tests/e2e/node_modules tests/e2e/output
