# Everything to do with a checkout. Needs Python 3.11+, make and git; all else is installed into .venv, from hash-pinned
# lock files. `make help` lists the targets.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
# Written when everything is installed; older than a lock file or pyproject.toml, it is installed again.
INSTALLED := $(VENV)/installed
UV_VENV := $(VENV)-uv
ATHERIS := tests/fuzz/.atheris
PLOT_VENV := tests/benchmarks/.venv
# What the image has, and none of the tools of development: what serves is weighed in it.
SERVING_VENV := build/serving
OBSERVABILITY_VENV := tests/observability/.venv
PLAYWRIGHT := tests/page/.playwright
OTEL := tests/otel/.packages
# The program with its hot path compiled, as the image has it: what is measured, and proven at length. BUILD=. takes the
# checkout itself, interpreted, where there is no C compiler.
COMPILED := build/compiled
BUILD ?= $(COMPILED)
BUILT := $(if $(filter .,$(BUILD)),$(INSTALLED),compile)
RUN := cd $(BUILD) && $(CURDIR)/$(BIN)/python -m
# All that puts the hot path to use; bugs cannot be planted in what is compiled.
COMPILED_TESTS := $(addprefix tests/unit/,core frontend kinesis transport upstream test_driver.py test_compiled.py) tests/model \
    $(addprefix tests/integration/test_,order_and_outcome.py retries_join.py shutdown.py transports.py)
