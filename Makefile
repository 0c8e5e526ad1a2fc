# Two commands on a fresh machine: `make demo` and `make test`. Everything is installed into .venv/.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test check lint types imports bench bench-api faults lock clean
.DELETE_ON_ERROR:

$(STAMP): requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Clearlake needs Python 3.11 or later, this is " + sys.version.split()[0] + ". Set PYTHON=/path/to/python3.11.")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: $(STAMP)
	$(BIN)/clearlake demo $(ARGS)

test: $(STAMP)
	$(BIN)/pytest -n 2 $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports

check: lint types imports test

bench: $(STAMP)
	$(BIN)/python -m bench $(ARGS)

bench-api: $(STAMP)
	$(BIN)/python -m bench.api

faults: $(STAMP)
	$(BIN)/python -m tests.faults $(ARGS)

lock:
	for part in base embedded dev; do \
	  extra=$$( [ $$part = embedded ] && echo --extra embedded; [ $$part = dev ] && echo --extra embedded --extra dev; true ); \
	  $(BIN)/uv pip compile pyproject.toml $$extra --python-version 3.11 --universal --upgrade --generate-hashes \
	    --no-emit-index-url --no-annotate --no-header --quiet --output-file requirements/$$part.txt; \
	done
	$(BIN)/uv pip compile --group build --python-version 3.11 --universal --upgrade --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --quiet --output-file requirements/build.txt

clean:
	rm -rf .venv build dist
