# What a person types in a clone. Everything is installed only when it is missing.

.PHONY: up down test test-fast specs lint dist clean help

SORAIRO := .venv/bin/sorairo
# Half of the tests' time is waiting for clusters: two files at a time keep two cores at work.
WORKERS ?= 2

help:
	@echo "make up         install what is missing, start sorairo, make a cluster with a sample app"
	@echo "make down       remove every cluster and stop"
	@echo "make test       everything (engine, root and az where they are there); WORKERS=0: one file after the other"
	@echo "make test-fast  what needs no engine, no root and no az"
	@echo "make specs      Kubernetes' own specs of Services and network policies, on a real cluster (root)"
	@echo "make lint       ruff, mypy, the rooms and who may enter them"
	@echo "make dist       wheels of sorairo and of every Kubernetes minor, in dist/"

up:
	@tools/install.sh packages venv engine
	@$(SORAIRO) up
	@$(SORAIRO) demo

down:
	@$(SORAIRO) down

test:
	@SORAIRO_MINORS=all SORAIRO_WITH=cloud-provider tools/install.sh packages dev engine az
	@$(MAKE) --no-print-directory lint
	.venv/bin/python -m pytest -n $(WORKERS) --dist loadfile

test-fast:
	@tools/install.sh dev
	.venv/bin/python -m pytest -m "not root and not engine and not az and not slow"

specs:
	@SORAIRO_MINORS=all tools/install.sh packages dev engine
	.venv/bin/python bench/specs.py

lint:
	@tools/install.sh dev
	.venv/bin/ruff check src tests tools
	.venv/bin/ruff format --check src tests tools
	.venv/bin/mypy
	@if [ -f .importlinter ] || grep -q '^\[tool.importlinter' pyproject.toml; then .venv/bin/lint-imports; fi

dist:
	@tools/install.sh packages venv
	.venv/bin/python engine/build.py --all --with cloud-provider --wheels dist
	.venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls -lh dist

clean:
	rm -rf dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
