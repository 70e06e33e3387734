# Each target prepares what it needs. `make help` lists them.
SHELL := /bin/bash
-include .env
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
CBI_HOME ?= $(CURDIR)/var
ARCHIVE := $(or $(CBI_ARCHIVE),$(CURDIR)/../shared/archive)
PREFECT := PREFECT_HOME=$(CBI_HOME)/prefect DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false $(VENV)/bin/prefect --no-prompt
UI_PORT ?= 4200
UI_HOST ?= 127.0.0.1

.DEFAULT_GOAL := help
.PHONY: help setup demo daily train bake-off-report test test-faults soak lint bench bench-peers surface device-check proofs sql-check cost-report test-cloud docs health new-source audit bundle secret-scan audit-dependencies ui up down status trigger worker deployments install-mac uninstall-mac install-linux uninstall-linux lock lock-check clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: $(VENV)/installed ## create .venv with every version pinned

$(VENV)/installed: pyproject.toml constraints.txt
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install --quiet --quiet --no-compile --constraint constraints.txt --editable '.[dev,train,cloud]'
	@$(RUN) -m compileall -qq -j 0 $(VENV)/lib || true # pip does it on one core; like pip, what is no Python 3 is passed over
	@touch $@

demo: setup ## the daily run on the recorded archive (no keys, no network)
	@if [ -d "$(ARCHIVE)" ]; then $(RUN) -m flows.daily --origin "$(ARCHIVE)"; \
	else echo "no recorded archive at $(ARCHIVE) (set CBI_ARCHIVE): asking the keyless sources live instead"; \
	$(RUN) -m flows.daily --origin live || { [ $$? -ne 3 ] || echo "neither archive nor network: set CBI_ARCHIVE to a recorded archive, or connect to the internet and run 'make demo' again"; exit 1; }; fi

daily: setup ## the daily run on the live sources
	@$(RUN) -m flows.daily --origin live

train: setup ## the bake-off on the exported training files: make train BUDGET=daily|quick|full RUNNER=local|dask|ray
	@$(RUN) -m flows.training --budget $(or $(BUDGET),daily) --runner $(or $(RUNNER),local)

bake-off-report: setup ## docs/results/bake_off.md and its figures, from the newest bake-off of BUDGET (default: full)
	@$(RUN) -m tasks.reporting.bake_off_report --budget $(or $(BUDGET),full)

test: setup ## every test, on two processes
	@$(RUN) -m pytest -n 2 --dist loadgroup -m "not long"

test-faults: setup ## every fault on real processes; writes docs/reliability.md
	@RELIABILITY_PAGE=docs/reliability.md $(RUN) -m pytest -n 2 --dist loadgroup -m faults --timeout 1800

soak: setup ## sessions replayed with kills and without: make soak SESSIONS=250 FROM=2022-12-30; writes docs/results/soak.md
	@$(RUN) -m flows.soak --sessions $(or $(SESSIONS),250) --from $(or $(FROM),2022-12-30) --report docs/results/soak.md

test-cloud: setup $(CBI_HOME)/emulators/installed ## both contract suites on DuckDB and a folder and on emulators of Google's services
	@EMULATORS="$(CBI_HOME)/emulators/bin" $(RUN) -m pytest tests/warehouse tests/cloud
	@EMULATORS="$(CBI_HOME)/emulators/bin" $(RUN) -m pytest -m cloud --ignore tests/warehouse --ignore tests/cloud || [ $$? -eq 5 ]

$(CBI_HOME)/emulators/installed: tests/cloud/requirements.txt
	@test -x "$(CBI_HOME)/emulators/bin/python" || $(PYTHON) -m venv "$(CBI_HOME)/emulators"
	@"$(CBI_HOME)/emulators/bin/python" -m pip install --quiet --quiet --requirement tests/cloud/requirements.txt
	@"$(CBI_HOME)/emulators/bin/python" -c "import duckdb_extensions; duckdb_extensions.import_extension('spatial')"
	@touch "$@"

lint: setup secret-scan ## ruff, mypy, a scan for keys, and whether prefect.yaml is what the registry says
	@$(VENV)/bin/ruff format --check . && $(VENV)/bin/ruff check . && $(VENV)/bin/mypy && $(RUN) -m flows.deployments --check

bench: setup ## measure, and write docs/results/bench.md
	@$(RUN) -m bench

bench-peers: setup ## libraries from outside on the same folds, in an environment of their own: docs/results/bench_peers.md
	@test -f "$(CBI_HOME)/exports/manifest.json" || $(MAKE) --no-print-directory demo
	@test -x "$(CBI_HOME)/peers/bin/python" || $(PYTHON) -m venv "$(CBI_HOME)/peers"
	@"$(CBI_HOME)/peers/bin/python" -m pip install --quiet --quiet --requirement bench/peers/requirements.txt
	@CBI_HOME="$(CBI_HOME)" $(RUN) -m bench.peers "$(CBI_HOME)/peers/bin/python"

surface: setup ## choose the production surface on what the last run left: writes registry/production_surface.yaml
	@test -f "$(CBI_HOME)/exports/manifest.json" || $(MAKE) --no-print-directory demo
	@$(RUN) -m tasks.evaluation.surface

device-check: setup ## every neural family for one batch on CBI_DEVICE (default: the best there is) against the CPU
	@$(RUN) -m tasks.models.neural.device_check

proofs: setup ## both proofs against leaks in full, on what the last run left: writes the audit and docs/results/proofs.md
	@test -f "$(CBI_HOME)/exports/manifest.json" || $(MAKE) --no-print-directory demo
	@$(RUN) -m tasks.proofs

