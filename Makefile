# `make help` lists the targets. Each one prepares what it needs in .venv: a demo needs the base, training its extra.
# Settings are read by Python alone (tasks/settings.py): from the environment and .env. Paths may hold any character.
SHELL := /bin/bash
VENV := .venv
RUN := $(VENV)/bin/python
PYTHONS := $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3)
PIP := $(RUN) -m pip install --quiet --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --editable
HOME_FOLDER = "$$($(RUN) -m cli project setting home)"
UI_PORT ?= 4200
UI_HOST ?= 127.0.0.1
# an argument of make as one word of the shell, whatever is in it
quoted = '$(subst ','\'',$(1))'

.DEFAULT_GOAL := help
.PHONY: doctor serve site test-site lighthouse help setup needed worker-needs demo daily train bake-off-report test test-more test-faults soak lint bench bench-peers surface device-check proofs time-machine false-prices sql-check cost-report test-cloud docs docs-site health new-source audit bundle rolls curve lived control-chart world mutants cost-of-a-day secret-scan audit-dependencies ui up down status trigger worker deployments install-mac uninstall-mac install-linux uninstall-linux lock lock-check clean track-record buyer-backtest promotion-power bands direction


help: ## list the targets, by who needs them
	@awk -F ':.*## ' '/^# -- / {sub(/^# -- /, ""); sub(/ *-*$$/, ""); title = $$0} \
	  /^[a-z-]+:.*## / {if (title != "") {print "\n" title; title = ""} printf "  make %-18s %s\n", $$1, $$2}' Makefile

# -- what gets installed ---------------------------------------------------------------------------------------------
$(RUN):
	@for python in $(PYTHONS); do \
	  if "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then \
	    echo "setting up $(VENV) with $$("$$python" --version); the packages are about 1.2 GB for a demo, 3 GB for training"; \
	    exec "$$python" -m venv $(VENV); fi; done; \
	echo "CBI runs on Python 3.11, 3.12, 3.13 or 3.14, and none was found among: $(PYTHONS)"; \
	echo "  macOS:          brew install python@3.13"; \
	echo "  Debian, Ubuntu: sudo apt install python3 python3-venv"; \
	echo "or name one: make PYTHON=/path/to/python3 …"; exit 1

# pip compiles on one core; like pip, a file that is not Python 3 is skipped
compiled = { $(RUN) -m compileall -qq -j 0 $(VENV)/lib >/dev/null 2>&1 || true; }

# uv takes a third of pip's time; where it is not available, or reads another registry than pip, pip installs
$(VENV)/base: pyproject.toml constraints.txt | $(RUN)
	@{ $(RUN) -m pip install --quiet --quiet --no-compile --disable-pip-version-check --constraint constraints.txt uv && \
	  $(VENV)/bin/uv pip install --quiet --python $(RUN) --constraint constraints.txt --compile-bytecode --editable . 2>/dev/null; } || \
	  { $(PIP) . && $(compiled); }
	@touch $@

$(VENV)/train: $(VENV)/base
	@$(PIP) '.[train]'
	@$(compiled)
	@touch $@

$(VENV)/cloud: $(VENV)/base
	@$(PIP) '.[cloud]'
	@$(compiled)
	@touch $@

$(VENV)/serve: $(VENV)/base
	@$(PIP) '.[serve]'
	@$(compiled)
	@touch $@

$(VENV)/dev: pyproject.toml constraints.txt | $(RUN)
	@$(PIP) '.[dev,train,cloud,docs,serve]'
	@$(compiled)
	@touch $(VENV)/base $(VENV)/train $(VENV)/cloud $(VENV)/docs $(VENV)/serve $@

$(VENV)/docs: $(VENV)/base
	@$(PIP) '.[docs]'
	@touch $@

$(VENV)/scale: $(VENV)/train
	@$(PIP) '.[scale]'
	@touch $@

needed: $(VENV)/base
	@for extra in $$($(RUN) -m cli project setting extras); do $(MAKE) --no-print-directory "$(VENV)/$$extra" || exit 1; done

worker-needs: $(VENV)/train needed

setup: $(RUN) ## everything: what training, Google Cloud and development need
	@test -f $(VENV)/dev || echo "installing all packages (3 GB); this takes some minutes and prints nothing"
	@$(MAKE) --no-print-directory --silent $(VENV)/dev
	@echo "ready. Next: source .venv/bin/activate, then cbi setup (docs/going_live.md)"

# -- for the reader of the forecast -----------------------------------------------------------------------------------------------------
demo: needed ## the daily run on the recorded archive: no keys, no network
	@$(RUN) -m cli daily --origin recorded

daily: needed ## the daily run on the live sources
	@$(RUN) -m cli daily --origin live

