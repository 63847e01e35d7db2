# Everything that a contributor or CI does. Needs Python 3.10 to 3.13, make and pip; the rest is installed into VENV.

PYTHON ?= python3
VENV ?= .venv
PORT ?= 3000
CHROMIUM ?= /usr/bin/chromium
REDIS ?= redis-server
SCREENSHOTS ?= build/screenshots
# Arguments for pytest: make test ARGS="-k cursor -x"
ARGS ?=

OLDEST_VENV := $(VENV)-oldest
CELERY_VENV := $(VENV)-celery
WHEEL_VENV := $(VENV)-wheel
READERS_VENV := $(VENV)-readers
# Several times as fast as pip, whose configured index it does not read: that is passed on.
INSTALL = index="$${PIP_INDEX_URL:-$$($(PYTHON) -m pip config get global.index-url 2> /dev/null)}"; \
	$(VENV)/bin/python -m uv pip install -q $${index:+--default-index "$$index"} --python
# Tests wait for servers and processes now and then: three workers keep two cores busy.
PYTEST := -m pytest -n 3 --dist worksteal
# What touches most of Dagster's interfaces; the whole suite runs with the newest.
OLDEST_TESTS := test_assets.py test_asset_page.py test_checks.py test_component.py test_definitions.py \
	test_io_manager.py test_partitions.py test_retries.py test_schedules.py test_storing.py test_triggers.py
EXAMPLE := examples/nycflights
DAGSTER_FOLDER := $(CURDIR)/$(EXAMPLE)/.floe/dagster
DISTRIBUTION := pyproject.toml setup.cfg floe_ingestion/version.py

# As pip: a company's own certificates are where the system has them.
export UV_SYSTEM_CERTS := true
export DAGSTER_DISABLE_TELEMETRY := 1
export RUNTIME__DLTHUB_TELEMETRY := false

.DEFAULT_GOAL := help
.PHONY: help venv demo lakehouse ui test test-readers test-oldest test-browser test-celery lint format types options
.PHONY: build wheel-test constraints clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

venv: $(VENV)/.installed-dev ## Make .venv with everything that development needs

demo: $(VENV)/.installed-demo ## Land the flights of New York 2013 in Iceberg tables and show them
	$(VENV)/bin/python $(EXAMPLE)/demo.py

lakehouse: $(VENV)/.installed-lakehouse ## Ingest a PostgreSQL into a REST catalog and S3, and query it with DuckDB
	$(VENV)/bin/python examples/lakehouse/demo.py

ui: export DAGSTER_HOME := $(DAGSTER_FOLDER)
ui: export FLOE_SPEC := $(CURDIR)/$(EXAMPLE)/floe.yaml
ui: $(VENV)/.installed-demo ## Open the example in Dagster, at http://127.0.0.1:3000 (PORT=...)
	$(VENV)/bin/python $(EXAMPLE)/prepare.py
	@mkdir -p '$(DAGSTER_FOLDER)'
	@test -f '$(DAGSTER_FOLDER)/dagster.yaml' || \
		printf 'telemetry:\n  enabled: false\n' > '$(DAGSTER_FOLDER)/dagster.yaml'
	$(VENV)/bin/python -m dagster dev -h 127.0.0.1 -p $(PORT)

test: $(VENV)/.installed-dev ## Run the tests (ARGS="-k cursor" for some of them)
	$(VENV)/bin/python $(PYTEST) $(ARGS) floe_ingestion_tests

# Spark writes too, through a catalog in PostgreSQL, where its driver is (Debian: libpostgresql-jdbc-java).
test-readers: export POSTGRES_JDBC ?= /usr/share/java/postgresql.jar
test-readers: export FLOE_READERS_PYTHON := $(abspath $(READERS_VENV))/bin/python
test-readers: $(VENV)/.installed-dev $(READERS_VENV)/.installed ## Read what is written with Spark, Polars, Daft, ClickHouse, DuckDB
	$(VENV)/bin/python -m pytest $(ARGS) floe_ingestion_tests/readers

test-oldest: $(OLDEST_VENV)/.installed ## Run the Dagster tests with the oldest supported dagster
	$(OLDEST_VENV)/bin/python -c 'import dagster, dagster_embedded_elt.dlt; assert dagster.__version__ == "1.13.1"'
	$(OLDEST_VENV)/bin/python $(PYTEST) -m dagster $(ARGS) $(addprefix floe_ingestion_tests/, $(OLDEST_TESTS))

test-browser: $(VENV)/.installed-browser ## Use Dagster's page in a real browser; needs Chromium (CHROMIUM=...)
	@test -x '$(CHROMIUM)' || { echo "There is no Chromium at $(CHROMIUM). Install it" \
		"(Debian: apt-get install chromium), or name it: make test-browser CHROMIUM=..." >&2; exit 1; }
	CHROMIUM='$(CHROMIUM)' SCREENSHOTS='$(SCREENSHOTS)' $(VENV)/bin/python -m pytest $(ARGS) floe_ingestion_tests/browser

