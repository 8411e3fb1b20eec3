# Every target is complete in itself: it installs what it needs, once, from the locks. Needs python3, make, node, npm.

.DEFAULT_GOAL := help

HOST ?= 127.0.0.1
PORT ?= 3000
DATA ?= .local
DRY ?= 1
USER_ID ?= 1
FILE ?= events/class_updated.json
ARGS ?=
export HOST PORT DATA

# What the functions are deployed on. `make build` sets the parameters of template.yaml and the builds of the layers together.
PYTHON_VERSION := 3.13
ARCHITECTURE := arm64
export PYTHON_VERSION ARCHITECTURE

export SAM_CLI_TELEMETRY := 0

# The suite starts about a hundred Python processes, each of which would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

python := .venv/bin/python
sam := PATH="$(CURDIR)/.venv/bin:$$PATH" .tools/sam/bin/python -m samcli
venv := .venv/installed
node := node_modules/installed
node_dev := node_modules/installed-dev
# Each worker of the suite has a stack of its own, and waits for its engine and for programs: two cores have work for three.
# A stack that runs elsewhere is asked by one worker.
workers := $(if $(BASE_URL),0,$(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 3 ? cores + 1 : 4))))

##@ Use

.PHONY: run
run: $(venv) $(node) ## Serve the whole stack on http://127.0.0.1:3000 (HOST, PORT, DATA, LOG=json)
	@exec $(python) -m local run $(ARGS)

.PHONY: token
token: $(venv) ## Print a bearer token for the local stack (USER_ID)
	@$(python) -m local token --user-id "$(USER_ID)" $(ARGS)

# Of the stack that the page is for: its outputs ApiUrl and LiveUrl.
API ?= http://127.0.0.1:3000
LIVE ?= ws://127.0.0.1:3000/live

.PHONY: page
page: $(venv) ## Serve the page for a stack on http://127.0.0.1:8080 (API, LIVE, HOST, PORT)
	@HOST="$(HOST)" PORT="$(if $(filter file,$(origin PORT)),8080,$(PORT))" exec $(python) -m local page "$(API)" "$(LIVE)"

.PHONY: event
event: $(venv) ## Send an event to the running local stack (FILE, HOST, PORT)
	@$(python) -m local event "$(FILE)" $(ARGS)

##@ Test

.PHONY: test
test: $(venv) $(node_dev) ## Run the test suite (ARGS for pytest; BASE_URL and TOKEN for a running stack)
	@$(python) -m pytest -m "not e2e and not torture" -n $(workers) $(ARGS)

# What a change breaks most often, some of each folder: 50 seconds of processor time. No test of minutes, none that restarts
# the stack.
fast := $(addprefix tests/api/test_,sessions.py settings.py models.py examples.py responses.py edge.py idempotency.py \
	conditional_reads.py prompts.py) \
	$(addprefix tests/events/test_,catalogue.py titles.py triggers.py) \
	$(addprefix tests/platform/test_,rooms.py wiring.py openapi.py roles.py capacity.py) \
	tests/security/test_rates.py tests/local/test_local_template.py tests/docs/test_prefilled_requests.py

.PHONY: test-fast
test-fast: $(venv) $(node) ## Run the tests for every save, in under a minute
	@$(python) -m pytest -m "not e2e and not torture" -q -n $(workers) $(fast) $(ARGS)

.PHONY: torture
torture: $(venv) $(node_dev) ## Attack, race, break and fuzz for long; goes on where it stopped (SEED, sizes of tests/support/torture.py)
	@$(python) -m pytest -m "trust or torture" --torture -n $(workers) $(ARGS)

.PHONY: check
check: $(venv) .tools/sam/installed .tools/checkov/installed ## Check format, lint, types, template, contract and tracked files
	$(python) -m ruff format --check --quiet .
	$(python) -m ruff check --quiet .
	$(python) -m mypy --no-error-summary
	$(sam) validate --lint
	$(python) -m tools.template_rules
	$(python) -m tools.openapi --check
	$(python) -m tools.asyncapi --check
	$(python) -m tools.python_client --check
	$(python) -m tools.event_schemas --check
	$(python) -m pytest -q tests/platform/test_wiring.py tests/security/test_security.py
	$(python) -m tools.tracked_files

