# Every target sets up what it needs. COMFYUI_PATH uses another ComfyUI than the one in .host/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
RUN := $(BIN)/python
# Processes that share the tests, by file.
WORKERS ?= 2
SPREAD := -n $(WORKERS) --dist loadfile

.PHONY: help setup demo demo-video open test test-long bench matrix soak compatibility lint audit format clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup: ## install packages into .venv and the host into .host
	@$(PYTHON) -m demo.setup

demo: setup ## pictures in the real host, plain and cached, in minutes; PROMPT="grinning cat"
	@$(RUN) -m demo.show $(if $(findstring command,$(origin PROMPT)),"$(PROMPT)")

demo-video: setup ## every method on the demo video model, and one table; most of an hour
	@$(RUN) -m demo.run

open: setup ## ComfyUI with the demo workflow open in the browser, until Ctrl-C; ARGS="--port 8188"
	@$(RUN) -m demo.open $(ARGS)

test: setup ## run most tests, about 10 minutes on two idle cores
	@$(RUN) -m pytest -m "not long" $(SPREAD)

test-long: setup ## run all other tests: every family, trained models, soak
	@$(RUN) -m pytest -m long $(SPREAD)

bench: setup ## every method at equal speed, calibrated and not; ARGS="--beds demo_unet --prompts 32"
	@$(RUN) -m benchmarks fidelity $(ARGS)
	@$(RUN) -m benchmarks calibration $(ARGS)

compatibility: setup ## print what the host has of what the pack needs
	@$(RUN) -m demo.compatibility

matrix: setup ## every model family, method, sampler and scheduler; writes docs/compatibility.md
	@$(RUN) -m benchmarks.matrix --snapshot

soak: setup ## 1,000 randomised runs with faults, 500 situations by chance on two models
	@$(RUN) -m benchmarks.soak
	@$(RUN) -m benchmarks.chance
	@$(RUN) -m benchmarks.chance --bed demo_emoji

lint: setup ## ruff and pyright
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m pyright

audit: setup ## check without a network that packages are as they were packed, and what is pinned
	@$(RUN) -m demo.audit

format: setup ## let ruff rewrite
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

clean: ## remove packages, host and results
	rm -rf $(VENV) .host demo/out benchmarks/out
