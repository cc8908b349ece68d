# Two commands do everything: `make demo` and `make test`. Each makes its own environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := $(shell sed -n 's/.*"\(torch==[^"]*\)".*/\1/p' pyproject.toml)
PIP := $(BIN)/python -m pip --disable-pip-version-check
# llama.cpp without what we do not use; AVX2 instead of this very processor, so that wheels travel.
export CMAKE_ARGS ?= -DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF -DGGML_OPENMP=OFF -DLLAMA_OPENSSL=OFF
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell nproc)

.PHONY: demo up test lint format lock clean

demo: $(VENV)/.gpu
	$(BIN)/python manage.py demo $(ARGS)

up: $(VENV)/.gpu
	$(BIN)/python manage.py up $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/python manage.py makemigrations --check --dry-run

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Torch first and by itself: where a CPU build is offered, nothing later may pull in CUDA.
$(VENV)/.torch: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(TORCH)
	touch $@

$(VENV)/.gpu: docker/gpu.lock | $(VENV)/.torch
	@echo "Installing; llama-cpp-python is compiled from source, which takes some minutes."
	$(PIP) install --quiet --no-deps --require-hashes -r docker/gpu.lock
	$(BIN)/python -m distill.gpu.toolchain
	touch $@

$(VENV)/.dev: docker/dev.lock | $(VENV)/.gpu
	$(PIP) install --quiet --no-deps --require-hashes -r docker/dev.lock
	touch $@

lock: $(VENV)/.dev
	$(BIN)/python docker/lock.py

clean:
	rm -rf $(VENV) var
