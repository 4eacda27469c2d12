# One command sets everything up; every other target calls it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOCK   := requirements/dev.lock
DEMO   ?= .demo/support-inbox
MINUTES ?= 15
# One more than there are cores: half of the time a test waits for Label Studio, a browser or a database.
WORKERS ?= $(shell nproc >/dev/null 2>&1 && expr $$(nproc) + 1 || echo auto)

.PHONY: help setup demo demo-images test test-fast soak crash check format lock clean

help:            ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.complete  ## Install everything into .venv from the lock file.

$(VENV)/.complete: $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "HITL Bridge needs Python 3.11 or newer; name one with: make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked packages into $(VENV) (about 1.5 GB, a few minutes the first time) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-compile -r $(LOCK)
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true  # on all cores, as pip does not; some files are for other Pythons
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup      ## The whole loop on a real Label Studio, with simulated reviewers.
	@$(BIN)/hitl-bridge demo $(DEMO)

demo-images: setup  ## The same on handwritten digits.
	@$(BIN)/hitl-bridge demo --images .demo/digits

test: setup      ## Every test, on SQLite, PostgreSQL, DVC, git, a real Label Studio and a real browser.
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-fast: setup ## Tests that need neither a Label Studio nor a browser.
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not live and not browser"

soak: setup      ## Two daemons, a bad network, people, and kills at random, for MINUTES=15 (SEED=n draws the same again).
	@$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

crash: setup     ## A kill at every step of a cycle, one after the other (SEED=n draws the same again).
	@$(BIN)/python -m tests.faults.crash_matrix $(if $(SEED),--seed $(SEED))

check: setup     ## Style, types, and which way imports point.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup    ## Put the code into its usual form.
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: setup      ## Pin anew what pyproject.toml allows (needs uv).
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev pyproject.toml -o $(LOCK)

clean:           ## Remove what the targets above made.
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