PIN = $(UV_VENV)/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 $(ARGS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# What the lock files say they were made by.
export UV_CUSTOM_COMPILE_COMMAND := make lock
MAKEFLAGS += --no-print-directory --no-builtin-rules

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(INSTALLED) ## run the proxy on its embedded Kinesis, with a stream orders of 4 shards (ARGS adds flags)
	@printf '%s\n' \
	    'The proxy, its embedded Kinesis behind it. Open in a browser, and watch:' \
	    '' \
	    '  http://127.0.0.1:9464/' \
	    '' \
	    'Then send records from another terminal, with any AWS SDK at http://127.0.0.1:4567, or:' \
	    '' \
	    "  curl http://127.0.0.1:4567/ -H 'Content-Type: application/x-amz-json-1.1' \\" \
	    "    -H 'X-Amz-Target: Kinesis_20131202.PutRecord' \\" \
	    "    -d '{\"StreamName\": \"orders\", \"PartitionKey\": \"customer-1\", \"Data\": \"aGVsbG8=\"}'" \
	    '' \
	    '  curl http://127.0.0.1:9464/             what else there is: status, metrics, health, faults' \
	    '  make run ARGS="--fault latency_ms=50"   other settings; all of them: $(BIN)/kinesis-proxy config' \
	    '' \
	    'Ctrl-C drains and stops.' ''
	@$(BIN)/kinesis-proxy serve --upstream embedded --stream orders:4 $(ARGS)

.PHONY: test
test: $(INSTALLED) ## run the tests (ARGS="-k name" selects); a server or SDK that cannot be had is left out, but not in CI
	@$(MAKE) servers || test -z "$$CI"
	@$(MAKE) sdks || test -z "$$CI"
	@$(BIN)/python -m pytest -q $(ARGS)

.PHONY: compiled
compiled: $(INSTALLED) ## compile the hot path with mypyc, and run its tests so (needs a C compiler; ARGS="-k name" selects)
	@$(MAKE) servers || test -z "$$CI"
	@$(MAKE) compile
	@cd $(COMPILED) && $(CURDIR)/$(BIN)/python -m pytest -q -m "not interpreted" $(COMPILED_TESTS) $(ARGS)

.PHONY: compile
compile: $(INSTALLED)
	@test -z "$$(find pyproject.toml proxy \( -name '*.py' -o -name '*.toml' \) -newer $(COMPILED)/compiled 2>&1)" || rm -rf $(COMPILED)
	@rm -rf $(COMPILED)/tests && mkdir -p $(COMPILED)
	@git ls-files -z --cached --others --exclude-standard | \
	    tar --create --null --ignore-failed-read --files-from - | tar --extract --directory $(COMPILED)
	@for installed in $(wildcard tests/servers/.venv tests/servers/node_modules tests/benchmarks/peers/.venv); do \
	    ln -sfn $(CURDIR)/$$installed $(COMPILED)/$$installed; done
	@test -e $(COMPILED)/compiled || { echo 'Compiling into $(COMPILED) ...' && cd $(COMPILED) && \
	    HATCH_BUILD_HOOKS_ENABLE=1 $(CURDIR)/$(BIN)/python -m hatchling build --target wheel >/dev/null && touch compiled; }

.PHONY: check
check: $(INSTALLED) ## what CI runs: linters, types, tests, those of the hot path also on its compiled form
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary
	@$(MAKE) compiled
	@$(MAKE) test

.PHONY: soak
soak: servers $(BUILT) ## the long form of the end-to-end checks
	@$(RUN) tests.integration.soak $(ARGS)

.PHONY: fleet
fleet: $(BUILT) ## eight proxies on four shards, overloaded, with faults, for ten minutes (ARGS="--seconds 60 --data-bytes 8000": short, large records)
	@$(RUN) tests.integration.fleet $(ARGS)

.PHONY: fuzz
fuzz: $(INSTALLED) ## send hostile bytes to every parser (ARGS="--cases 1000000" for long)
	@test $(ATHERIS)/installed -nt tests/fuzz/requirements.lock || { rm -rf $(ATHERIS); \
	    $(PIP) install --require-hashes --only-binary :all: --target $(ATHERIS) -r tests/fuzz/requirements.lock && \
	    touch $(ATHERIS)/installed; } || echo 'atheris cannot be installed here: cases will be made blindly' >&2
	@$(BIN)/python -m tests.fuzz.campaign $(ARGS)

.PHONY: simulate
simulate: $(BUILT) ## run proxies, clients and a faulty service in virtual time (ARGS="--hours 10000 --jobs 2" for long)
	@$(RUN) tests.simulation $(ARGS)

.PHONY: bench
bench: $(BUILT) $(SERVING_VENV)/installed ## measure CPU, memory and latency beside their targets (ARGS="--only cost" for a part; BUILD=. interpreted)
	@$(RUN) tests.benchmarks.bench \
	    --serving $(CURDIR)/$(SERVING_VENV)/bin/python --json $(CURDIR)/build/bench.json $(ARGS)

.PHONY: instructions
instructions: $(BUILT) ## count the instructions of a record with valgrind, for noisy machines (ARGS=--keep; BUILD=. interpreted)
	@$(BIN)/python -m tests.benchmarks.instructions --tree $(BUILD) $(ARGS)

.PHONY: profile
profile: $(INSTALLED) $(PLOT_VENV)/installed ## sample where the CPU time of a record goes: a table and a plot
	@$(BIN)/python -m tests.benchmarks.parts $(ARGS)
	@$(PLOT_VENV)/bin/python tests/benchmarks/parts_plot.py build/parts.json build/parts.svg

.PHONY: peers
peers: producers $(BUILT) ## measure other producers beside the proxy: order, losses, goodput, CPU (ARGS="--only NAME")
	@$(RUN) tests.benchmarks.peers $(ARGS)

.PHONY: producers
producers:
	@PYTHON="$(PYTHON)" tests/benchmarks/peers/install

.PHONY: sharers
sharers: $(BUILT) $(PLOT_VENV)/installed ## show how senders that know nothing of each other share a shard: tables and a plot
	@$(RUN) tests.benchmarks.sharers $(ARGS)
	@test ! -e $(BUILD)/build/sharers.json || \
	    $(PLOT_VENV)/bin/python tests/benchmarks/sharers_plot.py $(BUILD)/build/sharers.json build/sharers.svg

.PHONY: workers
workers: $(INSTALLED) ## measure one process beside two that share the load: CPU, batches, memory
	@$(BIN)/python -m tests.benchmarks.workers $(ARGS)

.PHONY: watch
watch: $(INSTALLED) ## see the alerts fire in a real Prometheus, and the dashboards answer (needs Debian's prometheus)
	@$(BIN)/python -m tests.observability.watch

.PHONY: pictures
pictures: $(INSTALLED) ## draw the dashboards with Grafana's own panels (needs make watch, node, npm and chromium)
	@PYTHON="$(PYTHON)" tests/observability/panels/install
	@$(OBSERVABILITY_VENV)/bin/python tests/observability/round_trip.py grafana/dashboards/*.json
	@$(BIN)/python -m tests.observability.pictures

.PHONY: page
page: $(INSTALLED) ## look at the page to watch in headless Chromium, under load; pictures go to build/page (ARGS="-k phone")
	@test $(PLAYWRIGHT)/installed -nt tests/page/requirements.lock || { rm -rf $(PLAYWRIGHT); \
	    $(PIP) install --require-hashes --only-binary :all: --target $(PLAYWRIGHT) -r tests/page/requirements.lock && \
	    touch $(PLAYWRIGHT)/installed; }
	@$(BIN)/python -m pytest -q tests/page/page_checks.py $(ARGS)

.PHONY: otel
otel: $(INSTALLED) ## check the spans that kinesis-proxy[otel] makes
	@test $(OTEL)/installed -nt requirements-otel.lock || { rm -rf $(OTEL); \
	    $(PIP) install --require-hashes --only-binary :all: --target $(OTEL) -r requirements-otel.lock && \
	    touch $(OTEL)/installed; }
	@$(BIN)/python -m pytest -q tests/otel/otel_checks.py $(ARGS)

.PHONY: servers
servers: ## install the independent Kinesis servers that the integration tests use
	@PYTHON="$(PYTHON)" tests/servers/install

.PHONY: sdks
sdks: ## install the AWS SDKs of other languages that the conformance tests use
	@PYTHON="$(PYTHON)" tests/conformance/sdks/install

.PHONY: lock
lock: ## pin the dependencies anew (ARGS=--upgrade takes the newest)
	@test -x $(UV_VENV)/bin/uv || { $(PYTHON) -m venv $(UV_VENV) && $(UV_VENV)/bin/python -m pip install --quiet uv; }
	@$(PIN) pyproject.toml -o requirements.lock
	@$(PIN) pyproject.toml --group dev -o requirements-dev.lock
	@$(PIN) pyproject.toml --extra otel --constraint requirements.lock -o requirements-otel.lock
	@cd tests/servers && $(CURDIR)/$(PIN) requirements.in -o requirements.lock
	@cd tests/fuzz && $(CURDIR)/$(PIN) requirements.in -o requirements.lock
	@cd tests/benchmarks/peers && $(CURDIR)/$(PIN) requirements.in -o requirements.lock
	@cd tests/benchmarks && $(CURDIR)/$(PIN) requirements.in -o requirements.lock
	@$(PIN) --group compile -o deploy/requirements-build.lock
	@cd tests/deploy && $(CURDIR)/$(PIN) requirements.in -o requirements.lock
	@cd tests/deploy && $(CURDIR)/$(PIN) --no-deps binaries.in -o binaries.lock
	@cd tests/observability && $(CURDIR)/$(PIN) requirements.in -o requirements.lock
	@cd tests/page && $(CURDIR)/$(PIN) requirements.in -o requirements.lock

.PHONY: tables
tables: $(INSTALLED) ## write anew what is generated: tables of settings, metrics and alerts, dashboards, and in deploy/ rules and values
	@$(BIN)/python -m tests.support.readme_tables
	@$(BIN)/python -m tests.support.operations_tables
	@$(BIN)/python -m tests.support.dashboards
	@$(BIN)/python -m tests.support.deploy_files

.PHONY: manifests
manifests: $(INSTALLED) tables ## render deploy/ with kubectl and helm, and hold it against schemas, linters and the program
	@PYTHON="$(PYTHON)" tests/deploy/install
	@$(BIN)/python -m pytest -q tests/deploy/manifest_checks.py $(ARGS)
	@test -n "$(ARGS)" || $(BIN)/python -m tests.deploy.render

.PHONY: image
image: $(INSTALLED) ## build the image with buildah, run it with podman, put records through it and stop it (as root)
	@$(BIN)/python -m tests.deploy.image $(ARGS)

.PHONY: clean
clean: ## remove what the other targets made
	rm -rf $(VENV) $(UV_VENV) tests/servers/.venv tests/servers/node_modules tests/deploy/.venv $(ATHERIS) $(PLOT_VENV) tests/fuzz/corpus build dist
	rm -rf tests/benchmarks/peers/.venv $(OBSERVABILITY_VENV) tests/observability/panels/node_modules $(PLAYWRIGHT) $(OTEL)
	cd tests/conformance/sdks && rm -rf go/build java/target js/node_modules kpl/target
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find proxy tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "$(PYTHON) is not Python 3.11 or newer: name one that is, for example make PYTHON=python3.12 run" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	    echo "$(PYTHON) cannot make a virtual environment (on Debian: apt-get install python3-venv)" >&2; exit 1; }

$(SERVING_VENV)/installed: requirements.lock
	@rm -rf $(SERVING_VENV)
	@$(PYTHON) -m venv $(SERVING_VENV)
	@$(SERVING_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r requirements.lock
	@touch $@

$(PLOT_VENV)/installed: tests/benchmarks/requirements.lock
	@rm -rf $(PLOT_VENV)
	@$(PYTHON) -m venv $(PLOT_VENV)
	@$(PLOT_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes \
	    --only-binary :all: -r tests/benchmarks/requirements.lock
	@touch $@

$(INSTALLED): requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo 'Installing into $(VENV) ...'
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@
