# Two commands for a fresh machine with Python >= 3.11 and make:  make demo   make test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs/demo
# byte code is kept: without it every process compiles a thousand files of torch before it starts
export PYTHONDONTWRITEBYTECODE :=
FACTOR ?= 1.5

.PHONY: demo test test-all lint format bench bench-compare docs links dist floors clean

demo: $(VENV)/.core            ## Deep RFM on the bundled digits: a table, figures and $(OUT)/report.html
	$(BIN)/agop deep-rfm --data digits --out $(OUT)

test: $(VENV)/.dev             ## the test suite without the long checks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto

test-all: $(VENV)/.dev         ## every test, the long ones included
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

lint: $(VENV)/.dev             ## ruff (lint and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench          ## every benchmark, or those in BENCHMARKS; JSON goes to benchmarks/results
	$(BIN)/python -m benchmarks $(BENCHMARKS)

bench-compare: $(VENV)/.bench  ## fails if a ratio in benchmarks/results is worse than that in STORED by more than FACTOR
	$(BIN)/python -m benchmarks --compare $(STORED) benchmarks/results --factor $(FACTOR)

docs: $(VENV)/.docs            ## the HTML documentation, warnings as errors
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

links: $(VENV)/.docs           ## every link of the documentation asked for (no example is executed)
	$(BIN)/python -m sphinx -W --keep-going -D plot_gallery=0 -b linkcheck docs docs/_build/links

dist: $(VENV)/.dev             ## wheel and sdist in dist, the wheel tried in a clean environment
	$(BIN)/python -m pytest -m slow tests/test_release.py
	$(BIN)/python -m build

floors: $(VENV)-floors/.dev    ## the tests with the lowest versions that pyproject.toml allows (several GB)
	OMP_NUM_THREADS=1 $(VENV)-floors/bin/python -m pytest -m "not slow" -n auto

clean:
	rm -rf $(VENV) $(VENV)-floors build dist docs/_build docs/gallery docs/reference runs

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "agop needs Python 3.11 or newer, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@ $(VENV)/.core

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	@touch $@

$(VENV)/.docs: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --editable ".[dev,docs]"
	@touch $@

$(VENV)-floors/.dev: pyproject.toml floors.txt
	$(PYTHON) -m venv $(VENV)-floors
	$(VENV)-floors/bin/python -m pip install --quiet --constraint floors.txt --editable ".[dev]"
	@touch $@