site: needed ## build the site that a buyer opens, and serve it on a free port of this machine
	@$(RUN) -m cli site --serve

train: worker-needs $(if $(filter dask ray,$(RUNNER)),$(VENV)/scale) ## the bake-off on the training files: make train BUDGET=daily|quick|full RUNNER=local|dask|ray
	@$(RUN) -m cli train --budget $(call quoted,$(or $(BUDGET),daily)) --runner $(call quoted,$(or $(RUNNER),local))

health: needed ## sources, forecast, gates, champions, disk, warehouse: 0 ok, 1 warnings, 2 failing
	@$(RUN) -m cli health

doctor: needed ## whether this machine can run CBI every day: make doctor REPORT=first-mac.md writes a file to send back
	@$(RUN) -m cli doctor $(if $(REPORT),--report $(call quoted,$(REPORT)))

serve: needed $(VENV)/serve ## the read-only door for programs: JSON and MCP on this machine, until Ctrl-C
	@$(RUN) -m cli serve

audit: needed ## every file and table: its owner, whether it is intact, what to do with it
	@$(RUN) -m cli audit

bundle: needed ## what a helper needs to see, without secrets: CBI_HOME/support/cbi-support-<time>.tar.gz
	@$(RUN) -m cli support

# -- for whoever runs it every day ------------------------------------------------------------------------------------------------------
ui: needed ## Prefect's server and UI on http://127.0.0.1:4200, until Ctrl-C
	@$(RUN) -m cli services ui --port $(call quoted,$(UI_PORT))

up: worker-needs ## server, deployments and worker in the background: make up UI_PORT=4200
	@$(RUN) -m cli services up --host $(call quoted,$(UI_HOST)) --port $(call quoted,$(UI_PORT))

down: needed ## end what `make up` started
	@$(RUN) -m cli services down

status: needed ## what `make up` started, and every deployment's next run
	@$(RUN) -m cli services status

trigger: worker-needs ## run a deployment on the worker and wait: make trigger NAME=daily/daily ORIGIN=recorded
	@$(RUN) -m cli services trigger $(call quoted,$(or $(NAME),daily/daily)) $(if $(ORIGIN),--origin $(call quoted,$(ORIGIN))) $(if $(AS_OF),--as-of $(call quoted,$(AS_OF))) $(if $(AGAIN),--again)

worker: worker-needs ## one more worker, in this terminal
	@$(RUN) -m cli services worker

install-mac: worker-needs ## server and worker as launchd agents: make install-mac UI_PORT=4200 VOLUME=/Volumes/Data
	@$(RUN) -m cli services install mac --host $(call quoted,$(UI_HOST)) --port $(call quoted,$(UI_PORT)) $(if $(VOLUME),--volume $(call quoted,$(VOLUME)))

uninstall-mac: needed ## end them and delete the agents; CBI_HOME stays
	@$(RUN) -m cli services uninstall mac

install-linux: worker-needs ## server and worker as systemd units of the user: make install-linux UI_PORT=4200 VOLUME=/mnt/data
	@$(RUN) -m cli services install linux --host $(call quoted,$(UI_HOST)) --port $(call quoted,$(UI_PORT)) $(if $(VOLUME),--volume $(call quoted,$(VOLUME)))

uninstall-linux: needed ## end them and delete the units; CBI_HOME stays
	@$(RUN) -m cli services uninstall linux

# one test process more than cores, for one of them often waits for a server; more than five wait for each other
TESTERS = $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? n + 1 : 5)))

# -- for developers ---------------------------------------------------------------------------------------------------------
test: $(VENV)/dev ## what guards every behavior: about 20 minutes on two cores (docs/tests.md)
	@$(RUN) -m pytest -n $(TESTERS) --dist loadgroup -m "not more and not long"

test-more: $(VENV)/dev ## what takes longer: real processes killed, whole-registry days, bake-offs
	@$(RUN) -m pytest -n 2 --dist loadgroup -m "more and not long"

test-faults: $(VENV)/dev ## every fault on real processes; writes docs/reliability.md (an hour, alone)
	@RELIABILITY_PAGE=docs/reliability.md $(RUN) -m pytest -n 2 --dist loadgroup -m faults --timeout 1800

test-site: $(VENV)/dev .venv/browser ## the site in headless Chromium, from the system's packages: pages, phone and desktop, light and dark, axe
	@$(RUN) -m pytest -m browser tests/browser

lighthouse: $(VENV)/dev .venv/browser ## Lighthouse on the site's page Today, desktop and phone; docs/results/site.md
	@test -f $(HOME_FOLDER)/site/index.html || $(MAKE) --no-print-directory demo
	@$(RUN) -m evidence.site