test-celery: $(CELERY_VENV)/.installed ## Load on Celery workers and lose one; needs Redis (REDIS=...)
	@command -v '$(REDIS)' > /dev/null || { echo "There is no Redis at $(REDIS). Install it" \
		"(Debian: apt-get install redis-server), or name it: make test-celery REDIS=..." >&2; exit 1; }
	REDIS='$(REDIS)' $(CELERY_VENV)/bin/python -m pytest $(ARGS) floe_ingestion_tests/scale

lint: $(VENV)/.installed-dev ## Check style and formatting
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .

format: $(VENV)/.installed-dev ## Mend what can be mended of style and formatting
	$(VENV)/bin/python -m ruff check --fix .
	$(VENV)/bin/python -m ruff format .

types: $(VENV)/.installed-dev ## Check the types
	$(VENV)/bin/python -m mypy

options: $(VENV)/.installed-dev ## Write the tables of options in docs/sources anew
	$(VENV)/bin/python -m floe_ingestion_tests.option_tables

build: $(VENV)/.installed-dev ## Build the wheel and the source distribution into dist/
	rm -rf dist
	$(VENV)/bin/python -m build -q --outdir dist .

wheel-test: build ## Install the built wheel alone into a fresh environment and use it
	rm -rf $(WHEEL_VENV)
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(INSTALL) $(WHEEL_VENV)/bin/python -c constraints.txt dist/*.whl
	$(WHEEL_VENV)/bin/python -I floe_ingestion_tests/wheel_check.py dist/*.whl

constraints: $(VENV)/.installed-dev ## Write constraints*.txt anew, with today's newest releases
	$(VENV)/bin/python -m uv pip compile $(COMPILE) --extra postgres --extra browser -o constraints.txt pyproject.toml
	$(VENV)/bin/python -m uv pip compile $(COMPILE) --extra postgres --extra embedded-elt \
		-o constraints-oldest.txt pyproject.toml
	$(VENV)/bin/python -m uv pip compile $(COMPILE_ALONE) --group readers -o constraints-readers.txt
	$(VENV)/bin/python -m uv pip compile $(COMPILE_ALONE) --extra celery --extra postgres --group scale \
		-o constraints-celery.txt pyproject.toml

COMPILE_ALONE := -q --universal --python-version 3.10 --upgrade --no-annotate \
	--custom-compile-command 'make constraints'
COMPILE = $(COMPILE_ALONE) --extra demo --extra dev

clean: ## Remove environments, builds and caches, and what the example has landed
	rm -rf $(VENV) $(OLDEST_VENV) $(CELERY_VENV) $(WHEEL_VENV) $(READERS_VENV) build dist floe_ingestion.egg-info
	rm -rf $(EXAMPLE)/.floe $(EXAMPLE)/data
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find floe_ingestion floe_ingestion_tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

# --- environments: a stamp says what was installed, and is older than the files that would change it ---

define MAKE_VENV
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' 2> /dev/null || { \
		found=$$(command -v $(PYTHON) > /dev/null && $(PYTHON) -V 2>&1 || echo not there); \
		echo "floe_ingestion needs Python 3.10 to 3.13, and $(PYTHON) is $$found." >&2; \
		echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(@D)
endef

$(VENV)/.ready:
	$(MAKE_VENV)
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check 'uv>=0.13'
	@touch $@

$(OLDEST_VENV)/.ready $(READERS_VENV)/.ready $(CELERY_VENV)/.ready: $(VENV)/.ready
	$(MAKE_VENV)
	@touch $@

$(VENV)/.installed-demo: $(VENV)/.ready $(DISTRIBUTION) constraints.txt
	$(INSTALL) $(VENV)/bin/python -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.installed-lakehouse: $(VENV)/.ready $(DISTRIBUTION) constraints.txt
	$(INSTALL) $(VENV)/bin/python -c constraints.txt -e '.[lakehouse]'
	@touch $@

# It holds what the demos need, too.
$(VENV)/.installed-dev: $(VENV)/.ready $(DISTRIBUTION) constraints.txt
	$(INSTALL) $(VENV)/bin/python -c constraints.txt -e '.[demo,dev,postgres]'
	@touch $(VENV)/.installed-demo $(VENV)/.installed-lakehouse $@

$(VENV)/.installed-browser: $(VENV)/.installed-dev
	$(INSTALL) $(VENV)/bin/python -c constraints.txt -e '.[browser]'
	@touch $@

$(OLDEST_VENV)/.installed: $(OLDEST_VENV)/.ready $(DISTRIBUTION) constraints-oldest.txt
	$(INSTALL) $(OLDEST_VENV)/bin/python -c constraints-oldest.txt -e '.[demo,dev,embedded-elt,postgres]'
	@touch $@

$(READERS_VENV)/.installed: $(READERS_VENV)/.ready constraints-readers.txt
	$(INSTALL) $(READERS_VENV)/bin/python -r constraints-readers.txt
	@touch $@

$(CELERY_VENV)/.installed: $(CELERY_VENV)/.ready $(DISTRIBUTION) constraints-celery.txt
	$(INSTALL) $(CELERY_VENV)/bin/python -c constraints-celery.txt --group scale -e '.[celery,postgres]'
	@touch $@
