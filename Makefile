# `make help` lists every target. Everything is installed into .venv/, node_modules/ and the user's cache folder.
SHELL := /bin/bash
PYTHON := .venv/bin/python
UV := .venv/bin/uv
NAME ?= ambit

.DEFAULT_GOAL := help
.PHONY: help setup test lint format types contracts unit integration generate chart cluster cluster-down images demo demo-down bench-ledger lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready sandbox-images/isolate-host/node_modules/.ready tests/gateway/npm/node_modules/.ready ## Install what developing and testing need

.venv/.ready: requirements/bootstrap.txt requirements/dev.txt pyproject.toml
	python3 -m venv .venv
	$(PYTHON) -m pip install --quiet --require-hashes --requirement requirements/bootstrap.txt
	$(UV) pip sync --quiet --python $(PYTHON) --require-hashes requirements/dev.txt
	$(UV) pip install --quiet --python $(PYTHON) --no-deps --no-build-isolation --editable .
	@touch $@

%/node_modules/.ready: %/package-lock.json
	npm ci --prefix $* --no-audit --no-fund --no-update-notifier --loglevel=error
	@touch $@

test: setup ## Run everything that CI runs, stage by stage
	$(PYTHON) -m e2e.stages

lint: setup ## Formatting and lint
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .

format: setup ## Format the code
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

types: setup ## Types, strict
	.venv/bin/pyright

contracts: setup ## Who may import whom
	.venv/bin/lint-imports

unit: setup ## Tests that need no cluster
	$(PYTHON) -m pytest -m "not integration and not cluster and not planted"

integration: setup ## Tests against a real apiserver
	$(PYTHON) -m e2e.stages integration

generate: setup ## Write crds/, the chart's copy of them, and the reference from the API models
	$(PYTHON) -m ambit.api.generate

chart: setup ## Lint the chart and check its rendering
	$(PYTHON) -m pytest tests/chart

cluster: setup ## Bring up a real Kubernetes (NAME=ambit)
	$(PYTHON) -m e2e.cluster up --name $(NAME)

cluster-down: setup ## Take it down and leave the machine as it was
	$(PYTHON) -m e2e.cluster down --name $(NAME)

images: setup ## Build every image
	$(PYTHON) -m e2e.images build

demo: setup ## Ambit's main job on a real cluster, from nothing
	$(PYTHON) -m e2e.demo up

demo-down: setup ## Remove all that the demo made
	$(PYTHON) -m e2e.demo down

bench-ledger: setup ## How fast the ledger is, beside row locks in PostgreSQL and a script in Redis
	$(PYTHON) -m e2e.bench.ledger

lock: ## Re-lock the Python dependencies
	$(UV) pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml --output-file requirements/runtime.txt
	$(UV) pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml --extra cli --group dev --output-file requirements/dev.txt
	grep -A 100 '^uv==' requirements/dev.txt | awk 'NR > 1 && /^[a-z]/ {exit} {print}' > requirements/bootstrap.txt

clean: ## Remove what was built here
	rm -rf .venv build dist sandbox-images/isolate-host/node_modules tests/gateway/npm/node_modules
