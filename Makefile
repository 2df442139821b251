# Every target sets up what it needs in .venv. `make` alone says what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-for-this-pyproject
CORPUS := $(HOME)/.cache/asyncdl-bench/text

.DEFAULT_GOAL := help
.PHONY: help setup demo test unit check faults bench clean

help: ## say what the targets do
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

setup: $(READY) ## make .venv with asyncdl and all that its tests and checks need

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "asyncdl needs Python 3.11 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,check]'
	@touch $@

demo: $(READY) ## show the whole job offline, on a network that is bad on purpose
	$(BIN)/asyncdl demo

test: $(READY) ## run all tests but the long fault runs
	$(BIN)/python -m pytest -m 'not slow'

unit: $(READY) ## run the unit tests and the quick property tests, a few seconds
	HYPOTHESIS_PROFILE=quick $(BIN)/python -m pytest -q -m 'not slow' tests/unit tests/property

check: $(READY) ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

faults: $(READY) ## run the long fault runs
	$(BIN)/python -m pytest -m slow

bench: $(READY) ## measure start-up, queue, memory and transfers beside other programs; takes half an hour, wants a quiet machine
	$(BIN)/python benchmarks/startup.py --out benchmarks/results/startup.md
	$(BIN)/python -m benchmarks.job_queue --out benchmarks/results/queue.md
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/transfer.py --out benchmarks/results/transfer.md
	$(BIN)/python benchmarks/status.py
	$(BIN)/python benchmarks/text_corpus.py $(CORPUS)
	$(BIN)/python benchmarks/tokenizing.py $(CORPUS) --equal --out benchmarks/results/tokenizing.md
	$(BIN)/python benchmarks/loader.py --out benchmarks/results/loader.md
	$(BIN)/python benchmarks/end_to_end.py $(CORPUS) --out benchmarks/results/end_to_end.md

clean: ## remove .venv, caches and builds; never data or a queue
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
