# MCP, the Metacircular Control Plane. `make help` lists the targets.

PYTHON ?= /usr/bin/python3
VENV := .venv
RUN := env -u PYTHONDONTWRITEBYTECODE $(VENV)/bin/python
TIERS := $(RUN) -m tools.tiers

.DEFAULT_GOAL := help
.PHONY: help demo fleet fleet-down test test-fast test-component test-podman test-built test-fleet torture coverage build release lint format proto lock bench setup clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

demo: host-demo $(VENV)/ready ## build, start an agent, deploy a small service with it, show it, and clean up
	$(RUN) build.py --arch own
	$(PYTHON) -I tools/demo.py

fleet: host-test ## boot three real nodes, Debian 12 and 13, and leave them up to play with (needs root)
	$(PYTHON) -I tools/nodes.py up

fleet-down: ## end the nodes that `make fleet` left up in this clone, or with FLEET=NUMBER those of one fleet
	$(PYTHON) -I tools/nodes.py down $(FLEET)

test: setup ## set this machine up, then run every test: all tiers below, side by side
	$(TIERS)

test-fast: $(VENV)/ready ## for every change, in seconds: unit tests, rules of the house, types, linters
	$(TIERS) fast

test-component: $(VENV)/ready ## in minutes, without root: real agents and the CLI, on stand-ins for podman and MCIAS
	$(TIERS) component

test-podman: setup ## agents on real rootless podman; the stand-in for podman compared with it
	$(TIERS) podman

test-built: setup ## the zipapps: reproducible, on Debian 12 and 13 and on arm64, a newcomer's way; the NixOS module
	$(TIERS) built

test-fleet: setup ## real nodes: provisioning, upgrades, reboots, journald (needs root)
	$(TIERS) fleet

torture: setup ## attack real agents for a quarter of an hour, and print the figures of docs/reliability.md (needs root)
	$(TIERS) --full torture

coverage: $(VENV)/ready ## which lines of agent/ and mcp/ the fast and the component tests run: printed, not enforced
	$(TIERS) --coverage fast component

build: host-build $(VENV)/ready ## build the zipapps of both architectures into dist/
	$(RUN) build.py

release: host-build $(VENV)/ready ## build the files of a release into dist/release/: zipapps, SBOM, SHA256SUMS; KEY=FILE signs them
	rm -rf dist/release
	$(RUN) -m tools.release $(if $(KEY),--key $(KEY))

lint: $(VENV)/ready ## ruff, mypy --strict, and who may import what
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache --no-logo

format: $(VENV)/ready ## format the code and mend what ruff can mend
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

proto: $(VENV)/ready ## generate the stubs of proto/mcp/v1/mcp.proto again
	$(RUN) -m tools.protogen

lock: $(VENV)/ready ## renew the locks in requirements/: the hash of every wheel, for both architectures and four Pythons
	$(RUN) build.py lock

bench: host-demo $(VENV)/ready ## measure the figures of docs/performance.md
	$(RUN) build.py --arch own
	$(RUN) -m bench.run
	$(RUN) -m bench.deploy
	$(RUN) -m bench.scale
	$(RUN) -m bench.files
	$(RUN) -m bench.logs
	$(RUN) -m bench.fleet
	$(RUN) -m bench.journald

setup: host-test $(VENV)/ready ## install what the tests need (packages as root through apt; else it says which command to run)

clean: ## remove what was built, and the virtual environment
	rm -rf dist build $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: host-build host-demo host-test
host-build host-demo host-test: host-%:
	$(PYTHON) -I tools/host.py ensure --for $*

# The virtual environment, made again when the locked requirements change: with the hashes of the lock only.
$(VENV)/ready: requirements/dev.lock | host-build
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install -qq --disable-pip-version-check --require-hashes --only-binary=:all: -r requirements/dev.lock
	touch $@
