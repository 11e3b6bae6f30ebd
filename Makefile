# minivl. Needs make and Python 3.11 or newer; everything else goes into .venv.

# The first of these that runs and is new enough. Another one: make PYTHON=/path/to/python3.12
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && \
	{ echo "$$p"; break; }; done)
VENV := .venv
RUN := $(VENV)/bin/python -m
ARGS ?=
THREADS := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1}

# pyproject.toml keeps nbval out of the unit tests, which it would slow down: addopts lets it in.
NOTEBOOKS = $(wildcard notebooks/*.ipynb solutions/*.ipynb)
TEST_NOTEBOOKS = MINIVL_SIZE=test $(THREADS) $(RUN) pytest -o addopts= -o timeout=0 --nbval-lax \
	--nbval-current-env --nbval-cell-timeout=120 -n 2 --dist loadfile $(sort $(dir $(NOTEBOOKS)))

.PHONY: help setup train test notebooks lab lint clean
.DELETE_ON_ERROR:

help:
	@echo "make train      set up, train flava --size tiny, show what it learned (ARGS='--steps 200')"
	@echo "make test       set up, run all tests and all notebooks (ARGS='tests/nn -k attention': these)"
	@echo "make lab        set up, open JupyterLab on notebooks/"
	@echo "make notebooks  set up, build notebooks/ and solutions/ from the lessons (ARGS=05; ARGS=--check)"
	@echo "make lint       set up, check style"
	@echo "make setup      only set up .venv from requirements.lock"
	@echo "make clean      remove .venv and caches (runs/ stays)"

setup: $(VENV)/.installed

train: setup
	$(RUN) minivl train flava --size tiny $(ARGS)

test: setup
	$(THREADS) $(RUN) pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)
	$(if $(ARGS),,$(if $(NOTEBOOKS),$(TEST_NOTEBOOKS)))

notebooks: setup
	$(RUN) minivl.course.build $(ARGS)

lab: setup
	$(RUN) jupyterlab --notebook-dir=$(if $(wildcard notebooks),notebooks,.) $(ARGS)

lint: setup
	$(RUN) ruff check .
	$(RUN) ruff format --check .

clean:
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache .hypothesis build minivl.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is touched last: an interrupted set-up is taken up again, a finished one does nothing.
$(VENV)/.made:
	@test -n "$(PYTHON)" || { \
	  echo "minivl needs Python 3.11 or newer; the newest found is: $$(python3 -V 2>&1)" >&2; \
	  echo "  -> install it, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
	  exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "minivl needs Python 3.11 or newer; $(PYTHON) is $$("$(PYTHON)" -V 2>&1)" >&2; \
	  echo "  -> name a newer one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
	  exit 2; }
	@if uv --version >/dev/null 2>&1; then \
	  echo "making $(VENV) with uv and $$("$(PYTHON)" -V)"; \
	  uv venv --quiet --allow-existing --python "$(PYTHON)" $(VENV); \
	else \
	  echo "making $(VENV) with $$("$(PYTHON)" -V)"; \
	  "$(PYTHON)" -m venv $(VENV) || { \
	    echo "$(PYTHON) cannot make virtual environments" >&2; \
	    echo "  -> install its venv module (Debian, Ubuntu: apt install python3-venv)" >&2; \
	    rm -rf $(VENV); exit 2; }; \
	  $(RUN) pip install --quiet --disable-pip-version-check uv \
	    || echo "uv could not be installed; going on with pip, which is slower"; \
	fi
	@touch $@

# pip steps in where uv is missing or knows fewer package sources than pip was told of.
$(VENV)/.installed: $(VENV)/.made requirements.lock pyproject.toml
	@echo "installing what requirements.lock pins"
	@uv=uv; uv --version >/dev/null 2>&1 || uv=$(VENV)/bin/uv; \
	install() { \
	  "$$uv" pip install --quiet --python $(VENV)/bin/python "$$@" || \
	  { test -e $(VENV)/bin/pip && $(RUN) pip install --quiet "$$@"; }; \
	}; \
	install -r requirements.lock && install --no-deps --no-build-isolation -e . || { \
	  echo "set-up stopped (the reason is above): run \`make setup\` again" >&2; exit 2; }
	@touch $@
