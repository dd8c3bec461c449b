# make env · make demo · make test · make bench · make protos
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# A folder of wheels that this machine's pip already knows, if any: a CPU build of torch may lie there.
WHEELS := $(or $(PIP_FIND_LINKS),$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))

.PHONY: help env demo test bench protos stubs lint types clean

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

# Everything: lint, types, then the tests.
test: env
	$(MAKE) lint
	$(MAKE) types
	$(BIN)/python -m pytest

bench: env
	$(BIN)/python -m bench

clean:
	rm -rf .venv build
