# Everything a person does with Netloom's source. `make demo` first; then the README.
# Targets need root (network namespaces), and install what is missing: Debian packages and .venv.

BIN := .venv/bin

.PHONY: help demo down test bench install check format requirements oracle article-clients article soak failover \
	pictures

help:
	@echo "make demo    start a cloud of three hosts on this machine and carry out both walkthroughs"
	@echo "make down    remove it, whatever state it is in"
	@echo "make test    everything: ruff, pyright, import-linter, pytest with real Open vSwitch"
	@echo "make check   the quick part of it, without root"
	@echo "make oracle  set up real Neutron 29.0.0 for the differential test"
	@echo "make article-clients  set up the clients of the article's time for tests/lab/test_article_clients.py"
	@echo "make article  type the article's commands: docs/article.md, and both set-ups as in 2016"
	@echo "make soak    ten minutes of random requests and broken hosts (SECONDS=600 SEED=any text)"
	@echo "make pictures  draw the pictures of docs/architectures.md anew (NAMES=\"vlan ha\": some)"
	@echo "make failover  ten failovers of an HA router, then a hundred routers together"
	@echo "make bench   measure the API and a lab"

install:
	@tools/install-debian
	@tools/install-python

demo: install
	@$(BIN)/netloom demo

# Must work without a single package installed by us: nothing to remove then.
down:
	@if [ -x $(BIN)/netloom ]; then $(BIN)/netloom lab down --all; else echo "No lab: .venv is not there."; fi

# Hosts under random requests and damage, compared exactly with their plans and emptied in the end.
SECONDS ?= 600
soak: install
	@$(BIN)/python -m tests.soak --seconds $(SECONDS) $(if $(SEED),--seed "$(SEED)")

# The pictures of docs/architectures.md, from a lab.
pictures: install
	@$(BIN)/python -m tests.pictures $(NAMES)

bench: install
	@$(BIN)/netloom bench

failover: install
	@$(BIN)/netloom bench failover --times 10 --routers 100

# Tests that need root make switches and hosts of their own: two files at a time, after all others.
test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/pytest -n 2 -rfEs -m "not root"
	$(BIN)/pytest -n 2 --dist loadfile -rfEs -m root

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/pytest -n 2 -m "not root and not slow"

# Real Neutron, which tests/differential compares with (a few hundred MB, in a Python of its own).
oracle:
	@test -x .state/oracle-venv/bin/python || python3.11 -m venv .state/oracle-venv
	@.state/oracle-venv/bin/pip install -q neutron==29.0.0

# neutron, nova and glance as people typed them in 2016, each in a Python of its own.
article-clients:
	@tools/article-clients

# Both set-ups with the clients of that time, and the whole page with today's.
article: install article-clients
	$(BIN)/pytest -s -rfEs tests/lab/test_article_clients.py tests/lab/test_article_page.py

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

requirements:
	@tools/requirements
