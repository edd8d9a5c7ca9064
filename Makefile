# `make run` trains and exports the model; `make test` runs every check. Both first build .venv/ from requirements.lock.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test clean

run: .venv/.installed
	$(BIN)/pipeline run --config micropython.yaml

test: .venv/.installed .venv/.tested
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed; try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "error: this Python has no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }
	@echo "installing into .venv/ (once; with CUDA this is several GB)"
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/.tested: requirements-test.lock .venv/.installed
	@$(BIN)/python -m pip install --disable-pip-version-check -r $< || echo "not all to be had here: some tests are skipped"
	@touch $@

clean:
	rm -rf .venv