.venv/browser: tests/browser/package.json | $(RUN)
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium; } || { echo "install chromium first (Debian, Ubuntu: sudo apt install chromium; macOS: brew install --cask chromium)"; exit 1; }
	@npm install --silent --no-audit --no-fund --prefix .venv/browser-packages $$($(RUN) -c 'import json; d = json.load(open("tests/browser/package.json"))["dependencies"]; print(*(f"{n}@{v}" for n, v in d.items()))')
	@touch $@

test-cloud: $(VENV)/dev .venv-emulators/installed ## both contract suites on DuckDB and a folder and on emulators of Google's services
	@EMULATORS="$$PWD/.venv-emulators/bin" $(RUN) -m pytest tests/warehouse tests/cloud
	@EMULATORS="$$PWD/.venv-emulators/bin" $(RUN) -m pytest -m cloud --ignore tests/warehouse --ignore tests/cloud || [ $$? -eq 5 ]

.venv-emulators/installed: tests/cloud/requirements.txt | $(RUN)
	@test -x .venv-emulators/bin/python || $(RUN) -m venv .venv-emulators
	@.venv-emulators/bin/python -m pip install --quiet --quiet --requirement tests/cloud/requirements.txt
	@.venv-emulators/bin/python -c "import duckdb_extensions; duckdb_extensions.import_extension('spatial')"
	@touch $@

soak: $(VENV)/dev ## sessions replayed with kills and without: make soak SESSIONS=250 FROM=2022-12-30; writes docs/results/soak.md
	@$(RUN) -m evidence.soak --sessions $(call quoted,$(or $(SESSIONS),250)) --from $(call quoted,$(or $(FROM),2022-12-30)) --report docs/results/soak.md

lint: $(VENV)/dev secret-scan ## ruff, mypy, a scan for keys, the workflows, plain words, and whether prefect.yaml is what the registry says
	@$(VENV)/bin/ruff format --check . && $(VENV)/bin/ruff check . && $(VENV)/bin/mypy && $(VENV)/bin/zizmor --offline --quiet .github && $(RUN) -m cli project deployments --check && $(RUN) -m cli project words

secret-scan: $(VENV)/dev ## no key in any tracked file that changed since the last scan; .secrets.baseline lists false alarms
	@git ls-files -- ':!*.png' ':!*.tar.xz' ':!recorded/*.csv' ':!.secrets.baseline' | while read -r file; do \
	  if [ -f "$$file" ] && [ ! "$(VENV)/secrets-scanned" -nt "$$file" ]; then echo "$$file"; fi; done > $(VENV)/secrets-to-scan
	@touch $(VENV)/secrets-scanning
	@tr '\n' '\0' < $(VENV)/secrets-to-scan | xargs -0 sh -c '$(VENV)/bin/detect-secrets-hook --no-verify --baseline .secrets.baseline "$$@" || [ $$? -eq 3 ]' sh  # 3: only lines moved
	@mv $(VENV)/secrets-scanning $(VENV)/secrets-scanned

audit-dependencies: $(VENV)/dev ## pinned packages against known vulnerabilities; says so if no service can be reached
	@$(RUN) -m cli project dependency-audit

# -- for measurements ------------------------------------------------------------------------------------------------------
bake-off-report: $(VENV)/dev ## docs/results/bake_off.md and its figures, from the newest bake-off of BUDGET (default: full)
	@$(RUN) -m evidence.bake_off_report --budget $(call quoted,$(or $(BUDGET),full))

bench: $(VENV)/dev ## measure, and write docs/results/bench.md
	@$(RUN) -m evidence

bench-peers: $(VENV)/dev ## libraries from outside on the same folds, in a separate environment: docs/results/bench_peers.md
	@test -f $(HOME_FOLDER)/exports/manifest.json || $(MAKE) --no-print-directory demo
	@test -x .venv-peers/bin/python || $(RUN) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --quiet --requirement evidence/peers/requirements.txt
	@$(RUN) -m evidence.peers .venv-peers/bin/python

surface: $(VENV)/dev ## choose the production surface on what the last run left: writes registry/production_surface.yaml
	@test -f $(HOME_FOLDER)/exports/manifest.json || $(MAKE) --no-print-directory demo
	@$(RUN) -m cli project surface

device-check: $(VENV)/train ## every neural family for one batch on CBI_DEVICE (default: the best there is) against the CPU
	@$(RUN) -m cli device-check

false-prices: $(VENV)/dev ## false prices planted end to end, and true extremes: what is caught, published, kept; docs/results/false_prices.md
	@$(RUN) -m evidence.false_prices

time-machine: $(VENV)/dev ## past days, and sources dead for 30 to 400 sessions: what stops, degrades, says so; docs/results/time_machine.md
	@$(RUN) -m evidence.time_machine

rolls: $(VENV)/dev ## the rolls of ZL=F, and what they do to labels: docs/results/rolls.md
	@$(RUN) -m evidence.rolls

