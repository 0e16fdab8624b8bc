# `make` alone lists what can be done. Every path here is relative, so that a space in the path of
# the clone does no harm.

PYTHON ?= python3
BIN    := .venv/bin
STAMP  := .venv/.installed
CACHE  := _build/.jupyter_cache
PORT   ?= 8000

# A virtual environment knows its own path: after a move of the folder it has to be made again.
MOVED := $(shell [ ! -f $(STAMP) ] || [ "$$(cat $(STAMP))" = "$$(pwd -P)" ] || echo remove-venv)

# The package index has no say in what is installed, only the lock; its advice to upgrade pip is noise.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# ipykernel's debugger otherwise prints a warning for every notebook.
export PYDEVD_DISABLE_FILE_VALIDATION := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install book test serve lab lint format bench lock hooks clean distclean remove-venv

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

install: $(STAMP) ## create .venv from requirements.lock (the targets below do it when needed)

$(STAMP): pyproject.toml requirements.lock $(MOVED)
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "Python 3.11 or newer is needed: try 'make PYTHON=python3.12 ...'" >&2; exit 1; }
	@echo "Installing into .venv: once, several minutes, about 6.5 GB (most of it PyTorch)."
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || "$(PYTHON)" -m venv --clear .venv
	@$(BIN)/python -m pip install $$([ -t 1 ] || echo --quiet) -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c 'import matplotlib.pyplot' # its font cache is made here, not in a notebook
	@pwd -P > $@

remove-venv:
	rm -rf .venv

# A notebook is executed again when its code changes, and Jupyter's cache sees to that. It does not
# see what the code calls and reads, so we empty it when the package, the lock, a run or a record of a
# study changes. A new verdict only changes the tables. A folder named by a variable may begin with ~,
# which only the package and not the shell expands in it.
folder = $$($(BIN)/python -c 'import os; print(os.path.expanduser(os.environ.get("$(1)") or "$(2)"))')

book: $(STAMP) ## execute what has changed and build the book: _build/html/index.html
	@runs="$(call folder,AAE_RUNS,runs)"; studies="$(call folder,AAE_STUDIES,studies)"; \
	key=$$({ find aae_utils book/tables.py "$$runs" "$$studies" requirements.lock -type f \
	              \( -name '*.py' -o -name '*.json' -o -name requirements.lock \) -exec cksum {} + | LC_ALL=C sort; \
	          env | grep '^AAE_' | LC_ALL=C sort; } 2> /dev/null || true); \
	if [ "$$(cat $(CACHE)/key 2> /dev/null)" != "$$key" ] || [ ! -d book/_tables ]; then \
	    $(BIN)/aae report && rm -rf $(CACHE) && mkdir -p $(CACHE) && printf '%s\n' "$$key" > $(CACHE)/key; \
	elif [ -n "$$(find "$$studies" -newer $(CACHE)/key 2> /dev/null)" ]; then \
	    $(BIN)/aae report && touch $(CACHE)/key; \
	fi
	$(BIN)/jupyter-book build -W --keep-going --all .

test: $(STAMP) ## run the tests and every cell of the notebooks
	MPLBACKEND=Agg $(BIN)/python -m pytest tests
	$(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=600 notebooks

serve: book ## build the book and show it on localhost:8000 (PORT=...)
	$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

lab: $(STAMP) ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks

lint: $(STAMP) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if command -v npm > /dev/null; then \
	    { [ -d node_modules ] || npm ci --silent; } && npx biome check --error-on-warnings && npx tsc; \
	else echo "The scripts of the book were not checked: that needs Node.js."; fi

format: $(STAMP) ## rewrite the sources in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	@if [ -d node_modules ]; then npx biome check --write; fi

bench: $(STAMP) ## time the training steps beside plain matrix products
	@for script in benchmarks/*.py; do $(BIN)/python "$$script" || exit 1; done

lock: $(STAMP) ## write requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --quiet --upgrade --all-extras --universal \
	    --python-version 3.11 --fork-strategy fewest --no-annotate \
	    --custom-compile-command "make lock" --output-file requirements.lock

hooks: $(STAMP) ## run the pre-commit checks before every commit
	$(BIN)/pre-commit install

clean: ## remove what was built, keep .venv
	rm -rf _build book/_tables .pytest_cache .mypy_cache .ruff_cache
	find aae_utils benchmarks book notebooks tests -name __pycache__ -prune -exec rm -rf {} + || true

distclean: clean remove-venv ## remove what was built and .venv
	rm -rf aae_utils.egg-info
