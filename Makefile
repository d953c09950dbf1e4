# Every target is a thin call of the `trueup` command or of a well-known tool. Bare `make` prints them.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: help env demo trace test check format bench dashboards up down status lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

env: $(READY) ## everything the others need: .venv, Java, Kafka, Postgres, Prometheus; the second call does nothing

# One rule makes all of it, so that an interrupted run is taken up again. What is locked decides when it runs anew.
$(READY): requirements.lock devstack/kafka-jars.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Trueup needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Name another one: make env PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "this Python cannot make virtual environments; type: sudo apt-get install $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" >&2; exit 2; }
	@echo "env: making .venv and installing $$(grep -c '^[a-z].*==' requirements.lock) locked packages (once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --require-hashes -r requirements.lock \
		| awk '/^Collecting/ { if (++n % 20 == 0) print "env: " n " packages fetched" } /^Installing/ { print "env: installing them" } { fflush() }'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m devstack.java
	@$(BIN)/python -m devstack.postgres
	@$(BIN)/python -m devstack.prometheus || echo "env: without it make check and make test fail; everything else works"
	@touch $(READY)
	@echo "env: ready"

demo: $(READY) ## a simulated billing month, proved; TRACE=file.csv [MAP=…] [CLOCK=system SHIFT=1] feeds a real trace
	@$(BIN)/python -m devstack.demo $(if $(TRACE),--trace '$(TRACE)') $(if $(MAP),--map '$(MAP)') $(if $(CLOCK),--clock $(CLOCK)) $(if $(SHIFT),--shift) $(ARGS)

# A real hour of LLM inference with sums known from outside; it is not part of this repository.
SHARED_TRACE ?= ../shared/data/azure_llm_inference_2023_conversation.csv
SHARED_SUMS := events=38732,input_tokens=22361870,output_tokens=4088665
trace: $(READY) ## the shared trace at its known sums, under both clocks
	@$(BIN)/python -m devstack.demo --trace '$(SHARED_TRACE)' --expect $(SHARED_SUMS) --json build/trace-simulated.json
	@$(BIN)/python -m devstack.demo --trace '$(SHARED_TRACE)' --expect $(SHARED_SUMS) --clock system --shift --json build/trace-system.json

# Each worker has a broker and a Postgres of its own; the tests of a file stay together and in order. Tests wait for leases and sessions
# to run out: three workers keep two cores busy, two leave a third of them idle.
WORKERS ?= 3
test: $(READY) ## the whole test suite on real parts; ARGS="-k name" picks some, WORKERS=4 suits a larger machine
	@$(BIN)/python -m devstack.prometheus
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(READY) ## format, lint, types, import contracts, SQL, promtool, schema compatibility, the house's own rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/squawk --config .squawk.toml trueup/ledger/sql/migrations/*.sql
	$(BIN)/python -m pytest -q tests/tidy tests/unit/contracts/test_schemas.py tests/unit/contracts/test_golden.py

format: $(READY) ## lays out Python as `make check` wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

BENCHMARKS := codec dedupe capture
bench: $(READY) ## the benchmarks, each with the count check of its own run; the report is build/bench.md
	@mkdir -p build && : > build/bench.md
	@for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.bench_$$name | tee -a build/bench.md; echo | tee -a build/bench.md; done

dashboards: $(READY) ## writes the Grafana dashboard anew from deploy/grafana/generate.py
	$(BIN)/python deploy/grafana/generate.py

up: $(READY) ## the street, kept running for play
	$(BIN)/trueup up $(ARGS)

down: $(READY) ## stops it
	$(BIN)/trueup down

status: $(READY) ## how its parts are
	$(BIN)/trueup status

lock: $(READY) ## resolves all packages anew and locks them by hash
	env -u PIP_FIND_LINKS $(BIN)/pip-compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--no-annotate --no-header --strip-extras --allow-unsafe --extra street --extra devstack --extra dev --output-file requirements.lock pyproject.toml

clean: ## takes away everything that was made here, downloads too
	rm -rf .venv .trueup build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
