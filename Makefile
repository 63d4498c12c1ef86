# `make` shows every target.
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
export TOKENIZERS_PARALLELISM = false

.PHONY: help setup demo test test-quick lint type imports format bench learn kills
help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## make .venv with everything that development needs
	@sh tools/setup.sh dev

demo: ## the whole journey on the embedded model: train, score, merge, serve, ask
	@./yichuidingyin.sh --demo

test: setup ## all tests (about 20 minutes on two cores)
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist loadfile

test-quick: setup ## all tests but the slow ones
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist loadfile -m "not slow"

lint: setup ## style
	$(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check .

format: setup ## put every file into its form
	$(PYTHON) -m ruff check --fix . ; $(PYTHON) -m ruff format .

type: setup ## types, strictly, tests too
	$(PYTHON) -m mypy

imports: setup ## the street runs downwards
	$(dir $(PYTHON))lint-imports

bench: setup ## start-up, the output head, and (with FLOOR=folder) speed beside a hand-written loop
	OMP_NUM_THREADS=1 $(PYTHON) bench/startup.py
	OMP_NUM_THREADS=1 $(PYTHON) bench/head.py
	$(if $(FLOOR),OMP_NUM_THREADS=1 $(PYTHON) bench/speed.py --floor $(FLOOR),@echo "bench: speed wants FLOOR=…")

kills: setup ## twenty kills, each resumed to the bit: a table
	OMP_NUM_THREADS=1 PYTHONPATH=. $(PYTHON) bench/kills.py

learn: setup ## learning on nano, seed by seed: tables
	OMP_NUM_THREADS=1 $(PYTHON) bench/learn.py --seeds 5
	OMP_NUM_THREADS=1 $(PYTHON) bench/learn_pairs.py --seeds 3
	OMP_NUM_THREADS=1 $(PYTHON) bench/learn_drawn.py --seeds 3 --controls 2
