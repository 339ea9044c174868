"""Plan of a sweep: simulators, chatbots, scenarios and prefixes, and the items of work that they make.

Nobody is on both sides: people who are simulated are not among those whose prefixes are replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from advsim.chatbots.load import check_called_chatbots, check_named_chatbots, load_chatbots
from advsim.config import ChatbotConfig, Config, CorpusConfig, SweepConfig, parse_config
from advsim.config.paths import under
from advsim.corpus.load import Corpus, load_corpus
from advsim.corpus.prefixes import Prefix
from advsim.errors import ConfigError
from advsim.rates.sequential import MIN_CLUSTERS
from advsim.records import Dialogue, Split
from advsim.run_folder.folder import RunDir
from advsim.run_folder.reader import Run, load_run
from advsim.sweep.planning.items import Cell, Design, Item, item_of
from advsim.sweep.planning.scenarios import Start, held_out_order, held_out_starts, prefixes_of_others, read_scenarios
from advsim.sweep.planning.simulators import Simulator, choose_simulators

CorpusOf = Callable[[Run, CorpusConfig], Corpus]
"""Finds the dialogues of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """What a sweep is about, and where its results go.

    Attributes:
        settings: as given.
        run: the sweep's own; None where it has none.
        config: of the engines.
        corpus: of the run.
        chatbots: in order.
        simulators: in order, mixtures last.
        starts: scenarios of the simulated conversations.
        held_out: dialogues that training did not see.
        prefixes: of these, which chatbots answer; of people who are not simulated.
        output: where everything is kept.
    """

    settings: SweepConfig
    run: Run | None
    config: Config
    corpus: Corpus | None
    chatbots: tuple[ChatbotConfig, ...]
    simulators: tuple[Simulator, ...]
    starts: tuple[Start, ...]
    held_out: tuple[Dialogue, ...]
    prefixes: tuple[Prefix, ...]
    output: RunDir

    @property
    def seed(self) -> int:
        """Of everything that is drawn."""
        return self.settings.seed

    @property
    def names(self) -> list[str]:
        """Names of the chatbots."""
        return [chatbot.name for chatbot in self.chatbots]

    @property
    def designs(self) -> tuple[Design, ...]:
        """Designs, each once."""
        return tuple(Design(name) for name in self.settings.chosen_designs)

    @property
    def speaking(self) -> list[Simulator]:
        """Simulators that conversations are held with."""
        return [simulator for simulator in self.simulators if simulator.speaks]

    def simulator(self, name: str) -> Simulator:
        """The simulator of that name."""
        return next(simulator for simulator in self.simulators if simulator.name == name)

    def cells(self, design: Design) -> list[Cell]:
        """Cells of a design, a simulator after the other."""
        speakers = [""] if design is Design.REPLAY else [simulator.name for simulator in self.speaking]
        return [
            Cell(design=design, simulator=speaker, chatbot=chatbot) for speaker in speakers for chatbot in self.names
        ]

    def num_items(self, design: Design) -> int:
        """Items of each cell of a design."""
        return self.settings.num_conversations if design is Design.FREE else len(self.prefixes)

    def num_shards(self, design: Design) -> int:
        """Shards of each cell of a design."""
        return -(-self.num_items(design) // self.settings.shard_size)

    def shard(self, cell: Cell, number: int) -> list[Item]:
        """Items of a shard."""
        size = self.settings.shard_size
        last = min((number + 1) * size, self.num_items(cell.design))
        return [self.item(cell, position) for position in range(number * size, last)]

    def item(self, cell: Cell, position: int) -> Item:
        """The item at a position of its cell."""
        if cell.design is Design.FREE:
            repeat, index = divmod(position, len(self.starts))
            what = self.starts[index].scenario.id
        else:
            repeat, index = 0, position
            what = prefix_name(self.prefixes[index])
        sha256 = self.simulator(cell.simulator).sha256 if cell.simulator else ""
        return item_of(cell, index=index, repeat=repeat, what=what, simulator_sha256=sha256, seed=self.seed)

    def shards(self, designs: tuple[Design, ...] | None = None) -> Iterator[tuple[Cell, int]]:
        """All shards: a design after the other, in it a simulator, then the first shards of all chatbots, and so on.

        So that whoever stops early has all chatbots on the same scenarios.
        """
        for design in designs or self.designs:
            for speaker in dict.fromkeys(cell.simulator for cell in self.cells(design)):
                for number in range(self.num_shards(design)):
                    for cell in self.cells(design):
                        if cell.simulator == speaker:
                            yield cell, number


def prefix_name(prefix: Prefix) -> str:
    """A prefix as text."""
    return f"{prefix[0]}@{prefix[1]}"


def plan(settings: SweepConfig, *, corpus_of: CorpusOf | None = None) -> SweepPlan:
    """Plan the sweep that the settings describe; writes nothing.

    Args:
        settings: of the sweep.
        corpus_of: finds the dialogues of a run; None: where its configuration says, and nowhere else.

    Raises:
        ConfigError: the corpus is another one than that of the run, a name is asked for that is not there, or a file
            cannot be read.
    """
    run = None if settings.run is None else load_run(settings.run)
    chatbots = tuple(load_chatbots(*settings.chatbots))
    check_called_chatbots(chatbots)
    config = _config(settings, run)
    check_named_chatbots(chatbots, config)
    corpus = None if run is None else _corpus(settings, run, config, corpus_of)
    held_out = () if corpus is None else tuple(d for d in corpus.dialogues if d.split is not Split.TRAIN)
    order = held_out_order(held_out, settings.seed)
    starts = held_out_starts(order) if settings.scenarios is None else read_scenarios(settings.scenarios)
    prefixes = prefixes_of_others(order, starts, settings)
    _check_people(settings, starts, prefixes, len(order))
    simulators = choose_simulators(run, settings.simulators, config)
    where = settings.output or under(str(settings.run), "sweep")
    planned = SweepPlan(
        settings=settings,
        run=run,
        config=config,
        corpus=corpus,
        chatbots=chatbots,
        simulators=tuple(sorted(simulators, key=lambda simulator: not simulator.speaks)),
        starts=starts[: settings.num_conversations],
        held_out=held_out,
        prefixes=prefixes,
        output=RunDir(where),
    )
    _check_names(planned)
    _check_caps(planned)
    _check_early(planned)
    return planned


def _config(settings: SweepConfig, run: Run | None) -> Config:
    values = {} if run is None else run.config
    if values.get("chatbot", {}).get("kind", "model") != "model":
        values = {**values, "chatbot": {}}  # it has no part here, and the engines of a model may have
    # No rounds here: what they alone need of a configuration does not bind a sweep, which may have single turns.
    overrides = [
        f"rollout.max_user_turns={settings.max_user_turns}",
        "stop.max_rounds=0",
        *settings.run_overrides,
    ]
    where = "run_overrides" if run is None else f"configuration of {settings.run}"
    return parse_config(values, overrides, where=where)


def _corpus(settings: SweepConfig, run: Run, config: Config, corpus_of: CorpusOf | None) -> Corpus:
    if corpus_of is not None:
        return corpus_of(run, config.corpus)
    corpus = load_corpus(config.corpus)
    if corpus.sha256 != run.corpus_sha256:
        raise ConfigError(
            f"the corpus of {settings.run} has changed since: got hash {corpus.sha256[:12]}, expected "
            f"{run.corpus_sha256[:12]}; restore it, or say where it is with "
            "-o 'run_overrides=[corpus.path=...]'"
        )
    return corpus


def _check_people(
    settings: SweepConfig, starts: tuple[Start, ...], prefixes: tuple[Prefix, ...], num_held_out: int
) -> None:
    needed = [("free", starts), ("replay", prefixes), ("paired", prefixes)]
    if any(design in settings.chosen_designs and not people for design, people in needed):
        raise ConfigError(
            f"{settings.run} keeps {num_held_out} dialogues from training, expected enough for people to simulate and "
            "others to replay; raise corpus.validation_fraction"
        )


def _check_names(sweep_plan: SweepPlan) -> None:
    unsafe = [name for name in sweep_plan.names if not name.replace("_", "").replace("-", "").isalnum()]
    if unsafe:
        raise ConfigError(f"chatbot {unsafe[0]!r}: expected a name of letters, digits, _ and -; it names a folder here")
    baseline = sweep_plan.settings.baseline
    if baseline not in sweep_plan.names:
        raise ConfigError(f"baseline {baseline}: no such chatbot; expected one of {', '.join(sweep_plan.names)}")


def _check_early(sweep_plan: SweepPlan) -> None:
    """Signs are decided from so many people on, each met for the first time."""
    num_people = len({start.cluster for start in sweep_plan.starts})
    if sweep_plan.settings.stop_early and num_people < MIN_CLUSTERS:
        raise ConfigError(
            f"stop_early: the sweep has scenarios of {num_people} people, expected at least {MIN_CLUSTERS}: "
            "before, nothing is decided; raise num_conversations, give more scenarios, or leave stop_early out"
        )


def _check_caps(sweep_plan: SweepPlan) -> None:
    """A cap on cost can be kept where there are prices, in one currency."""
    if sweep_plan.settings.caps.max_cost is None:
        return
    currencies = sorted({chatbot.price.currency for chatbot in sweep_plan.chatbots if chatbot.price is not None})
    if not currencies:
        raise ConfigError("caps.max_cost: no chatbot of the sweep has a price; give one a price, or leave the cap out")
    if len(currencies) > 1:
        raise ConfigError(
            f"caps.max_cost: prices are in {' and '.join(currencies)}, which cannot be added; give all in one currency"
        )
