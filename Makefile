# Two commands do everything: `make run` and `make test`. Both build .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEERTRACK := $(BIN)/deertrack
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# make run PHOTOS=~/cards DETECTIONS=md.json RUN_OPTIONS='--timezone America/Chicago'   (without PHOTOS: a drawn sample herd, in a catalogue of its own)
PHOTOS ?=
DETECTIONS ?=
HERD := sample-herd

.PHONY: run test lint bench lock clean

run: $(VENV)/user.done
ifeq ($(strip $(PHOTOS)),)
	@echo "No PHOTOS given: drawing a sample herd (not real deer) and working on that."
	@test -f $(HERD)/truth.csv || $(DEERTRACK) sample $(HERD)
	@$(DEERTRACK) run $(HERD)/cards --detections $(HERD)/detections.json \
		--calibration $(HERD)/calibration.json --home $(HERD)/catalogue
	@$(DEERTRACK) report $(HERD)/report.html --home $(HERD)/catalogue
	@echo "To say who is who: $(DEERTRACK) serve --home $(HERD)/catalogue"
	@echo "Your own photos: make run PHOTOS=~/cards DETECTIONS=~/cards/md.json"
else
	@$(DEERTRACK) run "$(PHOTOS)" $(if $(DETECTIONS),--detections "$(DETECTIONS)") $(RUN_OPTIONS)
	@$(DEERTRACK) report
endif

test: lint
	$(BIN)/pytest -n 2

lint: $(VENV)/dev.done
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/dev.done
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

# After a change of dependencies in pyproject.toml: the same versions and hashes for everybody.
lock: $(VENV)/dev.done
	$(PIP) install uv
	$(BIN)/uv pip compile pyproject.toml --group build --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --quiet -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --quiet -c requirements.lock -o requirements-dev.lock

clean:
	-@test -x $(DEERTRACK) && test -d $(HERD)/catalogue && $(DEERTRACK) db stop --home $(HERD)/catalogue
	rm -rf $(VENV) $(HERD) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "deertrack needs Python 3.11 or newer; say which: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/user.done: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing deertrack into $(VENV) (once, about a minute) …"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.done: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing deertrack and its tools into $(VENV) (once, about a minute) …"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/user.done
