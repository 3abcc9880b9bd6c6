# Five commands: install, lab, test, notebooks, tour. Everything happens in .venv; nothing outside the checkout changes,
# except that `make test` installs Chromium with apt-get where it is missing and where that is possible.
#
#   make install PYTHON=python3.12              another Python (3.11 or later)
#   make install PIP_ARGS="…"                   more options for pip: on Linux the index of CPU-only PyTorch wheels, say
#                                               (binder/requirements.txt has its address), saves 2.8 GB of CUDA libraries
#   make lab LAB_ARGS=--no-browser              options for jupyter lab
#   make lab GEMMA_LAB_MODEL=e2b-it             the notebooks on another model
#   make notebooks NOTEBOOKS=notebooks/02*      some notebooks only
#   make bench BENCHMARKS=tests/benchmarks/test_rivals.py   some benchmarks only (make rivals first, once)

PYTHON ?= python3
PIP_ARGS ?=
LAB_ARGS ?=
PYTEST_ARGS ?=
NOTEBOOKS ?=
BENCHMARKS ?=

BIN := .venv/bin
# Jupyter refuses to serve for root unless told; in a container there is nobody else.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: install lab test lint types unit notebook-tests browser chromium notebooks tour bench rivals wheel clean

# ---- to use -----------------------------------------------------------------------------------------------------------

install: .venv/installed

# The stamp is newer than pyproject.toml exactly when nothing is left to install.
.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -c 'import sys; sys.version_info >= (3, 11) or sys.exit("gemma_lab needs Python 3.11 or later: make install PYTHON=python3.12")'
	$(BIN)/python -m pip install $(PIP_ARGS) -e ".[dev]"
	touch $@

lab: install
	$(BIN)/jupyter lab $(AS_ROOT) --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(LAB_ARGS)

# ---- to trust ---------------------------------------------------------------------------------------------------------

test: lint types unit notebook-tests browser

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

unit: install
	$(BIN)/python -m pytest tests --ignore=tests/browser --ignore=tests/benchmarks $(PYTEST_ARGS)

# Runs every committed notebook and compares what it prints with what is committed. Offline; conftest.py sets the mode.
notebook-tests: install
	$(BIN)/python -m pytest -p no:python --nbval --nbval-current-env --nbval-cell-timeout 120 \
	  --nbval-sanitize-with notebooks/sanitize.cfg notebooks $(PYTEST_ARGS)

browser: install chromium
	$(BIN)/python -m pytest tests/browser $(PYTEST_ARGS)

chromium:
	.ci/chromium

# ---- to make ----------------------------------------------------------------------------------------------------------

notebooks: install
	$(BIN)/python -m tools.manifest
	$(BIN)/python -m tools.notebooks links
	$(BIN)/python -m tools.notebooks run $(NOTEBOOKS)

tour: install
	$(BIN)/python -m tools.notebooks tour $(NOTEBOOKS)

bench: install
	$(BIN)/python -m tools.bench run $(BENCHMARKS)

# The tools it is measured against, in an environment of their own, on the same torch and transformers as ours. nnterp 1.3
# does not import with nnsight 0.8. BertViz's page loads three scripts from a CDN: npm brings them, where there is npm.
rivals: install
	test -x build/rivals/bin/python || $(PYTHON) -m venv build/rivals
	$(BIN)/python -m pip freeze | grep -E '^(torch|torchvision|transformers)==' > build/rivals/constraints.txt
	build/rivals/bin/python -m pip install $(PIP_ARGS) -c build/rivals/constraints.txt torchvision transformer-lens \
	  nnterp 'nnsight<0.8' bertviz circuitsvis inspectus
	if command -v npm > /dev/null; then npm install --no-fund --no-audit --prefix build/rivals requirejs@2.3.6 d3@5.7.0 jquery@2.2.4; fi

wheel: install
	$(BIN)/python -m build --wheel --no-isolation --outdir dist

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache
