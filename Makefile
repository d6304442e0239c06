# make demo | test | lab | app: each sets up .venv first where needed. Only Python >= 3.11 and make must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# PyPI's torch for Linux is a CUDA build of several GB; without a GPU take the CPU build. Where PIP_FIND_LINKS names a folder
# of wheels, torch is taken from there.
TORCH := $(if $(PIP_FIND_LINKS),,$(shell command -v nvidia-smi >/dev/null 2>&1 || echo --torch-backend=cpu))

# Every file that is installed, or that builds what is, is held to a sha256 of constraints-hashed.txt, which .ci/hashes writes.
# torch alone is held to its version: uv would hold its build to PyPI's files, whichever of its builds is taken.
HASHED := constraints-hashed.txt
INSTALL = UV_FIND_LINKS="$$PIP_FIND_LINKS" $(BIN)/uv pip install --quiet -b $(HASHED) $(TORCH)

# A second environment with the newest TransformerLens, which is 4.x, and the tests of all that can touch a hooked model. Left
# out by name, to save their time: Othello's rules, training, searches, and what writes and prints, none of which hook a model.
LENS4 := .venv-lens4
LENS4_STAMP := $(LENS4)/.installed
LENS4_WITHOUT = cli export fleet fleet_parts loggers optimizers print_layout processes search search_postgresql search_storage study \
	study_claims study_effects study_lead study_scales study_shapes training
LENS4_TESTS = tests/interop tests/models tests/probes tests/workbench tests/reliability/test_hooks.py \
	tests/reliability/test_interrupts.py tests/test_examples.py \
	--ignore=tests/models/othello $(LENS4_WITHOUT:%=--ignore=tests/workbench/test_%.py)

.PHONY: demo test test-all test-lens4 lab app bench docs system setup lint
.DEFAULT_GOAL := demo

demo: $(STAMP)
	$(BIN)/workbench demo --out demo

# Browsers are timed, so they have the machine to themselves.
test: $(STAMP) lint
	$(BIN)/pytest -n 2
	$(BIN)/pytest -m "browser and not slow"

test-all: $(STAMP) lint
	$(BIN)/pytest -n 2 -m "not browser"
	$(BIN)/pytest -m browser
	.ci/audit

test-lens4: $(STAMP) $(LENS4_STAMP)
	$(LENS4)/bin/pytest -n 2 $(LENS4_TESTS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lab: $(STAMP)
	$(BIN)/workbench lab

app: $(STAMP)
	$(BIN)/workbench app

bench: $(STAMP)
	$(INSTALL) --python $(VENV) -e '.[bench]' -c $(HASHED)
	mkdir -p benchmarks/results
	for script in benchmarks/*.py; do $(BIN)/python $$script --json benchmarks/results/$$(basename $$script .py).json || exit 1; done

# site/index.html; the notebooks are executed first, for the gallery. Its search wants a server: python -m http.server -d site
docs: $(STAMP)
	$(BIN)/python docs/gallery.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

setup: $(STAMP)

$(STAMP): pyproject.toml $(HASHED)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	sed -n '/^uv==/,/[^\\]$$/p' $(HASHED) | \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r /dev/stdin
	$(INSTALL) --python $(VENV) --compile-bytecode -e '.[dev,interop]' -c $(HASHED)
	touch $(STAMP)

# No SAELens there: it needs transformer-lens < 4.
$(LENS4_STAMP): pyproject.toml $(HASHED) constraints-lens4.txt | $(STAMP)
	$(PYTHON) -m venv $(LENS4)
	sed '/^transformer-lens==/,/[^\\]$$/d' $(HASHED) > $(LENS4)/$(HASHED)
	$(INSTALL) --python $(LENS4) -e '.[dev]' circuitsvis -c $(LENS4)/$(HASHED) -c constraints-lens4.txt
	touch $(LENS4_STAMP)

# What the tests want of the system: a browser for figures and notebooks, PostgreSQL for shared searches, PDF tools.
system:
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium poppler-utils postgresql
