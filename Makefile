# Everything starts here: `make run` and `make test` set themselves up on a fresh machine.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# A file of tests stays with one worker, as do all campaigns (tests/conftest.py). WORKERS=0: none, one after another.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help run test nightly lint types layers format check clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 12); sys.exit(0 if ok else f"Python {sys.version.split()[0]} found, 3.11 or 3.12 needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

run: $(READY)  ## set up, then run the linear-attention campaign to its end (ARGS="budget.candidates=48 ..." to change it)
	$(BIN)/python -m orchestrator +campaign=linear_attn $(ARGS)

test: lint types layers  ## lint, types, layers and the whole test suite; what failed beside others once more, alone
	$(PYTEST) $(ARGS) || $(BIN)/python -m tests.again $$?

nightly: $(READY)  ## the long tests
	$(PYTEST) -m nightly $(ARGS)

lint: $(READY)  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## mypy, strict
	$(BIN)/mypy

layers: $(READY)  ## imports run downwards only
	$(BIN)/lint-imports

format: $(READY)  ## apply ruff's fixes and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the virtual environment and caches; campaigns in runs/ stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build *.egg-info
