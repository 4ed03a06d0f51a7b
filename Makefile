PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow lint docs docs-serve release-check clean

# The environment is made once and again when what it holds changes.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/.ready
	$(BIN)/python -m vitblocks.demo --output demo

test: $(VENV)/.ready
	$(BIN)/python -m pytest -n auto

test-slow: $(VENV)/.ready
	$(BIN)/python -m pytest -n auto -m slow

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy vitblocks tests benchmarks

# The site has an environment of its own, so that nobody who runs the tests needs it.
DOCS_VENV := .venv-docs
$(DOCS_VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(DOCS_VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

docs: $(DOCS_VENV)/.ready
	$(DOCS_VENV)/bin/sphinx-build --fail-on-warning --keep-going -q -b html docs site
	$(DOCS_VENV)/bin/python docs/extensions/links.py site

docs-serve: docs
	$(DOCS_VENV)/bin/python -m http.server --directory site 8000

# Builds and installs what is published; downloads PyTorch for every environment.
release-check: $(VENV)/.ready
	$(BIN)/python -m tests.release

clean:
	rm -rf $(VENV) $(DOCS_VENV) site docs/generated demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache
