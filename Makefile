.DEFAULT_GOAL := help
.PHONY: help setup serve demo test test-all chaos check fix generate nncodec lock audit clean

help: ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST)

setup: ## Make .venv with the nern command in it
	@scripts/setup

serve: setup ## Run the service on http://127.0.0.1:8000, its data in nern-data/
	.venv/bin/nern serve

demo: setup ## Encode the example through the running service, in about a minute
	@.venv/bin/python scripts/demo.py

test: setup ## Run the tests that every change must pass; ARGS="-k word" chooses
	scripts/test $(ARGS)

test-all: setup nncodec ## Run all tests, also the slow ones; ARGS="-k word" chooses
	scripts/test --all $(ARGS)

chaos: setup ## Break everything around the service, in three rounds; ARGS="--only word" chooses
	.venv/bin/python -m bench.chaos $(ARGS)

check: setup ## Lint, formatting, types, import contracts
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

fix: setup ## Fix lint findings and formatting automatically
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

generate: setup ## Renew files derived from the code: docs/openapi.json and the lists of options
	.venv/bin/python -m scripts.write_openapi
	.venv/bin/python -m scripts.write_options

nncodec: setup ## Make .nncodec, an environment with NNCodec for reports, benchmarks and tests
	scripts/nncodec

lock: ## Pin what the image installs, with hashes, in requirements.lock; needs the network
	scripts/lock

audit: ## Look up known vulnerabilities of what requirements.lock pins; needs the network
	scripts/audit

clean: ## Remove everything that these targets make
	rm -rf .venv .nncodec .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo-output build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
