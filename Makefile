# One command for each thing people do here. .ci/run and the pre-commit hook call these targets, so that
# there is one truth about what "checked" means. It needs python3 (3.11 or newer) with venv, and make.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup check lint test test-all docs bench clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv with everything development needs, and the git hook
	@if git rev-parse --git-dir >/dev/null 2>&1; then $(BIN)/pre-commit install; fi

# Made again whenever pyproject.toml changes; pip then only fetches what is missing.
$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

check: lint test ## what CI runs: lint, then the default tests

# No "ruff format": the comments beside the fields of records and the rows of tables are aligned by hand,
# and the formatter would undo that.
lint: $(READY) ## ruff, mypy, import layers, spelling, size and name ceilings
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell README.md ARCHITECTURE.md CONTRIBUTING.md CHANGELOG.md docs examples src tests tools benchmarks recipes
	$(BIN)/python tools/check_size.py src/wideresnet
	$(BIN)/python tools/check_names.py src/wideresnet

test: $(READY) ## the default tests: no network, no weights
	$(BIN)/python -m pytest -n auto --maxprocesses 4

test-all: $(READY) ## every test, also those that take minutes or need data beside the repository
	$(BIN)/python -m pytest -m ''

docs: $(READY) ## write anew what is generated: docs/cli.md, the schema, the tables of models, the tree
	$(BIN)/python tools/make_cli_docs.py
	$(BIN)/python tools/make_model_tables.py
	$(BIN)/python tools/make_bench_table.py
	$(BIN)/python tools/make_load_table.py
	$(BIN)/python tools/make_drill_table.py
	$(BIN)/python tools/make_tree.py
	$(BIN)/python tools/make_schema.py

bench: $(READY) ## measure the model inside the package on this machine: one JSON document
	$(BIN)/wrn bench --what engine --what latency --what end-to-end --data examples --baselines --format json

clean: ## remove .venv and what tools left behind; runs/ stays
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
