# make demo    the main job end to end on synthetic streets; MODEL=FILE BAG=PATH plays your own bag through the node
# make test    all tests            make lint    linter and type checker        make format    rewrite to style
# make bench   all benchmarks       make clean   remove what these made
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint format bench bench-quick clean
.DELETE_ON_ERROR:

demo: $(READY)
	$(BIN)/python -m srkd_train.demo $(if $(MODEL),--model $(MODEL)) $(if $(BAG),--bag $(BAG)) $(DEMO_ARGS)

test: $(READY)
	PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python -m benchmarks --all

bench-quick: $(READY)
	$(BIN)/python -m benchmarks --quick

# torch first and by version: other packages then leave it alone.
$(READY): setup.py $(wildcard srkd_ros/native/*.cpp srkd_ros/native/*.h)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q "$(TORCH)"
	$(BIN)/python -m pip install -q -e ".[train,ros,onnx,test]"
	@touch $@

clean:
	rm -rf $(VENV) build install log dist results runs *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
