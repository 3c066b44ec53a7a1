PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --no-compile
STAMP := $(VENV)/.ready
DOCS_STAMP := $(VENV)/.docs-ready

# tests start many processes, which start faster from bytecode
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help tune test test-all suite exhaustive lint types bench predictions docs clean

help:  ## print this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

tune: $(STAMP)  ## set up .venv and tune this machine
	$(BIN)/gdn tune quickstart

# mypy keeps one core busy, so it runs beside the tests and not before them
test: $(STAMP) lint  ## set up .venv and run lint, types and every test
	$(MAKE) --no-print-directory --jobs=2 types suite

suite:
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# the tests marked `triton` under the other supported versions of Triton, those of the backend in
# flash-linear-attention on its releases, and those of exported kernels with Hugging Face's kernels
test-all: test exhaustive docs  ## test, every case of it, the site, and Triton's other versions
	$(BIN)/python -m tests.triton_versions
	$(BIN)/python -m tests.fla_releases
	$(BIN)/python -m tests.kernels_releases

exhaustive: $(STAMP)  ## every case of what `test` samples
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "exhaustive or hypothesis" --hypothesis-profile exhaustive

lint: $(STAMP)  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy --strict
	$(BIN)/mypy -p gdn_ops

bench: $(STAMP)  ## ratios against transformers on this machine
	$(BIN)/python -m bench

predictions: $(STAMP)  ## predict the common problems for each GPU into results.db (compiles; see CONTRIBUTING)
	$(BIN)/python -m bench.predictions
	$(BIN)/python -m bench.choices

docs: $(DOCS_STAMP)  ## build the documentation site into site/ (needs Python 3.11)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# torch comes first and pinned: with it in place nothing pulls another build of it; of thousands
# of modules few are imported, so none is compiled before
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --constraint constraints.txt torch
	$(PIP) --constraint constraints.txt --editable '.[dev]'
	touch $@

# apart, so that `make test` does not install the site's tools
$(DOCS_STAMP): $(STAMP)
	$(PIP) --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:  ## remove .venv and what was built
	rm -rf $(VENV) build site *.egg-info
