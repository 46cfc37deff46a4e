# Two commands on a fresh machine with Python 3.11+: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
export HF_HUB_OFFLINE = 1
# What is imported is compiled then and kept: pip would compile all of it, for a minute, in one process.
export PYTHONDONTWRITEBYTECODE =
PIP = $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[demo]'

.PHONY: bench trust demo test test-browser check docs clean

$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP)
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt dev-requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --requirement dev-requirements.txt
	touch $(VENV)/.demo $@

demo: $(VENV)/.demo  ## teacher, student and baselines on real pictures and words; ends with a table and runs/demo/report.html
	$(BIN)/picturebook demo

test: $(VENV)/.dev  ## every test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-browser: $(VENV)/.dev  ## pages in a real Chromium, Debian's, which root gets from apt where it is missing
	@command -v chromium >/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends chromium; \
	  else echo "There is no chromium: install it (apt-get install chromium, as root), or put one in PATH." >&2; exit 1; fi; }
	$(BIN)/python -m pytest -m browser --numprocesses 2 --dist loadfile tests/browser

check: $(VENV)/.dev  ## lint, format, types, layers
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

docs: $(VENV)/.dev  ## the site into build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

trust: $(VENV)/.dev  ## the long forms: kills, hostile inputs, intervals, mutants; ends with docs/reliability.md and its table
	$(BIN)/python benchmarks/trust/kills.py
	$(BIN)/python benchmarks/trust/inputs.py
	$(BIN)/python benchmarks/trust/intervals.py
	$(BIN)/python benchmarks/trust/mutants.py
	$(BIN)/python benchmarks/trust/table.py

bench: $(VENV)/.dev  ## speed as ratios, on an idle machine; ends with docs/speed.md and docs/speed.json
	$(BIN)/python benchmarks/speed/measure.py $(BENCH)

clean:  ## what the commands above made, but not the runs
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
