# Few targets; the work is in Python. `make` alone lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# What installing and removing take alike.
ACCOUNT = $(if $(BUCKET),--bucket $(BUCKET)) $(if $(STUDIO_ROLE),--studio-role $(STUDIO_ROLE)) $(if $(DRY_RUN),--dry-run)

.PHONY: help rehearse rehearse-down test lint audit assemble definitions package install upgrade uninstall redrive publish benchmark quality prove clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

rehearse: .venv/ready ## Play both templates from project to prediction (TASK= DATA= SETTINGS= PARAMETERS= INTERRUPT=1 KEEP=1 PORT=)
	@$(BIN)/python -m rehearsal play

rehearse-down: .venv/ready ## End what `make rehearse KEEP=1` left up
	@$(BIN)/python -m rehearsal down

test: .venv/ready ## Run every test
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder --durations 10

lint: .venv/ready ## Check code, templates, policies and files, landed repositories too
	@$(BIN)/python -m build lint

audit: .venv/ready ## Report licences and known vulnerabilities of everything required
	@$(BIN)/python -m build audit

assemble: .venv/ready ## Lay a landed repository out: VARIANT=cv|nlp INTO=folder
	@$(BIN)/python -m build assemble $(or $(VARIANT),$(error Say which: make assemble VARIANT=cv INTO=folder)) $(or $(INTO),$(error Say where: make assemble VARIANT=cv INTO=folder))

definitions: .venv/ready ## Regenerate pipeline_json/ from the seeds
	@$(BIN)/python -m build definitions

package: .venv/ready ## Build dist/: seeds, functions and stamped templates (BUCKET=)
	@$(BIN)/python -m build package $(if $(BUCKET),--bucket $(BUCKET))

install: .venv/ready ## Install the bundle in your account, or bring it up to date (DRY_RUN=1 BUCKET= STUDIO_ROLE= S3_ROUTE=1)
	@$(BIN)/python -m build install $(ACCOUNT) $(if $(S3_ROUTE),--s3-route) $(if $(INSTANCE_TYPE),--instance-type $(INSTANCE_TYPE))

upgrade: .venv/ready ## The same, and update running projects (PROJECTS=all, or names with commas; PARAMETERS="Name=value")
	@$(BIN)/python -m build install $(ACCOUNT) $(if $(S3_ROUTE),--s3-route) --projects "$(PROJECTS)" --parameters "$(PARAMETERS)"

uninstall: .venv/ready ## Take the bundle away (DRY_RUN=1; FORCE=1 deletes its projects, too)
	@$(BIN)/python -m build uninstall $(ACCOUNT) $(if $(FORCE),--force)

redrive: .venv/ready ## Deliver again what a project's functions could not do (PROJECT=)
	@$(BIN)/python -m build redrive $(or $(PROJECT),$(error Say which: make redrive PROJECT=name))

publish: .venv/ready ## Show what an installation would upload (BUCKET=)
	@$(BIN)/python -m build publish --dry-run $(if $(BUCKET),--bucket $(BUCKET))

benchmark: .venv/ready ## Measure how fast everything is, in 20 minutes (ONLY=, one of benchmarks/)
	@$(BIN)/python -m benchmarks $(ONLY)

quality: .venv/ready ## Train on real data with the default settings and judge it (ONLY=, one of benchmarks/quality.py)
	@$(BIN)/python benchmarks/quality.py $(ONLY)

prove: .venv/ready ## Run the long proofs whole, and write docs/proofs.md (ONLY=, one of benchmarks/prove.py)
	@$(BIN)/python -m benchmarks.prove $(ONLY)

clean: ## Remove environments and what was built
	rm -rf .venv dist

.venv/ready: requirements/setup.sh requirements/uv.txt requirements/development.txt requirements/emulator.txt requirements/tracking.txt requirements/lint.txt requirements/guard.txt seed_code/common/requirements.txt
	@PYTHON=$(PYTHON) sh requirements/setup.sh
