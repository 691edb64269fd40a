# Everything a person, a commit hook or CI runs. `make help` lists it; needs Python 3.11+ and nothing else.
# TORCH=cpu before any target leaves out 3.6 GB of CUDA.
# Every recipe runs in one shell that stops at the first failure.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

# PYTHON may be given; otherwise the newest one found that pins and wheels exist for
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# which torch is installed: cpu, auto (as the driver here can use) or another of uv's --torch-backend; nothing
# is that of the package index, with CUDA. What was said once holds for this .venv.
TORCH ?= $(shell cat .venv/.torch 2>/dev/null)
UV := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraints constraints.txt --build-constraints constraints.txt $(addprefix --torch-backend ,$(TORCH))
# one process a core; the tests of a file stay together and in their order, long files begin first
PARALLEL ?= --numprocesses auto --dist loadfile --no-loadscope-reorder
# lines that a room's own tests run, in percent, as measured and only ever raised
FLOOR_AGENT := 98
FLOOR_DICOM_NODE := 96
FLOOR_MODELS := 96
FLOOR_SERVER := 92
# what is installed is what these two files said: another content is another stamp
KEY := $(shell cat pyproject.toml constraints.txt | cksum | tr -s ' \t' '-')$(addprefix -,$(TORCH))
INSTALLED := .venv/.installed-$(KEY)
TRAIN_INSTALLED := .venv/.train-$(KEY)
PEERS_INSTALLED := .venv/.peers-$(KEY)

.PHONY: help demo train-demo test check coverage lint format peers bench pins stamp

# This list.
help:
	@awk '/^# /{said=substr($$0,3)} /^[a-z-]+:/{split($$0,name,":"); if (said!="") printf "make %-10s %s\n", name[1], said} !/^# /{said=""}' $(MAKEFILE_LIST)

# Run the main job on a real CT, from the PACS and back to it; leaves SEG, SR, preview.png and trace.json in demo-out/; KEEP=1 keeps the node and its pages up.
demo: $(INSTALLED)
	@$(BIN)/python -P -m server.demo $(if $(KEEP),--keep)

# From slices with a truth to a report on two cores: trajectories, SFT, GRPO and evaluation of a toy model, in train-out/.
train-demo: $(TRAIN_INSTALLED)
	@$(BIN)/python -P -m server.demo.training

# Set up .venv if needed and run every check and every test: the same command as `make check`.
test: check

# The one check (format, lint, types, layers, YAML, then budgets, docs and all tests) for a person, the push hook and CI.
check: lint $(TRAIN_INSTALLED)
	@$(BIN)/python -m pytest $(PARALLEL)

# Run each room's own tests with coverage, and fail below the room's floor; not part of the check: tracing doubles its time.
coverage: $(TRAIN_INSTALLED)
	@for room in agent:$(FLOOR_AGENT) dicom_node:$(FLOOR_DICOM_NODE) models:$(FLOOR_MODELS) server:$(FLOOR_SERVER); do
		$(BIN)/python -m pytest $(PARALLEL) --cov="$${room%:*}" --cov-report=term --cov-fail-under="$${room#*:}" "tests/$${room%:*}"
	done

# The part of the check that takes seconds; the commit hook runs it.
lint: $(INSTALLED)
	@$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/yamllint --strict .pre-commit-config.yaml .yamllint.yaml deploy

# Put the code into the house's format and mend what the linter can mend by itself.
format: $(INSTALLED)
	@$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Print the file that says that this environment is installed.
stamp:
	@printf '%s\n' "$(INSTALLED)"

# Install the independent peers of the interoperability tests (Debian, root): Orthanc, DCMTK, dicom3tools, dcmqi, Chromium, OHIF, axe-core.
peers: $(PEERS_INSTALLED)
	@deploy/install-peers.sh

# Run the benchmarks; each prints a table with the ratio to its peer and writes bench-out/NAME.json.
bench: $(INSTALLED)
	@mkdir -p bench-out
	for benchmark in tests/benchmarks/bench_*.py; do $(BIN)/python "$$benchmark"; done

# Write constraints.txt anew after a change of the dependencies in pyproject.toml; pins that still fit stay.
pins: $(INSTALLED)
	@said=$$(grep '^#' constraints.txt)
	$(BIN)/uv pip compile --quiet pyproject.toml --all-extras --no-annotate --no-header --output-file constraints.txt > /dev/null
	{ printf '%s\n' "$$said"; grep -v '^#' constraints.txt; } > constraints.new
	mv constraints.new constraints.txt

# pip alone may take a CPU build of torch that torchvision cannot use, so it only brings uv
$(INSTALLED):
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11 or newer was not found; install it or say: make PYTHON=/path/to/python3" >&2; exit 1; fi
	if [ ! -x $(BIN)/python ]; then
		echo "making .venv with $(PYTHON) ..."
		$(PYTHON) -m venv .venv || { rm -rf .venv; echo "$(PYTHON) cannot make environments; on Debian install python3-venv" >&2; exit 1; }
	fi
	echo "installing the versions of constraints.txt into .venv (a few minutes the first time) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(UV) $(if $(TORCH),--reinstall-package torch --reinstall-package torchvision) --editable '.[test]'
	rm -f .venv/.installed-*
	$(if $(TORCH),echo '$(TORCH)' > .venv/.torch)
	touch $@

# what trains is a fifth more to fetch, and the demo needs none of it
$(TRAIN_INSTALLED): $(INSTALLED)
	@$(UV) --editable '.[test,train]'
	rm -f .venv/.train-*
	touch $@

$(PEERS_INSTALLED): $(TRAIN_INSTALLED)
	@$(UV) --editable '.[test,train,peers,parity]'
	rm -f .venv/.peers-*
	touch $@
