# Everything below needs Python >= 3.11, make and the package index; nothing else is required.
# What is missing on a machine (a C cross compiler, qemu-user, Debian's apt) is said and left out by
# the targets that would use it: test-real and bench.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# editable_mode=compat: a plain path file; the import hook of the default mode costs each start 5 ms
EDIT   := --config-settings editable_mode=compat -e
JOBS   ?= 2
PYTEST := $(BIN)/python -m pytest

.PHONY: all demo test check test-real bench corpus overhead docs clean distclean guests install

all: check test

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python >= 3.11 is needed; say which one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "this Python has no venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }

# One stamp per set of packages; each is renewed when pyproject.toml changes.
$(VENV)/.stamp-run: pyproject.toml | $(BIN)/python
	$(PIP) $(EDIT) .
	@touch $@
$(VENV)/.stamp-test: pyproject.toml | $(BIN)/python
	$(PIP) $(EDIT) '.[test]'
	@touch $@ $(VENV)/.stamp-run
$(VENV)/.stamp-check: pyproject.toml | $(BIN)/python
	$(PIP) $(EDIT) '.[test,check]'
	@touch $@ $(VENV)/.stamp-run $(VENV)/.stamp-test

install: $(VENV)/.stamp-run

demo: $(VENV)/.stamp-run
	@for arch in aarch64 x86_64; do \
	  echo "--- uabi-emu run guests/demo/$$arch/demo one two"; \
	  $(BIN)/uabi-emu run guests/demo/$$arch/demo one two || exit 1; \
	done

guests: $(VENV)/.stamp-test
	@$(BIN)/python guests/build.py

test: guests
	$(PYTEST) -n $(JOBS) tests

check: $(VENV)/.stamp-check
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-real: $(VENV)/.stamp-check
	$(BIN)/python tests/real/fetch.py
	$(PYTEST) -n $(JOBS) tests/real

bench: $(VENV)/.stamp-test
	$(BIN)/python bench/run.py

corpus: $(VENV)/.stamp-check
	$(BIN)/python tests/real/fetch.py
	$(BIN)/python -m bench.corpus

# both CPUs for some minutes; entries and calls are counted, and no time is measured
overhead: $(VENV)/.stamp-check
	$(BIN)/python tests/real/fetch.py
	$(BIN)/python -m bench.overhead --jobs $(JOBS)

docs: $(VENV)/.stamp-run
	$(BIN)/python docs/collect.py

clean:
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) *.egg-info