sql-check: setup ## every SQL statement parsed in both dialects and run over empty tables; CBI_WAREHOUSE=bigquery://… adds bytes and price
	@$(RUN) -m tasks.warehouse.sql_check

cost-report: setup ## docs/results/bigquery_cost.md, from the published DuckDB warehouse
	@$(RUN) -m tasks.warehouse.cost

docs: setup ## write docs/data_dictionary.md from the registry
	@$(RUN) -m tasks.reporting.data_dictionary

health: setup ## sources, forecast, gates, champions, disk, warehouse: 0 ok, 1 warnings, 2 failing
	@$(RUN) -m flows.health

audit: setup ## every file and table held: whose it is, whether it is sound, what to do with it
	@$(RUN) -m flows.audit

bundle: setup ## what a helper needs to see, without secrets: CBI_HOME/support/cbi-support-<time>.tar.gz
	@$(RUN) -m flows.support_bundle

secret-scan: setup ## no key in any tracked file that changed since the last scan; .secrets.baseline lists what is none
	@git ls-files -- ':!*.png' ':!.secrets.baseline' | while read -r file; do \
	  if [ -f "$$file" ] && [ ! "$(VENV)/secrets-scanned" -nt "$$file" ]; then echo "$$file"; fi; done > $(VENV)/secrets-to-scan
	@touch $(VENV)/secrets-scanning
	@tr '\n' '\0' < $(VENV)/secrets-to-scan | xargs -0 sh -c '$(VENV)/bin/detect-secrets-hook --no-verify --baseline .secrets.baseline "$$@" || [ $$? -eq 3 ]' sh  # 3: only lines moved
	@mv $(VENV)/secrets-scanning $(VENV)/secrets-scanned

audit-dependencies: setup ## pinned packages against known vulnerabilities; says so where nobody can be asked
	@$(RUN) -m tasks.operations.dependency_audit

new-source: setup ## write the skeleton of a source: make new-source NAME=my_source
	@$(RUN) -m tasks.operations.new_source $(NAME)

ui: setup ## Prefect's server and UI on http://127.0.0.1:4200
	@echo "UI: http://127.0.0.1:$(UI_PORT)  (a run against it: PREFECT_API_URL=http://127.0.0.1:$(UI_PORT)/api make demo)"
	@PREFECT_UI_API_URL=http://127.0.0.1:$(UI_PORT)/api $(PREFECT) server start --host 127.0.0.1 --port $(UI_PORT)

up: setup ## server, deployments and worker in the background: make up UI_PORT=4200
	@CBI_HOME="$(CBI_HOME)" $(RUN) -m flows.services up --host $(UI_HOST) --port $(UI_PORT)

down: ## end what `make up` started
	@CBI_HOME="$(CBI_HOME)" $(RUN) -m flows.services down

status: setup ## what `make up` started, and every deployment's next run
	@CBI_HOME="$(CBI_HOME)" $(RUN) -m flows.services status

trigger: setup ## run a deployment on the worker and wait: make trigger NAME=daily/daily ORIGIN=../shared/archive
	@CBI_HOME="$(CBI_HOME)" $(RUN) -m flows.services trigger $(or $(NAME),daily/daily) $(if $(ORIGIN),--origin "$(ORIGIN)") $(if $(AS_OF),--as-of $(AS_OF)) $(if $(AGAIN),--again)

worker: setup ## one more worker, in this terminal
	@CBI_HOME="$(CBI_HOME)" $(RUN) -m flows.services worker

deployments: setup ## write prefect.yaml from the registry
	@$(RUN) -m flows.deployments

install-mac: setup ## server and worker as launchd agents: make install-mac UI_PORT=4200 VOLUME=/Volumes/Data
	@CBI_HOME="$(CBI_HOME)" $(RUN) -m flows.install mac --host $(UI_HOST) --port $(UI_PORT) $(if $(VOLUME),--volume "$(VOLUME)")

uninstall-mac: ## end them and take the agents away; CBI_HOME stays
	@$(RUN) -m flows.install mac --remove

install-linux: setup ## server and worker as systemd units of the user: make install-linux UI_PORT=4200 VOLUME=/mnt/data
	@CBI_HOME="$(CBI_HOME)" $(RUN) -m flows.install linux --host $(UI_HOST) --port $(UI_PORT) $(if $(VOLUME),--volume "$(VOLUME)")

uninstall-linux: ## end them and take the units away; CBI_HOME stays
	@$(RUN) -m flows.install linux --remove

lock: setup ## resolve constraints.txt anew from pyproject.toml
	@MACOSX_DEPLOYMENT_TARGET=14.0 $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --all-extras \
	  --no-annotate --no-header --upgrade pyproject.toml --output-file constraints.txt

lock-check: setup ## prove that constraints.txt resolves for macOS 14 arm64 and Linux x86-64
	@for platform in aarch64-apple-darwin x86_64-unknown-linux-gnu; do \
	  MACOSX_DEPLOYMENT_TARGET=14.0 $(VENV)/bin/uv pip compile --quiet --python-platform $$platform --python-version 3.11 --only-binary :all: \
	  --all-extras --constraint constraints.txt --no-annotate --no-header pyproject.toml --output-file $(VENV)/resolved-$$platform.txt || exit 1; \
	  loose=$$(cut -d' ' -f1 $(VENV)/resolved-$$platform.txt | grep -vxFf <(cut -d' ' -f1 constraints.txt)); \
	  if [ -n "$$loose" ]; then echo "$$platform: not pinned in constraints.txt: $$loose (run make lock)"; exit 1; fi; \
	  echo "$$platform: $$(wc -l < $(VENV)/resolved-$$platform.txt) packages, every one pinned, every one a wheel"; done

clean: ## delete .venv (CBI_HOME stays)
	@rm -rf $(VENV)
