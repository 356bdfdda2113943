# `make demo` and `make test` do all their own set-up, in .venv, on a machine with Python 3.11 or newer, gcc and make.

VENV := .venv
BIN := $(VENV)/bin
# The first of these that is new enough; `make PYTHON=... demo` names another.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
JOBS ?= 2
# Every case of the slow tests, not a sample of those that have many: make CASES=--all-cases test
CASES ?=
# As a variable: make -n runs lines that name $(MAKE) themselves.
LINT := $(MAKE) --no-print-directory lint
# Options of benchmarks/peers.py for `make bench`.
BENCH ?=
DEMO_MODEL := tests/data/vww_96_float.tflite
DEMO_OUTPUT := build/vww_96_float-host

.PHONY: help demo test lint golden ratio bench docs dist clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    build, verify and time a trained network on this machine"
	@echo "make test    all tests, and beside them ruff, mypy and import-linter"
	@echo "make lint    ruff, mypy and import-linter only"
	@echo "make golden  write the golden files of generated C anew; review them with git diff"
	@echo "make ratio   a network in float32 beside onnxruntime, in a few seconds; continuous integration prints it"
	@echo "make bench   speed of seven networks beside other runtimes, float32 and int8; BENCH='--networks NAME' and more"
	@echo "make docs    the documentation as a site in build/site, its reference pages made anew from the code"
	@echo "make dist    wheel and sdist in dist"
	@echo "make clean   remove .venv, build and caches"

# A stamp is a file that says: these extras of this pyproject.toml are installed.
$(VENV)/demo.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[tflite]'
	@touch $@

$(VENV)/test.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[test]'
	@touch $@

$(VENV)/bench.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[onnx,tflite,bench]'
	$(BIN)/python -m pip install --quiet --no-compile --no-deps pnnx==20261020
	@touch $@

$(BIN)/python:
	@command -v gcc >/dev/null || { echo "error: gcc is missing (Debian: apt install gcc libc6-dev)"; exit 1; }
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is missing (Debian 12: apt install python3)"; exit 1; }
	$(PYTHON) tools/make_venv.py $(VENV)

demo: $(VENV)/demo.stamp
	$(BIN)/dscompile build $(DEMO_MODEL) --target host --output $(DEMO_OUTPUT)
	@echo
	$(BIN)/dscompile verify $(DEMO_OUTPUT)
	@echo
	$(BIN)/dscompile bench $(DEMO_OUTPUT)
	@echo
	@echo "The library and its header are in $(DEMO_OUTPUT)/; README.md shows how to call them from C."

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Cross compilers and emulators come from pip; with root, Debian's are tested as well.
# Tools that pip installs, clang-format among them, are found by name.
# Lint takes one core, so it runs beside the tests.
# Each worker is one process: threads of its arithmetic would only wait for those of the other workers.
# Hundreds of tests start `dscompile`: empty, the variable lets Python keep the modules it compiled, even where it is set.
test: export PATH := $(CURDIR)/$(BIN):$(PATH)
test: export OPENBLAS_NUM_THREADS := 1
test: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/test.stamp
	@tools/install_emulators.sh
	@tools/beside.sh "$(LINT)" $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal $(CASES)

golden: export PATH := $(CURDIR)/$(BIN):$(PATH)
golden: $(VENV)/test.stamp
	rm -f tests/golden/native/* tests/golden/mcu/*
	$(BIN)/python -m pytest -q tests/golden --update-golden

ratio: $(VENV)/test.stamp
	$(BIN)/python -m benchmarks --networks mobilenet_v2 --contenders dscompile onnxruntime --rounds 5

bench: $(VENV)/bench.stamp
	$(BIN)/python -m benchmarks $(BENCH)
	$(BIN)/python -m benchmarks --precision int8 $(BENCH)

docs: $(VENV)/test.stamp
	$(BIN)/python -m tools.reference
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "build/site/index.html"

# The sdist, and the wheel: they work without the repository (tests/unit/test_release.py).
dist: $(VENV)/test.stamp
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
