# make setup       create .venv and install advsim (PROFILE=cpu, the default, or PROFILE=gpu)
# make quickstart  set up, train a simulator on the embedded model and the sample dialogues, and let three chatbots meet it
# make test        set up and run all tests (CPU)
# make check       set up and run ruff, the type checker and the import rules
PYTHON ?= python3
PROFILE ?= cpu
BIN := .venv/bin
STAMP := .venv/.installed-$(PROFILE)

.PHONY: setup quickstart test check clean
setup: $(STAMP)

$(STAMP): pyproject.toml $(wildcard constraints/*.txt) constraints/install.sh
	sh constraints/install.sh "$(PYTHON)" "$(PROFILE)"
	@touch $@

quickstart: setup
	$(BIN)/advsim train configs/quickstart.yaml
	$(BIN)/python examples/three_bots.py --scenarios examples/personas.yaml --num-conversations 12

# Unit tests are mostly Python and share the cores; those that start engines have them to themselves.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit -n logical --maxprocesses 4 --dist loadfile
	$(BIN)/python -m pytest tests --ignore tests/unit

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build *.egg-info
