# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
#
# make demo    set everything up and run a real batch cluster on this machine
# make test    set everything up and pass the tests
# make help    the rest

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

LAB ?= ensemble
TEST_LAB ?= ensemble-test
HYPERVISORS ?= 3
WITNESSES ?= 0
IMAGES ?=
ONLY ?=
KILLS ?= 20
SEED ?= 0
SEEDS ?= 10000

BIN := .venv/bin
LAB_TOOL := python3 tests/lab/ensemble_lab
DEMO := inventories/demo/resource.yml
# the colour and the paths of this run, whatever the caller has set
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
SOURCES := plugins tests roles

.PHONY: help demo demo-down test test-full chaos bench browser prove lint unit ansible-lint sanity changelog lab-test \
	lab-up lab-status lab-down venv venv-test clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 16

demo: venv lab-up ## a batch cluster of five members on three hypervisors, and a job on it
	tests/demo.sh up

demo-down: ## remove the demo, the lab and its image caches
	tests/demo.sh down

test: venv-test ## everything that must pass, from nothing
	@$(MAKE) --no-print-directory lint unit changelog ansible-lint sanity
	@$(MAKE) --no-print-directory lab-test

test-full: test ## test and the long suites: virtual machines, all faults of an election, building images
	ENSEMBLE_TEST_FULL=1 ENSEMBLE_TEST_LAB=$(TEST_LAB) python -m pytest -p no:xdist -rs tests/integration/test_qemu.py \
		tests/integration/test_etcd_agents.py tests/integration/test_lab_faults.py \
		tests/integration/test_member_faults.py tests/election
	ENSEMBLE_TEST_BUILDS=1 python -m pytest -p no:xdist -rs tests/builds

lint: venv-test ## style and types
	ruff check --quiet $(SOURCES)
	ruff format --quiet --check $(SOURCES)
	mypy plugins/module_utils

unit: venv-test ## the fast tests
	python -m pytest -n 2 tests/unit

browser: venv-test ## the page in a real Chromium, which is installed if there is none; pictures in .build/artefacts
	@command -v chromium >/dev/null || { echo "installing chromium (Debian)"; apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; }
	ENSEMBLE_TEST_BROWSER=1 python -m pytest -p no:xdist -rs tests/browser

changelog: venv-test ## every fragment is well formed
	antsibull-changelog lint

ansible-lint: venv-test ## profile production
	ansible-lint --offline --profile production

sanity: venv-test ## ansible-test sanity, without an ignore file
	tests/sanity.sh

lab-test: venv-test ## the collection against real hypervisors
	$(LAB_TOOL) up --name $(TEST_LAB) --hypervisors 3 --witnesses 2 --images vm
	ENSEMBLE_TEST_LAB=$(TEST_LAB) python -m pytest -p no:xdist -rs --durations=10 tests/integration tests/chaos \
		tests/election

chaos: venv-test ## on a lab, runs killed at random moments, KILLS=n (20), SEED=n repeats; and all faults of an election
	$(LAB_TOOL) up --name $(TEST_LAB) --hypervisors 3 --witnesses 2
	ENSEMBLE_CHAOS_REPORT=.build/artefacts/chaos.jsonl \
		ENSEMBLE_CHAOS_KILLS=$(KILLS) ENSEMBLE_CHAOS_SEED=$(SEED) ENSEMBLE_TEST_FULL=1 ENSEMBLE_TEST_LAB=$(TEST_LAB) \
		python -m pytest -p no:xdist -rs tests/chaos tests/election

bench: venv-test ## figures, one JSON line each; ONLY=a,b runs some, with a lab only for those that need it
	@ENSEMBLE_TEST_LAB=$(TEST_LAB) python tests/bench $(if $(ONLY),--only $(ONLY))

prove: venv-test ## the election under simulated faults, and that wrong protocols are caught; SEEDS=n (10000)
	@python tests/prove --seeds $(SEEDS)

lab-up: ## hypervisors on this machine; LAB=name, HYPERVISORS=n, WITNESSES=n, IMAGES=vm for virtual machines
	$(LAB_TOOL) up --name $(LAB) --hypervisors $(HYPERVISORS) --witnesses $(WITNESSES) $(addprefix --images ,$(IMAGES))

lab-status: ## what of the lab is up
	$(LAB_TOOL) status --name $(LAB) --hypervisors $(HYPERVISORS)

lab-down: ## end the lab, keep its image caches
	$(LAB_TOOL) down --name $(LAB)

venv:
	@tests/bootstrap.sh run

venv-test: venv
	@tests/bootstrap.sh test

clean: ## remove what the tools made here
	rm -rf .venv .build .cache .bootstrap.log
