# `make demo` on a fresh machine, `make test` before a commit. Both make .venv first; they need Python 3.11+, a C++
# compiler and make. On Linux without a GPU, save gigabytes with
#   make test PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PYTHON    ?= python3
PIP_FLAGS ?=
VENV      := .venv
BIN       := $(VENV)/bin
READY     := $(VENV)/.ready
PIP       := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt $(PIP_FLAGS)
DEMO      := runs/demo

.DEFAULT_GOAL := help
.PHONY: help demo test bench bench-rivals docs clean native lint types imports pytest sanitize endurance mutants

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: native  ## train BS4NN on the embedded digits, evaluate, pack, write the report
	rm -rf $(DEMO)
	$(BIN)/bitspike train bs4nn-digits --out $(DEMO)
	$(BIN)/bitspike eval $(DEMO)
	$(BIN)/bitspike pack $(DEMO) -o $(DEMO)/model.bitspike
	$(BIN)/bitspike report $(DEMO)
	@echo "model:  $(CURDIR)/$(DEMO)/model.bitspike"
	@echo "report: $(CURDIR)/$(DEMO)/report.html"

test: lint types imports pytest  ## linters, types, import order and every test that needs no GPU and no network

lint: $(READY)  ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## mypy --strict
	$(BIN)/mypy

imports: $(READY)  ## imports point down
	$(BIN)/lint-imports

pytest: native  ## the tests alone
	$(BIN)/python -m pytest

mutants: native  ## plant faults in a copy, one at a time: does a test notice? (half an hour; WORDS="srm box" chooses)
	$(BIN)/python tests/mutants/plant.py $(WORDS)

bench: native  ## the benchmarks, small
	$(BIN)/bitspike bench all

endurance: native  ## first calls of many threads, damaged files, hostile folders, kills and full disks: hours
	$(BIN)/python tests/endurance/first_calls.py
	PYTHONPATH=tests $(BIN)/python tests/endurance/files.py
	PYTHONPATH=tests $(BIN)/python tests/endurance/folders.py
	PYTHONPATH=tests $(BIN)/python tests/endurance/kills.py
	PYTHONPATH=tests $(BIN)/python tests/endurance/disks.py

# Without their dependencies: spikingjelly and norse ask for torchvision, which the timed parts do not use.
bench-rivals: native  ## install the libraries that the benchmarks compare with
	$(PIP) --no-deps snntorch==1.0.0 spikingjelly==2.0.0 norse==1.1.0 loguru nir nirtorch h5py

docs: native  ## the code blocks of README.md and docs/ run as tests
	$(BIN)/python -m pytest tests/test_docs.py

sanitize: $(READY)  ## the native tests under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/sanitize/run.py

# The build falls back to pure Python where no compiler is found; the same switch would hide a compile error.
native: $(READY)  ## check that the C++ module is there, if there is a compiler
	@$(BIN)/python -c "import bitspike._native" 2>/dev/null \
	|| if command -v "$${CXX:-c++}" >/dev/null 2>&1; then \
	     echo "bitspike._native is missing though there is a compiler; the build says:" >&2; \
	     $(BIN)/cmake -S . -B build/diagnose -DPython_EXECUTABLE=$(BIN)/python && $(BIN)/cmake --build build/diagnose; \
	     rm -f $(READY); exit 1; \
	   else echo "no C++ compiler: the reference back end runs (see bitspike doctor)" >&2; fi

$(READY): pyproject.toml constraints.txt CMakeLists.txt $(shell find csrc -type f)
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" \
	|| { echo "$(PYTHON) is older than 3.11; try make PYTHON=python3.12 ..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) cmake ninja nanobind scikit-build-core
	$(PIP) --no-build-isolation --editable ".[dev]"
	touch $@

clean:  ## remove what was made here, the environment and the demo's run too
	rm -rf $(VENV) build dist $(DEMO) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
