# Every target does its own set-up. `make help` lists the targets.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
RUN := $(VENV)/bin/routerd
PLUGINS := $(notdir $(wildcard plugins/*))
STAMP := $(VENV)/.installed
# Tiers that a run must not skip; `make test REQUIRE=` lets every tier be skipped with a reason.
REQUIRE ?= live,netns,cloud,interop,thirdparty
# The tests for Debian's own kernel; `make test-vm VM_TESTS=...` runs some of them.
VM_TESTS ?= $(shell grep -rlE '\bmark\.vm\b' --include='test_*.py' tests plugins)
IN_VM = $(PY) -m tests.vm --seconds 3600 -- $(abspath $(PY)) -m pytest -v -n 2 --dist worksteal -m vm --require=vm
CMD ?= bash
export CMD
# The tests start hundreds of Python processes. Each would compile the whole tree if none kept the result.
unexport PYTHONDONTWRITEBYTECODE

FAST := not live and not netns and not vm and not cloud and not interop and not thirdparty and not bench
# Nothing in them is fast, and collecting them takes seconds.
SLOW := cloud interop netns thirdparty vm bench

.PHONY: help setup system lab test test-vm vm check bench mutate fmt clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: system $(STAMP)  ## make a virtual environment with routerd, its plugins and the tools

system:
	@bash packaging/system-packages.sh

$(STAMP): pyproject.toml packaging/constraints.txt $(wildcard plugins/*/pyproject.toml)
	@bash packaging/venv.sh $(VENV) $(PLUGINS)
	@touch $@

lab: setup  ## bring up the four-site fabric, prove it, leave nothing behind
	@$(RUN) lab run fullmesh

check: $(STAMP)  ## lint, types, import rules and the fast tests
	@$(VENV)/bin/ruff check --quiet . && $(VENV)/bin/ruff format --quiet --check .
	@$(VENV)/bin/mypy --no-error-summary core/routerd $(foreach p,$(PLUGINS),plugins/$(p)/routerd_$(p))
	@$(VENV)/bin/lint-imports --no-logo >/dev/null || $(VENV)/bin/lint-imports --no-logo
	@$(PY) -m pytest -q -n 2 --hypothesis-profile=quick -m "$(FAST)" $(addprefix --ignore=tests/,$(SLOW))

test: setup  ## every tier that this machine can run; says what it skipped and why, and how long each took
	@$(PY) -m compileall -q core plugins
	@$(PY) -m tests.everything --require=$(REQUIRE) $(VM_TESTS)

test-vm: setup  ## the tests that need Debian's own kernel, in a virtual machine
	@$(IN_VM) $(VM_TESTS)

vm: setup  ## run CMD='...' in that virtual machine, a shell without it
	@$(PY) -m tests.vm --seconds 7200 -- "$$CMD"

bench: setup  ## measure speed, memory and growth; prints ratios against peers of the same run
	@$(PY) -m tests.bench
	@$(PY) -m tests.vm --seconds 1200 -- $(abspath $(PY)) -m tests.bench dataplane

mutate: $(STAMP)  ## measure the unit tests: 400 mutants of the loop, admission and the judge
	@$(PY) -m pip install --quiet --disable-pip-version-check -c packaging/constraints.txt cosmic-ray
	@$(PY) -m tests.mutate $(MUTATE)

fmt: $(STAMP)  ## format the sources
	@$(VENV)/bin/ruff format --quiet . && $(VENV)/bin/ruff check --quiet --fix .

clean:  ## remove what the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
