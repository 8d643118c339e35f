# make demo   install what is missing, then: boot a VM, save it while it writes, boot the saved image
# make demo-ceph   the same on a Ceph cluster of its own, where no byte is copied
# make test   the checks, then all tests (real guests; needs root or sudo)
# make test-ceph   the tests that take longer: clusters that fail, and ways around them
# make test-cloud   the same for a cloud: several hosts, RabbitMQ, Keystone, Glance, Cinder, Nova, each part away in mid-capture
# make test-faults   faults from outside that take longer, then the whole fault matrix, into docs/reliability.md
SHELL := /bin/bash
BIN := .venv/bin
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: setup demo demo-ceph check test test-ceph test-cloud test-faults soak bench docs clean constraints

setup: ## everything that make test needs
	@tools/setup.sh --dev --clients

demo:
	@tools/setup.sh
	@$(AS_ROOT) $(BIN)/python -m lab.demo

demo-ceph:
	@tools/setup.sh --dev
	@$(AS_ROOT) $(BIN)/python -m lab.demo_ceph

check:
	@tools/setup.sh --dev
	$(BIN)/ruff check src lab bench tests
	$(BIN)/ruff format --check src lab bench tests
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	@tools/setup.sh --dev --clients
	$(AS_ROOT) $(BIN)/python -m pytest

test-ceph test-cloud:
	@tools/setup.sh --dev --clients $(if $(filter test-cloud,$@),--cloud)
	$(AS_ROOT) $(BIN)/python -m pytest -m $(@:test-%=%)

test-faults: ## every fault at every point of every way of a capture; one cell: FAULTS=POINT/FAULT/WAY
	@tools/setup.sh --dev
	$(if $(FAULTS),,$(AS_ROOT) $(BIN)/python -m pytest -m faults)
	$(AS_ROOT) $(BIN)/python -m lab.matrix $(FAULTS)

soak: ## random captures and random kills: make soak ROUNDS=200 SEED=7; one again: SOAK="--seed 7 --round 31"
	@tools/setup.sh --dev
	$(AS_ROOT) $(BIN)/python -m lab.matrix.soak $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED)) $(SOAK)

bench:
	@tools/setup.sh --dev --cloud
	$(AS_ROOT) $(BIN)/python -m bench

docs: ## the generated pages of docs/reference
	@tools/setup.sh
	$(BIN)/python -m tools.reference

constraints: ## pin what is installed now
	{ $(BIN)/pip freeze --exclude-editable && .venv-clients/bin/pip freeze && $(BIN)/pip list --format freeze | grep ^pip=; } \
	    | LC_ALL=C sort -fu > constraints.txt
	{ for each in keystone glance cinder nova placement; do .venv-$$each/bin/pip freeze || exit 1; done && $(BIN)/pip list --format freeze | grep ^pip=; } \
	    | LC_ALL=C sort -fu > constraints-cloud.txt

clean:
	$(AS_ROOT) rm -rf .cache .venv .venv-clients .venv-keystone .venv-glance .venv-cinder .venv-nova .venv-placement build bench/out .demo .mypy_cache \
	    .ruff_cache .pytest_cache .hypothesis .import_linter_cache src/*.egg-info
