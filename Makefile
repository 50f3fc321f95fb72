# One command for each thing a person does here; `make help` lists them. Environments are made by the targets that need
# them, one for each set of versions that cannot live together, and anew only when the content of their pins changes.
PYTHON ?= python3
# CONFIG: named environment of samconfig.toml that `make deploy` uses
CONFIG ?= default
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
export SAM_CLI_TELEMETRY := 0

fingerprint = $(firstword $(shell cat $(1) requirements/environment.py | cksum))
RUN := .venv/run-$(call fingerprint,requirements/run.txt layers/bedrock_meter/pyproject.toml)
DEV := .venv/dev-$(call fingerprint,requirements/lock.txt)
STACK := .venv-local-stack/made-$(call fingerprint,requirements/local-stack.txt)
PEER := .venv-peer/made-$(call fingerprint,requirements/peer.txt)
SAM := .venv-sam/made-$(call fingerprint,requirements/sam.txt)

.PHONY: help venv run up test check lint format bench faults theorem fuzz openapi prices prices-check requirements build deploy clean
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 14

venv: $(RUN) ## make .venv, with the command bedrock-meter in its bin

run: $(RUN) $(STACK) ## the whole meter on this machine: sample records in, quotas and events out
	@.venv/bin/bedrock-meter run

up: $(RUN) $(STACK) ## the same, and keep the stack and the quota API serving until Ctrl-C
	@.venv/bin/bedrock-meter up

test: $(DEV) $(STACK) ## all tests, on all processors; ARGS="tests/unit -k windows" chooses
	.venv/bin/python -m pytest -n auto --dist loadscope $(ARGS)

check: $(STACK) lint ## everything that CI runs: linters, types, build, deployment to the local stack, tests
	.venv/bin/python -m tests.template.deploy_locally
	$(MAKE) test

lint: $(DEV) $(SAM) ## formatting, linters, types, template
	.venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy
	.venv-sam/bin/cfn-lint template.yaml && .venv-sam/bin/sam validate --lint

format: $(DEV) ## let ruff rewrite what it can
	.venv/bin/ruff format . && .venv/bin/ruff check --fix .

bench: $(DEV) $(STACK) $(PEER) ## speed and cost of decoding, recording, reserving, rating and imports, as ratios
	.venv/bin/python -m tests.bench

faults: $(DEV) ## exactly once under every fault: schedules, crash matrix, wrong designs; SEEDS=10000 FROM=0 for more
	.venv/bin/python -m tests.faults

theorem: $(DEV) ## reserved limits hold: random workloads, the bound on excess with its terms, a crowd, wrong designs; SEEDS=5000
	.venv/bin/python -m tests.faults.theorem

fuzz: $(DEV) ## requests made from the OpenAPI documents against the APIs in process; CASES=5000 for more
	.venv/bin/python -m tests.fuzz

openapi: $(RUN) ## write docs/openapi.json and docs/openapi-admin.json anew from the code
	.venv/bin/python -m bedrock_meter.api.openapi > docs/openapi.json
	.venv/bin/python -m bedrock_meter.api.admin_openapi > docs/openapi-admin.json

prices: $(RUN) ## make the price book from its inputs; ARGS=--fetch takes the pinned litellm list first
	@.venv/bin/python -m prices.generate $(ARGS)

prices-check: $(DEV) ## compare the price book with genai-prices; ARGS=--all prints agreements too
	@.venv/bin/python -m prices.crosscheck $(ARGS)

requirements: $(DEV) ## pin anew what changed in a pyproject.toml or .in file; ARGS=--upgrade moves every pin
	.venv/bin/python requirements/lock.py $(ARGS)

build: $(RUN) $(SAM) ## build layers and functions for Lambda (arm64, Python 3.13), from any Python, without Docker
	@PATH="$(CURDIR)/.venv/bin:$$PATH" .venv-sam/bin/sam build

deploy: build ## put the stack on AWS; CONFIG=local: on a local stack at AWS_ENDPOINT_URL
	@.venv-sam/bin/sam deploy --config-env $(CONFIG)

clean: ## remove environments and everything built
	rm -rf .venv .venv-* .build .local .aws-sam .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(RUN):
	@$(PYTHON) requirements/environment.py .venv requirements/run.txt --editable layers/bedrock_meter
	@rm -f .venv/run-* && touch $@

$(DEV): $(RUN)
	@$(PYTHON) requirements/environment.py .venv requirements/lock.txt
	@rm -f .venv/dev-* && touch $@

$(STACK):
	@$(PYTHON) requirements/environment.py .venv-local-stack requirements/local-stack.txt
	@rm -f .venv-local-stack/made-* && touch $@

$(PEER):
	@$(PYTHON) requirements/environment.py .venv-peer requirements/peer.txt
	@rm -f .venv-peer/made-* && touch $@

$(SAM):
	@$(PYTHON) requirements/environment.py .venv-sam requirements/sam.txt
	@rm -f .venv-sam/made-* && touch $@
