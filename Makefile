# Every target sets up what it needs: a virtual environment in .venv, made once.
#   make demo    train on the bundled clip, score it, segment the video
#   make test    all tests
#   make install nothing else
#   make bench   speed and memory beside what a user would run instead (forty minutes, a quiet machine)
#   make check   format, lint, types, floor plan, fast tests

PYTHON ?= $(shell for p in python3.12 python3.13 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: demo test install bench check clean

demo: $(INSTALLED)
	@$(BIN)/python examples/01_demo.py

install: $(INSTALLED)

test: $(INSTALLED)
	$(BIN)/python -m pytest $(PYTEST)

bench: $(INSTALLED)
	@$(BIN)/python benchmarks/speed.py $(BENCH)

check: $(INSTALLED)
	scripts/check

clean:
	rm -rf .venv demo

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "ehtseg needs Python 3.11 or newer; install it, or say make PYTHON=/path/to/python3"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,check]'
	@touch $(INSTALLED)