.PHONY: e2e
e2e: $(venv) $(node) .tools/sam/installed .tools/e2e/installed ## Drive the built functions under the Lambda runtime emulator
	@$(python) -m tests.e2e $(ARGS)

.PHONY: bench
bench: $(venv) $(node) .tools/bench/installed .tools/sam/installed .tools/e2e/installed ## Measure: writes results, pictures and their pages (ARGS="cold warm store load live pictures --long")
	@$(python) -m benchmarks $(ARGS)

.PHONY: rehearse
rehearse: $(venv) $(node_dev) .tools/sam/installed .tools/rehearse/installed ## Deploy to an emulator of AWS, drive it, test it, delete it (PORT, STEPS, ARGS for pytest)
	@PORT="$(if $(filter file,$(origin PORT)),,$(PORT))" $(python) -m tools.rehearse $(ARGS)

##@ Build

.PHONY: build
build: $(venv) .tools/sam/installed ## Build for the deploy target (PYTHON_VERSION, ARCHITECTURE, RELEASE=1)
	@$(python) -m tools.build

.PHONY: builds
builds: $(venv) .tools/sam/installed ## Build for every runtime and processor that the template allows, and check each
	@$(python) -m tools.build every

.PHONY: deploy
deploy: $(venv) .tools/sam/installed ## Build a release and deploy it (ENV=dev|prod|..., PARAMETERS="Name=value ...", ALARMS=none)
	@$(python) -m tools.deploy "$(ENV)" $(ARGS)

##@ Operate

.PHONY: redrive
redrive: $(venv) ## Show a dead-letter queue, or send its messages back (QUEUE, STACK, DRY=0, ARGS)
	@STACK="$(STACK)" DRY="$(DRY)" $(python) -m tools.redrive "$(QUEUE)" $(ARGS)

##@ Maintain

.PHONY: format
format: $(venv) ## Format the code and apply the safe fixes of the linter
	@$(python) -m ruff check --quiet --fix-only .
	@$(python) -m ruff format .

.PHONY: openapi
openapi: $(venv) ## Write openapi.json, asyncapi.json, the Python client and the schemas of the events from the code
	@$(python) -m tools.openapi
	@$(python) -m tools.asyncapi
	@$(python) -m tools.python_client
	@$(python) -m tools.event_schemas

.PHONY: imports
imports: $(venv) $(node) ## Write down what each function imports
	@$(python) -m tests.support.imports

# The layers first: their versions bind the developer's environment.
compile := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock"

.PHONY: lock
lock: $(venv) ## Lock the dependencies anew from requirements/*.in and package.json (ARGS=--upgrade)
	$(compile) $(ARGS) requirements/uv.in -o requirements/uv.txt
	$(compile) $(ARGS) requirements/dependencies.in -o layers/dependencies/requirements.txt
	$(compile) $(ARGS) requirements/cryptography.in -o layers/cryptography/requirements.txt
	$(compile) $(ARGS) requirements/dev.in -o requirements/dev.txt
	$(compile) $(ARGS) requirements/sam.in -o requirements/sam.txt
	$(compile) $(ARGS) requirements/checkov.in -o requirements/checkov.txt
	$(compile) $(ARGS) requirements/e2e.in -o requirements/e2e.txt
	$(compile) $(ARGS) requirements/bench.in -o requirements/bench.txt
	$(compile) $(ARGS) requirements/rehearse.in -o requirements/rehearse.txt
	npm install --package-lock-only --no-audit --no-fund --loglevel=error

.PHONY: client-ts
client-ts: $(venv) $(node_dev) ## Write the types of the TypeScript and browser clients from openapi.json and asyncapi.json
	@$(python) -m tools.typescript_client

.PHONY: clean
clean: ## Remove what was built and installed; the local stack's data stays
	rm -rf .venv .tools node_modules .aws-sam .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(venv): requirements/uv.txt requirements/dev.txt
	@python3 tools/install.py venv

$(node): package-lock.json
	@python3 tools/install.py node

$(node_dev): package-lock.json
	@python3 tools/install.py node-dev

.tools/%/installed: requirements/%.txt $(venv)
	@python3 tools/install.py $*
