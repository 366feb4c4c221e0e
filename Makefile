# One target per task. .ci/run and the pre-commit hook call the same targets. It needs make and
# Python 3.11 or newer with venv.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup check lint test test-all fuzz docs site bench clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv with all development dependencies, and install the git hook
	@if git rev-parse --git-dir >/dev/null 2>&1; then $(BIN)/pre-commit install; fi

# Rebuilt when pyproject.toml changes; pip then installs only missing packages.
$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

check: lint site test ## what CI runs: lint, the documentation site, the default tests

# No "ruff format": comments beside fields of records and rows of tables are aligned by hand.
lint: $(READY) ## ruff, mypy, import layers, spelling, size and name ceilings
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell README.md ARCHITECTURE.md CONTRIBUTING.md CHANGELOG.md docs examples src tests tools benchmarks
	$(BIN)/python tools/check_size.py src/wideresnet
	$(BIN)/python tools/check_names.py src/wideresnet

test: $(READY) ## the default tests: no network, no weights
	$(BIN)/python -m pytest -n auto --maxprocesses 4

test-all: $(READY) ## all tests, including those that take minutes or need data outside the repository
	$(BIN)/python -m pytest -m ''

fuzz: $(READY) ## hostile files and requests, SECONDS (60) a target: prints the seed, the counts and what it found
	$(BIN)/python tests/fuzz/run.py --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED)) $(TARGETS)

docs: $(READY) ## regenerate docs/cli.md, the schemas, the tables, the tree
	$(BIN)/python tools/make_cli_docs.py
	$(BIN)/python tools/make_model_tables.py
	$(BIN)/python tools/make_bench_table.py
	$(BIN)/python tools/make_load_table.py
	$(BIN)/python tools/make_drill_table.py
	$(BIN)/python tools/make_tree.py
	$(BIN)/python tools/make_schema.py

site: $(READY) ## the documentation site in build/site; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/site
	@echo "site: build/site/index.html"

bench: $(READY) ## measure the bundled model on this machine: one JSON document
	$(BIN)/wrn bench --what engine --what latency --what end-to-end --data examples --format json

clean: ## remove .venv and the output of tools; keep runs/
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
