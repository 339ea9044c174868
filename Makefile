# make setup       create .venv and install advsim (PROFILE=cpu, the default, or PROFILE=gpu)
# make quickstart  set up, train a simulator on the embedded model and the sample dialogues, and let three chatbots meet it
# make test        set up and run all tests (CPU)
# make chaos       set up and kill processes of real training runs, fifty times (an hour), and a host of three
# make bench       set up and measure training, serving, rollout and delivery (half an hour on two cores)
# make check       set up and run ruff, the type checker and the import rules
PYTHON ?= python3
PROFILE ?= cpu
BIN := .venv/bin
STAMP := .venv/.installed-$(PROFILE)

.PHONY: setup quickstart test chaos bench check clean
setup: $(STAMP)

$(STAMP): pyproject.toml $(wildcard constraints/*.txt) constraints/install.sh
	sh constraints/install.sh "$(PYTHON)" "$(PROFILE)"
	@touch $@

quickstart: setup
	$(BIN)/advsim train configs/quickstart.yaml
	$(BIN)/python examples/three_bots.py --scenarios examples/personas.yaml --num-conversations 12

# Unit tests are mostly Python and share the cores; of those that start engines, which mostly wait for imports, two run
# side by side.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests --ignore tests/unit -n 2 --dist loadfile

chaos: setup
	ADVSIM_CHAOS_KILLS=50 ADVSIM_CHAOS_HOSTS=1 $(BIN)/python -m pytest tests/chaos -s

bench: setup
	$(BIN)/advsim train configs/quickstart.yaml
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/rollout.py runs/quickstart --dialogues 32 --repetitions 2 -o rollout.max_user_turns=6
	$(BIN)/python benchmarks/push.py runs/quickstart

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build *.egg-info
