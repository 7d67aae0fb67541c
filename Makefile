# All that a person or a machine runs. `make` alone lists it.
# Tools are called as modules: the scripts of a virtual environment break where its path holds a space.

PYTHON ?= python3
ARGS ?=
VENV := .venv
RUN := $(VENV)/bin/python
INSTALL := $(RUN) -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test campaign check bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/installed ## train on the built-in corpus: perplexity, a sample, a picture
	$(RUN) -m recurra train $(ARGS)

test: $(VENV)/installed-dev ## run the tests; ARGS="-k lstm" for some of them
	$(RUN) -m pytest --numprocesses auto --dist worksteal $(ARGS)

campaign: $(VENV)/installed-dev ## kill training 120 times and compare, then 10 CPU minutes of hostile files
	$(RUN) tests/campaign/campaign.py --kills 120 $(ARGS)
	$(RUN) tests/campaign/fuzz.py --minutes 10

check: $(VENV)/installed-dev ## check format, lint, types and who imports whom
	$(RUN) -m ruff format --check
	$(RUN) -m ruff check
	$(RUN) -m mypy
	$(RUN) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

bench: $(VENV)/installed ## measure this machine, recurra and torch
	$(RUN) -m recurra bench $(ARGS)

clean: ## remove the virtual environment and all caches; runs stay
	rm -rf $(VENV) build dist .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/installed: pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit("recurra needs Python 3.11 or newer, and this is %d.%d; \
	choose another with: make PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@$(RUN) -m pip --version > /dev/null 2>&1 || "$(PYTHON)" -m venv $(VENV)
	@echo "installing into $(VENV), which takes a minute or two"
	@$(INSTALL) hatchling
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@$(INSTALL) --no-build-isolation --editable ".[dev]"
	@touch $@
