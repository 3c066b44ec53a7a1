# make tune   set up .venv and run the main job       make test   set up .venv and pass every test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: tune test test-all lint types bench clean

tune: $(STAMP)
	$(BIN)/gdn tune quickstart

test: $(STAMP) lint types
	$(BIN)/python -m pytest -n 2 --dist loadfile

# then the tests marked `triton` under the other supported versions of Triton
test-all: test
	$(BIN)/python -m tests.triton_versions

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy -p gdn_ops

bench: $(STAMP)
	$(BIN)/python -m bench

# torch comes first and pinned: with it in place nothing pulls another build of it
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
