# Linewarden. `make` prints this list; every target sets up what it needs on its own, once.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON := .venv/bin/python
STAMPS := build/stamps
PACKAGES := daemon drivers engines fleet provisioning signing
SOURCES := $(PACKAGES) tests demo

UNITS ?= 300
RATE ?= 600
ARGS ?=

.PHONY: help setup run test check bench families anomaly gpu-check soak fuzz storm campaign campaign-processes mutants exhaustive powercuts attacks plc compliance train-demo train-families clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup ## watch 300 vials being inspected at 600 a minute (UNITS=, RATE=, ARGS="--fault kill-vision@100")
	@.venv/bin/linewarden sim --units $(UNITS) --rate $(RATE) $(ARGS)

test: setup ## run the whole test suite (ARGS="-k name" narrows it)
	@$(PYTHON) -m pytest $(ARGS)

check: .venv/stamp ## lint, format, types, import contracts, sizes
	@$(PYTHON) -m ruff check $(wildcard $(SOURCES))
	@$(PYTHON) -m ruff format --check $(wildcard $(SOURCES))
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports --no-timings 2>/dev/null || .venv/bin/lint-imports
	@$(PYTHON) -m pytest -q tests/unit/test_sizes.py

bench: setup ## measure latency, rates, ledger and bare spine (10 min); tables here, JSON in build/bench.json
	@$(PYTHON) tests/bench/bench_sim.py --json build/bench.json $(ARGS)
	@PYTHONPATH=. $(PYTHON) tests/bench/bench_engines.py
	@PYTHONPATH=. $(PYTHON) tests/bench/bench_ledger.py
	@PYTHONPATH=. $(PYTHON) tests/bench/bench_loop.py
	@$(PYTHON) tests/bench/bench_spine.py --units 300
	@PYTHONPATH=. $(PYTHON) tests/bench/bench_recorder.py
	@PYTHONPATH=.:tests/unit $(PYTHON) tests/bench/bench_trail.py
	@PYTHONPATH=. $(PYTHON) tests/bench/bench_trace.py
	@PYTHONPATH=. $(PYTHON) tests/bench/bench_replay.py
	@PYTHONPATH=. $(PYTHON) tests/bench/bench_verify.py
	@PYTHONPATH=. $(PYTHON) tests/bench/bench_tuf.py
	@PYTHONPATH=.:tests/contract:tests/unit $(PYTHON) tests/bench/bench_fleet.py

families: setup ## every model family: size, score, latency here, and whether NVIDIA's builder takes it; JSON in build/families.json
	@$(PYTHON) -m scripts.families $(ARGS)

anomaly: setup ## render good vials, fit an anomaly bundle to them, sign it with the development keys and watch it inspect (UNITS=200)
	@UNITS=$(if $(filter file,$(origin UNITS)),200,$(UNITS)) scripts/anomaly.sh $(ARGS)

gpu-check: setup ## on a GPU: conformance, distance from ONNX Runtime and latency of every back end; keep the output in docs/measurements
	@$(PYTHON) -m pytest -q tests/contract/test_engine_contract.py tests/contract/test_cuda_bodies.py
	@PYTHONPATH=. $(PYTHON) tests/bench/gpu_check.py $(ARGS)

soak: setup ## inspect for half an hour and see that nothing grows (ARGS="--minutes 5"); JSON in build/soak.json
	@$(PYTHON) tests/bench/soak.py $(ARGS)

storm: setup ## 2,500 vials in real processes, every fault at random moments (ARGS="--seed 7"); JSON in build/storm.json
	@$(PYTHON) tests/scenario/storm.py $(ARGS)

fuzz: setup ## fuzz every parser that faces a wire, a file or a chunk (ARGS="--seconds 60 --target NAME")
	@$(PYTHON) -m pip install -qq --disable-pip-version-check -e '.[fuzz]'
	@PYTHONPATH=. $(PYTHON) tests/fuzz/fuzz.py $(ARGS)

campaign: setup ## a million units in virtual time under every fault at every step (ARGS="--units 10000 --seed 7"); resumable
	@$(PYTHON) tests/proof/campaign_main.py $(ARGS)

campaign-processes: setup ## play every fault alone in real processes and compare with what is expected
	@$(PYTHON) tests/scenario/campaign.py $(ARGS)

mutants: setup ## plant one mistake after another into the product's source and see each one found (3 min)
	@$(PYTHON) tests/proof/mutants_main.py $(ARGS)

exhaustive: setup ## every interleaving of a small line, deeper than in the tests (ARGS="--depth 9 --faults 3")
	@$(PYTHON) tests/proof/exhaustive_main.py $(ARGS)

powercuts: setup ## cut the power before any call, leave the disk in any state (ARGS="--cuts 200 --seed 7"); JSON in build/powercuts.json
	@PYTHONPATH=. $(PYTHON) tests/proof/power_main.py $(ARGS)

attacks: setup ## play every known attack on bundles, recipes and updates; the table says what refused it (ARGS="--json FILE")
	@PYTHONPATH=. $(PYTHON) tests/proof/attacks_main.py $(ARGS)

plc: .venv/stamp ## write what drivers/plc and the gate's vectors derive from the map and drivers/gate
	@$(PYTHON) -m scripts.plc_export
	@$(PYTHON) -m tests.vectors.gate_vectors

compliance: setup ## run the tests that are tagged with a clause and write docs/compliance/part11.md
	@$(PYTHON) -m scripts.compliance $(ARGS)

train-demo: setup ## train the demo models again from rendered vials (torch, in its own .venv-train)
	@scripts/train.sh demo.train $(ARGS)

train-families: setup ## train one model of every family again from rendered vials (torch, in .venv-train; an hour)
	@scripts/train.sh demo.families.train $(ARGS)

setup: .venv/stamp $(STAMPS)/simline $(STAMPS)/board var/demo/stamp ## everything the other targets need; nothing when it is done

$(STAMPS)/system: scripts/setup.sh
	@mkdir -p $(STAMPS)
	@scripts/setup.sh system
	@touch $@

.venv/stamp: setup.cfg pyproject.toml scripts/setup.sh | $(STAMPS)/system
	@scripts/setup.sh venv
	@touch $@

$(STAMPS)/simline: $(wildcard drivers/sim/simline/*.c drivers/sim/simline/*.h drivers/sim/simline/*.py) | $(STAMPS)/system
	@$(MAKE) -s -C drivers/sim/simline
	@touch $@

$(STAMPS)/board: drivers/board/board_core.c drivers/board/board_core.h drivers/board/Makefile | $(STAMPS)/system
	@$(MAKE) -s -C drivers/board
	@touch $@

var/demo/stamp: $(wildcard demo/*.onnx demo/*.py demo/spec.toml demo/score.json fleet/*.py) .venv/stamp
	@$(PYTHON) -m demo.build_bundle var/demo
	@touch $@

clean: ## remove everything that was built or run here (.venv, build, var)
	@rm -rf .venv .venv-train .venv-peers build var drivers/sim/simline/build drivers/board/build *.egg-info
