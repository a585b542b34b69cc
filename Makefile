# make setup once, then make demo. Every other command is `evalharness --help`.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: setup demo test check bench benchmarks

setup: .venv/ready

# PIP_CONSTRAINT reaches the build backend too, which `-c` does not.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv && echo "Installing into .venv; this takes some minutes ..."
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/evalharness demo

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff format --check . && $(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/evalharness bench

# Hours on 2 cores; benchmarks/README.md says what each script measures and how long it takes.
benchmarks: setup
	$(BIN)/python -m benchmarks.engine_cpu
	$(BIN)/python -m benchmarks.engine_costs
	$(BIN)/python -m benchmarks.provider_cpu
	$(BIN)/python -m benchmarks.roofline
	$(BIN)/python -m benchmarks.extraction_cpu
	$(BIN)/python -m benchmarks.concepts_doc
	$(BIN)/python -m benchmarks.table
