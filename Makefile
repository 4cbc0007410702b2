# make demo: the whole story on this machine. make test: every test. Both set up all they need in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LOCKED := $(VENV)/.locked
READY := $(VENV)/.ready
FUZZ_READY := $(VENV)/.fuzz

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(LOCKED): requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "wisp needs Python 3.11 or later; name one: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { echo "no venv module: apt-get install python3-venv"; exit 1; }
	@echo "installing the locked dependencies into $(VENV) ..."
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

$(READY): $(LOCKED) pyproject.toml
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# Byte code is compiled ahead, as an installer would: start-up is measured, and some machines forbid writing it later.
.PHONY: ready
ready: $(READY)
	@$(BIN)/python -m compileall -q src

.PHONY: demo
demo: ready ## run the walk-through on this machine
	@$(BIN)/wisp demo

# pytest rewrites every test's assertions, which takes as long as many a test: it may keep what it made.
test check test-long test-chart test-image fuzz siege interop cluster: export PYTHONDONTWRITEBYTECODE =

# Suites with targets of their own: they build or fetch what others made, or they take minutes.
OWN_TARGETS := long or chart or image or fuzz or siege or interop or cluster
PYTEST := $(BIN)/python -m pytest

.PHONY: test
test: ready ## run the tests, in parallel; tests of tools that are not installed are skipped, and the tools are listed
	@$(PYTEST) -n auto -m "not ($(OWN_TARGETS))"

.PHONY: test-bare
test-bare: ready ## run the demo and the tests as on a machine without nft, wrk and the like, as root
	@$(BIN)/python -m tests.support.bare $(MAKE) --no-print-directory demo test

.PHONY: test-long
test-long: ready ## run the simulations and the memory tests (needs wrk)
	@$(PYTEST) -n auto -m long

.PHONY: test-chart
test-chart: ready ## compare the chart with its golden files; builds Helm once (needs go)
	@$(BIN)/python -m tests.helm.build
	@$(PYTEST) -m chart

.PHONY: test-image
test-image: image ## build the container image and test it, as root (needs buildah, mmdebstrap, crun and nft)
	@WISP_IMAGE=dist/wisp-image.tar $(PYTEST) -m image

.PHONY: siege
siege: ready ## attack the webhook and the sidecar in 128 MiB each, as root (needs memory cgroups)
	@$(PYTEST) -n 0 -m siege

.PHONY: interop
interop: ready ## run the SDKs of six languages, az and programs that use them against the sidecar; builds them once (needs go, node, mvn, cargo)
	@$(BIN)/python -m tests.interop.build
	@$(PYTEST) -m interop

.PHONY: cluster
cluster: ready ## run the tests in a real cluster on this machine, as root; builds Kubernetes once (needs go, npm, java, mvn, containerd, crun, etcd, buildah)
	@$(BIN)/python -m tests.cluster.build
	@$(PYTEST) -m cluster

.PHONY: test-all
test-all: ## run every suite, and say how long each took
	@$(PYTHON) -m tests.support.suites test test-bare test-long test-chart test-image fuzz siege interop cluster

.PHONY: check
check: ready ## lint, types, layers and the fast tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(PYTEST) -q -n $(shell nproc) -m "not (system or $(OWN_TARGETS))"

$(FUZZ_READY): $(READY) requirements/fuzz.txt
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements/fuzz.txt
	@touch $@

SEED ?= 1
.PHONY: fuzz
fuzz: ready $(FUZZ_READY) ## test the fuzzer, fuzz the request path and measure the parsers' growth, a minute each at most (SEED=0 for a new seed)
	@$(PYTEST) -m fuzz
	@$(BIN)/python -m tests.fuzz run --seconds 60 --seed $(SEED)
	@$(BIN)/python -m tests.fuzz growth --seconds 60 --seed $(SEED)

HOURS ?= 8
.PHONY: fuzz-nightly
fuzz-nightly: ready $(FUZZ_READY) ## fuzz for HOURS (8), with a new seed, beginning where the last night ended
	@$(BIN)/python -m tests.fuzz run --seconds $$(($(HOURS) * 3600)) --seed 0 --endless --kept $(HOME)/.cache/wisp/fuzz
	@$(BIN)/python -m tests.fuzz growth --seconds 3600 --seed 0 --kept $(HOME)/.cache/wisp/fuzz

.PHONY: bench
bench: ready ## measure the sidecar against a bare server (REFERENCE_PROXY=path adds a third column)
	@$(BIN)/python -m bench

BASE ?= debian

.PHONY: image
image: ready ## build the container image as dist/wisp-image.tar (IMAGE=name:tag BASE=debian or what FROM takes; needs buildah, and mmdebstrap for debian)
	@$(BIN)/python -m image --base $(BASE) $(if $(IMAGE),--name $(IMAGE))

.PHONY: wheels
wheels: ready ## fetch and build the wheels that the Containerfile installs, for another builder than `make image`
	@$(BIN)/python -m image.wheels

.PHONY: manifest
manifest: ready ## make the manifests in deploy/ of the chart, and the chart's golden files (needs go)
	@$(BIN)/python -m tests.helm.build
	@$(BIN)/python -m tests.chart.manifest
	@$(BIN)/python -m tests.chart.cases

.PHONY: bench-webhook
bench-webhook: ready ## measure the webhook against a bare TLS server
	@$(BIN)/python -m bench.webhook

.PHONY: bench-gateway
bench-gateway: ready ## measure the gateway against a bare TLS server
	@$(BIN)/python -m bench.gateway

.PHONY: bench-cluster
bench-cluster: ready ## measure how long pods take to start in a real cluster, with the sidecar and without (as root)
	@$(BIN)/python -m bench.cluster

.PHONY: screenshots
screenshots: ready ## take the pictures of docs/reference/page.md again (needs chromium; prettiest with fonts-inter and fonts-jetbrains-mono)
	@$(BIN)/python -m tests.unit.wisp_local.cloud.page.screenshots docs/images

.PHONY: bench-cloud
bench-cloud: ready ## measure the local Entra
	@$(BIN)/python -m bench.cloud

.PHONY: lock
lock: ready ## pin the dependencies again (UPGRADE=--upgrade: at their newest)
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet uv
	@$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --generate-hashes --universal --python-version 3.11 --no-header --quiet $(UPGRADE) -o requirements/dev.txt
	@$(BIN)/uv pip compile --group fuzz --generate-hashes --universal --python-version 3.11 --no-header --quiet $(UPGRADE) -o requirements/fuzz.txt
	@$(BIN)/uv pip compile pyproject.toml --generate-hashes --universal --python-version 3.11 --no-header --quiet $(UPGRADE) -o requirements/proxy.txt
	@$(BIN)/uv pip compile pyproject.toml --extra webhook --constraint requirements/dev.txt --generate-hashes --universal --python-version 3.11 --no-header --quiet $(UPGRADE) -o requirements/image.txt

.PHONY: clean
clean: ## remove what the targets made
	rm -rf $(VENV) fuzz-found dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
