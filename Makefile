# Two targets do all the set-up: `make quickstart` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.docs-ready
FIT := $(BIN)/python -m edit_lit fit --config configs/quickstart.yaml

.DEFAULT_GOAL := help
.PHONY: help quickstart editors strategies test test-plain test-slow faults mutation lint type docs bench bench-scale bench-guards clean

help:  ## List the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# PyTorch comes first and by itself: a CPU build where one is at hand, and nothing newer behind our back.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 13) else "edit_lit needs Python 3.11 or 3.12; call make with PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

$(DOCS_READY): $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

quickstart: $(READY)  ## Edit 50 facts in the embedded model, fine-tune it, and watch the edits decay.
	$(FIT)

editors: $(READY)  ## Measure every editor in the quickstart's setting; ends with a table.
	$(FIT) --name editors/memit
	for overlay in configs/world/*.yaml; do \
	  $(FIT) --config $$overlay --name editors/$$(basename $$overlay .yaml) || exit 1; \
	done
	$(BIN)/python -m edit_lit report runs/editors

strategies: $(READY)  ## Measure the tuning strategies on the quickstart's edits; ends with a table.
	for layers in all edited unedited through_edited before_edited after_edited; do \
	  $(FIT) --name strategies/$$layers --model.tuning.layers $$layers || exit 1; \
	done
	$(FIT) --name strategies/lora --model.tuning LoRA
	$(FIT) --name strategies/control --edit.editor null
	$(BIN)/python -m edit_lit report runs/strategies

test: $(READY)  ## Run the tests.
	$(BIN)/python -m pytest

# MKL, ATen and oneDNN each choose kernels by the CPU; this takes the ones that every CPU has.
# Threads that wait by spinning take far longer where another process wants the cores.
test-plain: $(READY)  ## Run the tests on two threads and the plainest code path: no result may hang on either.
	OMP_WAIT_POLICY=passive TEST_THREADS=2 MKL_CBWR=COMPATIBLE ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 $(BIN)/python -m pytest

test-slow: $(READY)  ## Run the tests that take minutes.
	$(BIN)/python -m pytest -m slow

faults: $(READY)  ## Kill runs at random moments, a hundred times, and their processes one by one; prints how they end.
	$(BIN)/python -m pytest -m slow tests/faults

mutation: $(READY)  ## Change the mathematics a little, hundreds of times, and list what no test notices. Takes a quarter of an hour.
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,mutation]'
	rm -rf mutants
	$(BIN)/python -m mutmut run --max-children 1
	$(BIN)/python -m mutmut results

lint: $(READY)  ## Check style and formatting.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(READY)  ## Check types.
	$(BIN)/mypy
	$(BIN)/mypy docs/examples

docs: $(DOCS_READY)  ## Build the documentation in build/site; a warning is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

bench: $(READY)  ## Measure speed.
	$(BIN)/python -m tests.benchmarks.run

bench-scale: $(READY)  ## Measure edits of up to 10,000 facts: time and peak memory. Takes eleven minutes.
	$(BIN)/python -m tests.benchmarks.scale

bench-guards: $(READY)  ## Measure what guards cost: time and memory. Takes three minutes.
	$(BIN)/python -m tests.benchmarks.guards

clean:  ## Remove the environment and what tools leave behind.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis mutants build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