curve: $(VENV)/dev ## what the curve is worth, with and without it, and the bands of contracts: docs/results/curve.md
	@$(RUN) -m evidence.curve

lived: $(VENV)/dev ## the skill that a user would have lived: at each origin the rule on what was known; docs/results/lived.md
	@test -f $(HOME_FOLDER)/exports/manifest.json || $(MAKE) --no-print-directory demo
	@$(RUN) -m evidence.lived

direction: $(VENV)/dev ## chances of a higher price against what happened; docs/results/direction.md
	@test -f $(HOME_FOLDER)/exports/manifest.json || $(MAKE) --no-print-directory demo
	@$(RUN) -m evidence.direction

bands: $(VENV)/dev ## other widths of the bands, tried on the years to 2018; docs/results/bands.md
	@test -f $(HOME_FOLDER)/exports/manifest.json || $(MAKE) --no-print-directory demo
	@$(RUN) -m evidence.bands

promotion-power: $(VENV)/dev ## how often the promotion rule errs, and what it can find; docs/results/promotion.md
	@$(RUN) -m evidence.promotion

control-chart: $(VENV)/dev ## how often the champions' control chart is wrong, and how soon it finds; docs/results/control_chart.md
	@test -f $(HOME_FOLDER)/exports/manifest.json || $(MAKE) --no-print-directory demo
	@$(RUN) -m evidence.control_chart

track-record: $(VENV)/dev ## a replay's forecasts against what happened, and Python against SQL: make track-record REPLAY=champions; docs/results/track_record.md
	@$(RUN) -m cli replay
	@$(RUN) -m evidence.track_record --replay $(call quoted,$(or $(REPLAY),champions))

buyer-backtest: $(VENV)/dev ## what following the buying rule would have cost, against simple ways to buy; docs/results/buyer_backtest.md
	@test -f $(HOME_FOLDER)/exports/manifest.json || $(MAKE) --no-print-directory demo
	@$(RUN) -m cli replay
	@$(RUN) -m evidence.buyer_backtest

proofs: $(VENV)/dev ## both proofs against leaks in full, on what the last run left: writes the audit and docs/results/proofs.md
	@test -f $(HOME_FOLDER)/exports/manifest.json || $(MAKE) --no-print-directory demo
	@$(RUN) -m evidence.proofs

sql-check: $(VENV)/cloud ## every SQL statement parsed in both dialects and run over empty tables; CBI_WAREHOUSE=bigquery://… adds bytes and price
	@$(RUN) -m cli project sql-check

cost-report: $(VENV)/cloud ## docs/results/bigquery_cost.md: what sql-check reports; CBI_WAREHOUSE=bigquery://… adds bytes and price
	@$(RUN) -m evidence.bigquery_cost

docs: $(VENV)/base ## write docs/data_dictionary.md and docs/watchlist.md from the registry
	@$(RUN) -m cli project dictionary
	@$(RUN) -m cli project watchlist

docs-site: $(VENV)/docs ## the documentation as a site with a search box: build/documentation/index.html, no network needed
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --clean
	@echo "open build/documentation/index.html"

world: $(VENV)/dev ## consecutive live days in a world served from the archive: make world DAYS=60; docs/results/world.md
	@$(RUN) -m tests.world --days $(call quoted,$(or $(DAYS),60))

mutants: $(VENV)/dev ## faults planted in the code, and whether tests notice: make mutants COUNT=100 MINUTES=30; docs/results/mutants.md
	@nice -n 10 $(RUN) -m evidence.mutants --count $(call quoted,$(or $(COUNT),100)) --minutes $(call quoted,$(or $(MINUTES),90)) --page docs/results/mutants.md

cost-of-a-day: $(VENV)/dev ## cost of daily, health and audit after 30, 300 and 1,500 live days: docs/results/cost_of_a_day.md
	@$(RUN) -m evidence.cost_of_a_day

# -- files of the project itself --------------------------------------------------------------------------------------------
new-source: $(VENV)/base ## write the skeleton of a source: make new-source NAME=my_source
	@$(RUN) -m cli project new-source $(call quoted,$(NAME))

deployments: $(VENV)/base ## write prefect.yaml from the registry
	@$(RUN) -m cli project deployments

lock: $(VENV)/dev ## resolve constraints.txt again from pyproject.toml
	@MACOSX_DEPLOYMENT_TARGET=14.0 $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --all-extras \
	  --no-annotate --no-header --upgrade pyproject.toml --output-file constraints.txt

lock-check: $(VENV)/dev ## prove that constraints.txt resolves to wheels for each Python on macOS 14 arm64 and Linux x86-64
	@$(RUN) -m cli project lock-check

clean: ## delete .venv (CBI_HOME stays)
	@rm -rf $(VENV)
