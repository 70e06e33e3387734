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

.DEFAULT_GOAL := help
.PHONY: help setup demo daily train bake-off-report test lint bench bench-peers surface device-check proofs docs health new-source audit bundle secret-scan audit-dependencies ui lock lock-check clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: $(VENV)/installed ## create .venv with every version pinned

$(VENV)/installed: pyproject.toml constraints.txt
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install --quiet --quiet --constraint constraints.txt --editable '.[dev,train,cloud]'
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
	@$(RUN) -m pytest -n 2 --dist loadgroup

lint: setup secret-scan ## ruff, mypy, and a scan for keys
	@$(VENV)/bin/ruff format --check . && $(VENV)/bin/ruff check . && $(VENV)/bin/mypy

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
	@tr '\n' '\0' < $(VENV)/secrets-to-scan | xargs -0 $(VENV)/bin/detect-secrets-hook --no-verify --baseline .secrets.baseline
	@mv $(VENV)/secrets-scanning $(VENV)/secrets-scanned

audit-dependencies: setup ## pinned packages against known vulnerabilities; says so where nobody can be asked
	@$(RUN) -m tasks.operations.dependency_audit

new-source: setup ## write the skeleton of a source: make new-source NAME=my_source
	@$(RUN) -m tasks.operations.new_source $(NAME)

ui: setup ## Prefect's server and UI on http://127.0.0.1:4200
	@echo "UI: http://127.0.0.1:$(UI_PORT)  (a run against it: PREFECT_API_URL=http://127.0.0.1:$(UI_PORT)/api make demo)"
	@PREFECT_UI_API_URL=http://127.0.0.1:$(UI_PORT)/api $(PREFECT) server start --host 127.0.0.1 --port $(UI_PORT)

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
