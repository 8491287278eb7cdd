# Two commands do everything on a fresh machine with Python 3.11: `make demo` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEEPSPEED := $(VENV)/deepspeed
export TUNESMITH_HOME ?= $(CURDIR)/.tunesmith
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help setup studio screenshots demo tour check test test-all test-deepspeed nemesis test-gpu lint unit bench \
	reference release clean

help:
	@echo "make demo   fine-tune a real language model on this machine, watch it, compare it with its base"
	@echo "make tour   go on where the demo ends: evaluate its checkpoints, chat, package the best as GGUF with a proof"
	@echo "make check  lint, types, layout guards and every test that needs no torch: within five minutes"
	@echo "make test   lint, types, layout guards and every test but those marked long"
	@echo "make test-all  those too, DeepSpeed's, more of nemesis, and whether a bench runs"
	@echo "make bench  the speeds, as ratios"
	@echo "make test-deepspeed  installs DeepSpeed beside the environment and runs its tests, which else are skipped"
	@echo "make nemesis SEEDS=60  hurts every part in every phase of a task, and says which promise that broke"
	@echo "make release  wheel, images' contexts and chart with one version, tried in a clean environment; RELEASE=--draft"
	@echo "make test-gpu  on a bare GPU machine: what must hold there, tokens/s, MFU and peak memory"
	@echo "make studio  build the web studio, where its sources changed"
	@echo "make screenshots  look at every page of the studio: pictures in both languages, light and dark"
	@echo "make clean  end what was started and remove everything that was made"

setup: $(STAMP)

# The pins decide what is installed; it is done again only when they or the project's own needs change.
$(STAMP): constraints.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing (one to two minutes the first time)..."
	@$(BIN)/python infra/scripts/install.py -c constraints.txt hatchling editables
	@$(BIN)/python infra/scripts/install.py -c constraints.txt --no-build-isolation -e ".[platform,jobs,serve,dev]"
	@$(BIN)/python -m compileall -q platform jobs serve || true  # what is compiled starts a second sooner
	@$(BIN)/python infra/scripts/precompile.py || true
	@touch $(STAMP)

# Built once, and again only when its sources change. Without the npm registry it says so, and all else works.
studio: setup
	@$(BIN)/python infra/scripts/studio.py

screenshots: studio
	@$(BIN)/python infra/scripts/screenshots.py

demo: setup
	@$(BIN)/python infra/scripts/demo.py

tour: setup
	@$(BIN)/python infra/scripts/tour.py

test: lint unit

# Three workers on two cores, as the live platforms mostly wait; a test says which stay together (tests/groups.py), the end says what was slow (tests/processor_time.py).
# Ray puts its workers behind all else: beside tests of the common priority they would have next to no time.
PYTEST := nice -n 19 $(BIN)/python -m pytest -q -n 3 --dist loadscope --no-loadscope-reorder
NEEDS_TORCH := tests/tunesmith_jobs tests/e2e tests/nemesis tests/contract $(addprefix tests/tunesmith_serve/test_, \
	ahead.py choosing.py engines.py files_made_once.py llama_cpp.py on_ray.py packaged_files.py proving.py \
	token_sampling.py transformers_engine.py)

check: lint
	@$(PYTEST) -m "not slow and not long" $(addprefix --ignore=,$(NEEDS_TORCH))

# The long form, run whole before a release: each step goes on where the one before it left the environment.
test-all: lint
	@$(PYTEST) --guard-times
	@$(MAKE) test-deepspeed
	@$(MAKE) nemesis SEEDS=3
	@$(BIN)/python tests/bench/reporting.py --steps 30

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python infra/scripts/studio.py --check --if-can

# DeepSpeed lies beside the environment: where it is installed, every process that trains imports it. Its tests find it.
$(DEEPSPEED)/.installed: $(STAMP)
	@rm -rf $(DEEPSPEED)
	@DS_BUILD_OPS=0 $(PIP) install --quiet -c constraints.txt --no-build-isolation --no-deps --target $(DEEPSPEED) \
		deepspeed einops hjson msgpack ninja py-cpuinfo
	@touch $@

# Not part of `test`: it compiles how CPU workers talk, which takes a C++ compiler and long the first time.
test-deepspeed: setup $(DEEPSPEED)/.installed
	@$(BIN)/python -m pytest tests/tunesmith_jobs/test_train_workers.py

unit: setup
	@$(PYTEST) -m "not long"

# Part of it, one episode, is in `test`. What ran on this commit and on those before it is added up in `.nemesis/`.
SEEDS ?= 60
FIRST ?= 0
nemesis: setup
	@$(BIN)/python tests/nemesis/run.py --seeds $(SEEDS) --first $(FIRST) $(NEMESIS)

# A bare GPU machine has packages of its own and nothing of ours: no `setup`. TEST_GPU holds more flags.
test-gpu:
	@$(if $(wildcard $(BIN)/python),$(BIN)/python,python3) infra/scripts/test_gpu.py $(TEST_GPU)

bench: setup
	@$(BIN)/python tests/bench/api.py

reference: setup
	@$(BIN)/python infra/scripts/reference.py
	@$(BIN)/python infra/scripts/chart_schema.py

# Publishes nothing: wheel, images' contexts, chart and notes in `dist/`, tried in a clean environment. RELEASE=--draft before one.
release: studio
	@$(BIN)/python infra/scripts/release.py $(RELEASE)

clean:
	@if [ -x $(BIN)/tunesmith ] && [ -d "$(TUNESMITH_HOME)" ]; then $(BIN)/tunesmith down; fi
	@rm -rf platform/tunesmith_ui/built platform/tunesmith_ui/web/node_modules
	@rm -rf dist $(VENV) "$(TUNESMITH_HOME)" .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
