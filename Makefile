# Everything runs in .venv, which the first target that needs it makes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check
COMPILE := $(BIN)/pip-compile -q --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --no-annotate

# Compiled modules are kept, whatever the environment says: without them each process takes two seconds to begin.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run demo test check docs bench bulk-test crash-test fault-test attack-test console-figures console-libraries console-test test-debian13 stack-test audit lock whatsmeow otel whisper clean

help: ## Show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r name text; do printf '%-21s %s\n' "$$name" "$$text"; done

run: $(VENV)/.ready ## Start everything in the foreground, with private servers if none are set; Ctrl-C ends it
	@$(BIN)/python -m unoapi.devenv.run

demo: $(VENV)/.ready ## Show the main job step by step; ends by itself
	@$(BIN)/python -m unoapi.devenv.demo

test: $(VENV)/.dev ## Run all tests, on throw-away servers; what failed runs once more, alone
	@$(BIN)/python -m pytest -n 6 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder || { test $$? = 1 || exit 1; \
		echo "=== What failed beside the others runs again, alone: it is a defect either way, and fails this run if it fails twice ==="; \
		$(BIN)/python -m pytest --last-failed --last-failed-no-failures none --maxfail=3 -v; }

check: $(VENV)/.dev ## Lint, check the format, the types and the layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(VENV)/.dev ## Write the tables of settings and .env.example again, from unoapi/settings.py
	@$(BIN)/python -m unoapi.devenv.docs

whatsmeow: $(VENV)/.ready ## Install the library that connects phones (its binary contains GPL-3.0 code)
	@$(INSTALL) --require-hashes -r requirements-whatsmeow.txt
	@$(BIN)/python -c 'import magic' || { echo "The library needs libmagic: install it (Debian: apt-get install libmagic1)" >&2; exit 1; }

whisper: $(VENV)/.ready ## Install the library that transcribes on this machine (UNOAPI_WHISPER_MODEL)
	@$(INSTALL) --require-hashes -r requirements-whisper.txt

otel: $(VENV)/.ready ## Install what exports traces to an OpenTelemetry collector
	@$(INSTALL) --require-hashes -r requirements-otel.txt

bench: $(VENV)/.dev ## Run the benchmarks
	@$(BIN)/python -m tests.bench

bulk-test: $(VENV)/.dev ## Send a campaign of 2,000 rows while every process is killed in turn, and count
	@$(BIN)/python -m tests.bulk

crash-test: $(VENV)/.dev ## Kill processes in the middle of work and count what was lost
	@$(BIN)/python -m tests.crash

fault-test: $(VENV)/.dev ## Break one thing at a time, from RabbitMQ to a webhook's certificate, and count
	@$(BIN)/python -m tests.fault

attack-test: $(VENV)/.dev ## Attack a whole installation as two tenants and an outsider, and count
	@$(BIN)/python -m tests.attack

test-debian13: ## Test what talks to RabbitMQ and Redis with those of Debian 13, and its Valkey, in a root made for it
	@.ci/debian13

console-test: $(VENV)/.dev ## Open each page of the console in Chromium, in both languages, wide and narrow; needs npm for axe-core
	@mkdir -p .run/axe && cd .run/axe && npm install --silent --ignore-scripts --no-audit --no-fund --no-save axe-core@4.14.1
	@CONSOLE_TEST_AXE=$(CURDIR)/.run/axe/node_modules/axe-core/axe.min.js $(BIN)/python -m pytest -q tests/console/test_browser.py

console-figures: $(VENV)/.dev ## Measure each page of the console with 5,000 numbers, 100,000 dead letters and 1,000,000 messages
	@$(BIN)/python -m tests.console.measure

console-libraries: ## Copy what the console's pages load out of its npm packages again (needs npm)
	@rm -rf .run/npm && mkdir -p .run/npm && cp unoapi/web/console/static/vendor/package.json .run/npm/
	@cd .run/npm && npm install --silent --ignore-scripts --no-audit --no-fund
	@cd .run/npm/node_modules && cp htmx.org/dist/htmx.min.js uplot/dist/uPlot.iife.min.js uplot/dist/uPlot.min.css @picocss/pico/css/pico.jade.min.css $(CURDIR)/unoapi/web/console/static/vendor/
	@cd unoapi/web/console/static/vendor && sha256sum *.js *.css

stack-test: ## Build the images and run the production stack, where docker or podman is
	@compose/stack-test

audit: $(VENV)/.dev ## Look for known holes in what is installed; needs the index's own list of them
	@$(INSTALL) pip-audit
	@mkdir -p .run
	@for lock in requirements requirements-whatsmeow requirements-otel requirements-whisper; do $(BIN)/pip-audit --strict --disable-pip --require-hashes -r $$lock.txt -f cyclonedx-json -o .run/$$lock.sbom.json || exit 1; done

lock: $(VENV)/.dev ## Choose the versions of all dependencies again
	@$(INSTALL) pip-tools
	@$(COMPILE) --extra build -o requirements.txt setup.cfg
	@sed -n 's/^ *\(\(neonize\|cryptography\|soupsieve\) .*\)/\1/p' setup.cfg | $(COMPILE) --constraint requirements.txt -o requirements-whatsmeow.txt -
	@sed -n 's/^ *\(opentelemetry-.*\)/\1/p' setup.cfg | $(COMPILE) --constraint requirements.txt -o requirements-otel.txt -
	@sed -n 's/^ *\(faster-whisper .*\)/\1/p' setup.cfg | $(COMPILE) --constraint requirements.txt -o requirements-whisper.txt -
	@$(COMPILE) --extra dev --extra otel --constraint requirements.txt --constraint requirements-whatsmeow.txt --constraint requirements-otel.txt -o requirements-dev.txt setup.cfg

clean: ## Remove the virtual environment, caches and the data of the private servers
	@rm -rf $(VENV) .run .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.ready: requirements.txt setup.cfg
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed, and there is no $(PYTHON): install it, or name another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, and $(PYTHON) is `$(PYTHON) -V 2>&1`: name another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		test "`id -u`" = 0 && command -v apt-get >/dev/null && echo "Installing python3-venv ..." && apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends python3-venv >/dev/null && $(PYTHON) -c 'import ensurepip, venv'; \
	} || { echo "$(PYTHON) cannot make virtual environments: install its venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "Making $(VENV) ..."; $(PYTHON) -m venv --clear $(VENV); }
	@echo "Installing the locked dependencies, once, in about a minute ..."
	@$(INSTALL) --require-hashes -r requirements.txt
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q unoapi tasks
	@touch $@

$(VENV)/.dev: $(VENV)/.ready requirements-dev.txt
	@echo "Installing the development tools ..."
	@$(INSTALL) --require-hashes -r requirements-dev.txt
	@touch $@
