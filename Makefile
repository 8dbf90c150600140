# make demo   compress, inspect and restore the bundled sample
# make test   ruff, mypy and pytest
# Both set up .venv first where that is not done yet, or where pyproject.toml or constraints.txt is newer.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# Named after the folder too: a virtual environment that was moved or copied is set up again.
READY := $(VENV)/.ready-$(firstword $(shell printf %s '$(CURDIR)' | cksum))
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help setup demo test sample clean
help:
	@sed -n 's/^# //p' Makefile | head -n 3

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "velcodec needs Python 3.10 or later: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "setting up $(VENV) (the first time takes some minutes)"
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@rm -f $(VENV)/.ready-*
	@$(PIP) 'setuptools>=77'
	@$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $@

demo: $(READY)
	@$(RUN) demo/run.py

test: $(READY)
	@$(RUN) -m ruff check --quiet .
	@$(RUN) -m ruff format --check --quiet .
	@$(RUN) -m mypy --no-error-summary
	@$(RUN) -m pytest -q -n 2 --dist loadfile

sample: $(READY)
	@$(RUN) demo/make_sample.py

clean:
	@rm -rf $(VENV) build dist velcodec.egg-info demo/output .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find velcodec cli tests demo benchmarks -name __pycache__ -prune -exec rm -rf {} +
