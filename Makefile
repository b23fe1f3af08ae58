# Everything is made by Python 3.11, JDK 17 and Maven; `make doctor` says what is missing.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The first Python 3.11 on PATH (empty without one: the doctor then says how to get it).
PYTHON := $(shell for name in python3.11 python3 python; do \
	if $$name -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; \
	then command -v $$name; break; fi; done)
MAVEN := mvn --batch-mode --no-transfer-progress

VENV := .venv
BIN := $(VENV)/bin
JAVA := connectors/java
JAR := $(JAVA)/target/modelstream-flink.jar
PACKAGES := cli jobs connectors udfs
COMPILE := build/uv/bin/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header \
	--python-version 3.11

# What has been set up, and of what: each is made again only when one of its sources changes.
HAVE_VENV := $(VENV)/.complete
HAVE_BROKER := build/kafka/.complete
HAVE_IRIS := build/iris/.complete
HAVE_SERVERS := build/servers/.complete

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: doctor
doctor: ## say what this machine has, and how to get what is missing
	@$(or $(PYTHON),python3) devtools/doctor.py

.PHONY: setup
setup: $(HAVE_VENV) $(JAR) $(HAVE_BROKER) $(HAVE_IRIS) $(HAVE_SERVERS) ## make all that the project needs (about 7 minutes, once)

.PHONY: demo
demo: setup ## score a real stream in four formats, on a server and in a process, for a minute; KEEP=1 leaves it running
	@$(BIN)/python -m examples.demo $(if $(KEEP),--keep)

.PHONY: test
test: setup ## run all tests, Python's and Java's
	$(BIN)/pytest
	$(MAVEN) -f $(JAVA)/pom.xml test

.PHONY: check
check: lint test ## what CI runs: format, lint, types, import rule, all tests

.PHONY: lint
lint: $(HAVE_VENV)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: $(HAVE_VENV) ## format the code, and mend what ruff can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: bench
bench: setup ## measure throughput, latency, CPU and memory (over an hour); QUICK=1 takes minutes
	@$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

.PHONY: soak
soak: setup ## kill, update and fuzz under a stream, for over an hour; build/restarts.json has the figures
	MODELSTREAM_KILL_ROUNDS=10 MODELSTREAM_UPDATES=500 MODELSTREAM_FUZZ=20 $(BIN)/pytest -s \
		tests/cluster/test_kills.py tests/cluster/test_many_updates.py tests/fuzz

.PHONY: package
package: $(HAVE_VENV) $(JAR) ## build what `flink run` needs into dist/
	@$(BIN)/python -m devtools.package $(JAR) dist

.PHONY: lock
lock: ## choose versions anew: write requirements.lock, and the model servers' locks
	@test -x build/uv/bin/uv || { $(PYTHON) -m venv build/uv && build/uv/bin/pip install --quiet uv; }
	@$(COMPILE) --override overrides.txt --all-extras pyproject.toml -o requirements.lock
	@for wanted in devtools/model-servers/*.in; do $(COMPILE) $$wanted -o $${wanted%.in}.lock; done

.PHONY: clean
clean: ## remove all that was made, the virtual environment too
	rm -rf build dist $(JAVA)/target $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache \
		.hypothesis .import_linter_cache
	find $(PACKAGES) devtools tests examples benchmarks -name __pycache__ -type d -exec rm -rf {} +

$(HAVE_VENV): requirements.lock pyproject.toml
	@$(MAKE) --no-print-directory doctor
	@echo "Installing Python packages (about 3 minutes) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --require-hashes --no-deps -r requirements.lock
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# Maven leaves the jar as it is when nothing in it changed, hence the touch.
$(JAR): $(JAVA)/pom.xml $(shell find $(JAVA)/src/main -type f)
	@echo "Building the Java connectors (about 1 minute) ..."
	@$(MAVEN) --quiet -f $(JAVA)/pom.xml package -DskipTests
	@touch $@

$(HAVE_BROKER): devtools/broker-pom.xml
	@echo "Fetching a Kafka broker's jars ..."
	@rm -rf build/kafka
	@$(MAVEN) --quiet -f devtools/broker-pom.xml dependency:copy-dependencies \
		-DincludeScope=runtime -DoutputDirectory="$(CURDIR)/build/kafka"
	@touch $@

$(HAVE_IRIS): examples/iris/train.py | $(HAVE_VENV)
	@echo "Fitting the iris classifiers (about 1 minute) ..."
	@TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python examples/iris/train.py build/iris
	@touch $@

# Each environment is made again only if its lock has changed.
$(HAVE_SERVERS): $(wildcard devtools/model-servers/*.lock devtools/model-servers/*.py) devtools/model_environments.py | $(HAVE_VENV)
	@echo "Installing model servers (about 2 minutes) ..."
	@$(BIN)/python -m devtools.model_environments
	@touch $@
