# `make` lists what there is. `make up` needs root, python3 and a Debian; `make test` needs `make up`'s
# packages (it installs them too).

PYTHON ?= python3
VENV := .venv/bin
# One dev cluster per INDEX (0 to 254): bridge bfdev<INDEX>, subnet 10.213.<INDEX>.0/24.
INDEX ?= 0
# For example PORTS="http=8081 registry=5002".
PORTS ?=
# A Mesos cluster of yours instead of the one made here, and the executor image that it can pull.
MESOS_MASTER ?=
EXECUTOR_IMAGE ?=
# More words for pytest, for example ARGS="-k cancel -x"; for chaos ARGS="--only executor".
ARGS ?=
# Of `make agent-restarts`: how many, and a seed that repeats an earlier run.
N ?= 30
SEED ?=
# Of `make chaos` (which takes a SEED too), and of `make failpoints` how often at each point.
BUILDS ?= 90
KILLS ?= 42
REPEATS ?= 1
# Decisions have no branch that their own tests leave out.
FLOOR := --cov=builder_framework.domain --cov-branch --cov-report= --cov-fail-under=100

# Tests without a cluster share nothing; two processes wait for different things.
PARALLEL := --numprocesses=3
# The tests of one file after the other on one cluster, two files at the same time: most of it is
# waiting, for the master's, the agents' and the engines' time-outs.
TWO_CLUSTERS := --numprocesses=2 --dist=loadfile --no-loadscope-reorder
# Each of the 29 kinds of faults once, always the same; `make chaos` draws others.
SHORT_CHAOS := --seed 7 --builds 30 --kills 29

DEVCLUSTER = $(VENV)/python -m devcluster
SOURCES := api bench builder_framework compat devcluster docs examples executor plugins tests
HERE := $(wildcard $(SOURCES))

.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

bootstrap: ## install the Debian packages and .venv (part of `make up`)
	@$(PYTHON) devcluster/bootstrap.py

environment: ## only make .venv; needs no root
	@$(PYTHON) devcluster/bootstrap.py --only-environment

up: bootstrap ## start Mesos, engine, registry, git server and the framework; run a first build
	@$(DEVCLUSTER) up --index "$(INDEX)" --ports "$(PORTS)" --master "$(MESOS_MASTER)" \
		--executor-image "$(EXECUTOR_IMAGE)"

down: ## end all of it; data and passwords stay
	@$(PYTHON) -m devcluster down --index "$(INDEX)"

status: ## show each part with its address, pid and health
	@$(PYTHON) -m devcluster status --index "$(INDEX)"

clean: ## end all of it and delete its data (downloads stay in the cache)
	@$(PYTHON) -m devcluster clean --index "$(INDEX)"

test: bootstrap check ## lint, types, import contracts, tests, the real cluster's too but slow ones, short chaos
	@$(if $(ARGS),$(VENV)/python -m pytest $(ARGS),$(MAKE) --no-print-directory tests)

# All that `make test` does once everything is installed and checked.
tests:
	@$(MAKE) --no-print-directory no-cluster
	@$(VENV)/python -m pytest -m "integration and not slow" $(TWO_CLUSTERS)
	@$(VENV)/python -m tests.chaos $(SHORT_CHAOS)

unit: environment ## the tests that need no cluster: some minutes
	@$(if $(ARGS),$(VENV)/python -m pytest -m "not integration" $(ARGS),$(MAKE) --no-print-directory no-cluster)

no-cluster:
	@$(VENV)/python -m pytest $(shell grep -l 'pytest.mark.domain' tests/unit/*.py) $(PARALLEL) $(FLOOR)
	@$(VENV)/python -m pytest -m "not integration and not domain" $(PARALLEL)

integration: bootstrap ## the tests on real clusters of their own
	@$(VENV)/python -m pytest -m integration $(or $(ARGS),$(TWO_CLUSTERS))

golden: bootstrap ## small repositories, one for each feature of the builder, and what came out
	@$(VENV)/python -m pytest tests/golden $(or $(ARGS),$(TWO_CLUSTERS))

registry-faults: bootstrap ## every fault at every request of a push to a real registry
	@$(VENV)/python -m tests.integration.registry_faults

agent-restarts: bootstrap ## kill agents under running builds, N=30 times; SEED=… repeats a run
	@AGENT_RESTARTS="$(N)" AGENT_RESTARTS_AWAY=60 AGENT_RESTARTS_SEED="$(SEED)" \
		$(VENV)/python -m pytest -q tests/integration/test_agent_restarts.py -k at_random $(ARGS); \
		code=$$?; tail -n 1 .devcluster-test/agent-restarts.txt; exit $$code

failpoints: bootstrap ## kill the framework at each of its fail points, REPEATS times
	@$(VENV)/python -m tests.chaos.points --repeats "$(REPEATS)" $(ARGS)

api-fuzz: environment ## schemathesis against a framework process, N examples for each call; SEED
	@BUILDER_FUZZ_EXAMPLES="$(N)" BUILDER_FUZZ_SEED="$(or $(SEED),7)" \
		$(VENV)/python -m pytest -q tests/fuzz $(ARGS)

chaos: bootstrap ## BUILDS builds while KILLS faults hit everything; SEED replays a run
	@$(VENV)/python -m tests.chaos $(if $(SEED),--seed "$(SEED)") --builds "$(BUILDS)" --kills "$(KILLS)" $(ARGS)

check: environment ## lint, format, types, import contracts, generated pages
	@$(VENV)/ruff check $(HERE)
	@$(VENV)/ruff format --check $(HERE)
	@$(VENV)/mypy $(filter-out compat,$(HERE)) compat/http-parser/http_parser
	@$(VENV)/lint-imports
	@$(VENV)/python -m pytest -q tests/unit/test_docs.py

lock: environment ## write requirements.lock from what .venv holds
	@{ sed -n 1p requirements.lock; $(VENV)/pip list --format=freeze \
		| grep -v -i -E '^(builder-framework|http-parser|pip|setuptools|wheel)=' | sort -f; } \
		> .requirements.new && mv .requirements.new requirements.lock

bench-history: environment ## lists and searches with 1,000,000 builds against 1,000: bench/out/history.json
	@$(VENV)/python -m bench.history $(ARGS)

bench-builds: bootstrap ## what a build costs here and without us: bench/out/builds.json, a chart
	@$(VENV)/python -m bench.builds $(ARGS)

screenshots: bootstrap ## pictures of the web page: docs/images/web-*.png
	@$(VENV)/python -m tests.browser.screenshots

docs: environment ## write the pages that follow from the code
	@$(VENV)/python -m docs.generate

format: environment ## rewrite the sources as `make check` wants them
	@$(VENV)/ruff check --fix $(HERE)
	@$(VENV)/ruff format $(HERE)

notifications: environment ## EVENTS messages to receivers that fail 30 % of all requests: all arrive
	@$(VENV)/python -m tests.notifications --events "$(or $(EVENTS),10000)" $(if $(SEED),--seed "$(SEED)")

outage: bootstrap ## API latencies while the master is down, beside those while it is up
	@$(VENV)/python -m tests.endurance.outage $(ARGS)

failovers: bootstrap ## end the leader of two frameworks 50 times, 15 of them by SIGSTOP
	@$(VENV)/python -m tests.endurance.failovers $(ARGS)

restart: bootstrap ## a start with 10,000 queued and 200 running builds in the store
	@$(VENV)/python -m tests.endurance.restart $(ARGS)
