# `make demo` and `make test` set up .venv from requirements.lock and run; a second call does not install again.
PYTHON ?= python3
PIP_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUNS ?= results/runs

.PHONY: help install demo report test lint lock lowest audit fuzz clean

help:
	@echo "make demo    train HGRN and a Transformer on the six tasks, print the table, write results/report.html"
	@echo "make test    run the tests"
	@echo "make lint    ruff and the type checker"
	@echo "make report  write results/report.html again from the demo's runs"
	@echo "make lock    write requirements.lock anew from pyproject.toml"
	@echo "make lowest  run the quick tests with the lowest versions that pyproject.toml declares"
	@echo "make audit   look the locked versions up among the known vulnerabilities"
	@echo "make fuzz    fuzz every reader of files for FUZZ_SECONDS (300) each; what is found is kept in build/fuzz/crashes"
	@echo "make clean   remove .venv and caches, never results"

install: $(INSTALLED)

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "lra-hgrn needs Python 3.11 or newer; choose one with make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

demo: $(INSTALLED)
	$(BIN)/lra sweep demo --runs $(RUNS)
	$(BIN)/lra table demo --runs $(RUNS)
	$(BIN)/lra report demo --runs $(RUNS) --output results/report.html

report: $(INSTALLED)
	$(BIN)/lra report demo --runs $(RUNS) --output results/report.html

test: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# torch pins the triton it was built with; its CPU build does not say so, hence the constraint.
lock:
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	printf 'torch==2.13.0\ntriton==3.7.1\n' > $(VENV)-lock/constraints.txt
	$(VENV)-lock/bin/pip install --constraint $(VENV)-lock/constraints.txt '.[dev]' hatchling
	{ echo "# Exact versions that make installs; written by make lock."; \
	  $(VENV)-lock/bin/pip freeze --exclude lra-hgrn \
	  | sed -e 's/+cpu$$//' -e "s/^triton==.*/&; sys_platform == 'linux'/" \
	        -e "s/^atheris==.*/&; sys_platform == 'linux' and platform_machine == 'x86_64' and python_version < '3.14'/"; } > requirements.lock
	rm -rf $(VENV)-lock

# Old libraries warn about new ones: warnings are no errors here.
lowest:
	$(PYTHON) -m venv --clear $(VENV)-lowest
	$(PYTHON) tests/lowest.py > $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/pip install --quiet --constraint $(VENV)-lowest/constraints.txt --editable '.[dev]'
	$(VENV)-lowest/bin/python -m pytest -m 'not slow' -W default

# In an environment of its own, since it is not what is looked up; --strict: a package that is not found is no good news.
audit:
	$(PYTHON) -m venv --clear $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(VENV)-audit/bin/pip-audit --requirement requirements.lock --no-deps --disable-pip --strict --progress-spinner off

FUZZ_SECONDS ?= 300
fuzz: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/run.py all -max_total_time=$(FUZZ_SECONDS)

clean:
	rm -rf $(VENV) $(VENV)-lock $(VENV)-lowest $(VENV)-audit build dist .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
