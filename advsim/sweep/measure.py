"""What a sweep found: rates by chatbot, A/B tests, agreement with real people's messages, blame.

What agreement shows: whether a simulator puts chatbots in the order, and at the distances, in which they fail on real
people's messages. What it does not: replayed messages stand behind another chatbot's turns, so failures that build up
over a chatbot's own turns are in the simulated rates only (:mod:`advsim.sweep.paired` takes that apart); and both sides
are judged by the same detector, whose errors are part of both rates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from advsim.rates.blame import Blame
from advsim.rates.divergence import Divergence, mode_divergence
from advsim.rates.outcomes import of_modes
from advsim.rates.rates import failure_rate
from advsim.rates.sequential import AnytimeDifference, anytime_difference
from advsim.records import Conversation, Rate, user_turns
from advsim.run_folder.results import plain_values
from advsim.sweep.judge import Judged, read_judged
from advsim.sweep.outcomes import PAIRED, REPLAY, MadeFrom, Outcomes
from advsim.sweep.paired import PairedReplay, paired_replay
from advsim.sweep.planning.items import Cell, Design
from advsim.sweep.planning.simulators import Simulator, drawn
from advsim.sweep.planning.study import SweepPlan
from advsim.sweep.service import ChatbotService
from advsim.sweep.shards import all_said, read_next_turns
from advsim.validity.by_chatbot import ByChatbot, compare_chatbots
from advsim.validity.factors import FactorAgreement, factor_agreement
from advsim.validity.population_test import SimulatorVerdict
from advsim.validity.replication import AbPair, AbReplication
from advsim.validity.verdict import Validity


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """How conversations went.

    Attributes:
        stop_reasons: conversations by why they ended.
        num_user_turns: in all.
        num_regenerated: user turns that were drawn again.
        num_output_tokens: of both speakers.
    """

    stop_reasons: Mapping[str, int]
    num_user_turns: int = 0
    num_regenerated: int = 0
    num_output_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was found with one simulator.

    Attributes:
        simulator: its name.
        by_chatbot: rates, A/B tests, and agreement with the replies to real prefixes where there are some.
        divergence: of the modes that fail from those of the real side, given a failure; None without a real side.
        divergence_with_none: the same with messages that do not fail.
        blame: conversations by what they are attributed to.
        rates_without_faults: any-mode rate of each chatbot without conversations in which the simulator was at fault.
        paired: what the simulator's turns alone change; None without that design.
        anytime: differences from the baseline by chatbot, with intervals that hold at all looks; only where the sweep
            may stop early.
        talk: how its conversations went.
        factors: by what factor its rates of any failure are off, and whether large differences go the same way; None
            without a real side.
    """

    simulator: str
    by_chatbot: ByChatbot
    divergence: Divergence | None
    divergence_with_none: Divergence | None
    blame: Mapping[Blame, int]
    rates_without_faults: Mapping[str, Rate]
    paired: PairedReplay | None
    anytime: Mapping[str, AnytimeDifference]
    talk: Talk
    factors: FactorAgreement | None = None

    @property
    def validity(self) -> Validity | None:
        """Agreement over chatbots with the real side."""
        return self.by_chatbot.validity

    @property
    def population_test(self) -> SimulatorVerdict | None:
        """Whether the simulated failures can be told from the real ones."""
        return self.by_chatbot.population_test

    @property
    def ab(self) -> AbReplication | None:
        """Whether A/B results replicate on the real side."""
        return self.by_chatbot.replication


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Everything that was judged.

    Attributes:
        free: by simulator and chatbot; mixtures among them.
        paired: likewise, of those that speak themselves.
        real: replies to real prefixes by chatbot; None without that design.
    """

    free: Mapping[str, Mapping[str, Judged]]
    paired: Mapping[str, Mapping[str, Judged]]
    real: Outcomes | None

    @property
    def outcomes(self) -> dict[str, Outcomes]:
        """Messages by side and chatbot, under the names of :mod:`advsim.sweep.outcomes`."""
        named: dict[str, Outcomes] = {name: _rows(judged) for name, judged in self.free.items()}
        if self.real is not None:
            named[REPLAY] = self.real
        return named | {f"{name}{PAIRED}": _rows(judged) for name, judged in self.paired.items()}


def all_sides(study: SweepPlan) -> Sides:
    """Read all that was judged."""

    def judged(design: Design, simulator: str) -> dict[str, Judged]:
        return {
            name: read_judged(study, Cell(design=design, simulator=simulator, chatbot=name)) for name in study.names
        }

    free: dict[str, dict[str, Judged]] = {}
    if Design.FREE in study.designs:
        free = {simulator.name: judged(Design.FREE, simulator.name) for simulator in study.speaking}
        for mixture in (simulator for simulator in study.simulators if not simulator.speaks):
            free[mixture.name] = {name: _mixed(study, mixture, free, name) for name in study.names}
    paired = {s.name: judged(Design.PAIRED, s.name) for s in study.speaking} if Design.PAIRED in study.designs else {}
    real = _rows(judged(Design.REPLAY, "")) if Design.REPLAY in study.designs else None
    return Sides(free=free, paired=paired, real=real)


def measure_all(study: SweepPlan, sides: Sides, *, modes: Sequence[str]) -> list[Result]:
    """What was found with each simulator; in a sweep of replay alone, what was found in the replies.

    Args:
        study: the sweep.
        sides: all that was judged.
        modes: those with a rate of their own.
    """
    simulators = [s for s in study.simulators if s.name in sides.free or s.name in sides.paired]
    if simulators:
        return [measure(study, simulator, sides, modes=modes) for simulator in simulators]
    assert sides.real is not None, "a sweep has a design"
    pairs = [AbPair(a=name, b=study.settings.baseline) for name in study.names if name != study.settings.baseline]
    return [
        Result(
            simulator=REPLAY,
            by_chatbot=compare_chatbots(sides.real, None, modes=modes, pairs=pairs, seed=study.seed),
            divergence=None,
            divergence_with_none=None,
            blame={},
            rates_without_faults={},
            paired=None,
            anytime={},
            talk=Talk(stop_reasons={}),
        )
    ]


def measure(study: SweepPlan, simulator: Simulator, sides: Sides, *, modes: Sequence[str]) -> Result:
    """What was found with a simulator, held against the replies to real prefixes where there are some.

    Without simulated conversations its side is that of paired replay.

    Args:
        study: the sweep.
        simulator: one of its simulators.
        sides: all that was judged.
        modes: those with a rate of their own.
    """
    judged = sides.free.get(simulator.name) or sides.paired[simulator.name]
    simulated = _rows(judged)
    baseline = study.settings.baseline
    pairs = [AbPair(a=name, b=baseline) for name in study.names if name != baseline]
    real, paired = sides.real, sides.paired.get(simulator.name)
    own = [of_modes([row for rows in side.values() for row in rows], modes) for side in (simulated, real or {})]
    return Result(
        simulator=simulator.name,
        by_chatbot=compare_chatbots(simulated, real, modes=modes, pairs=pairs, seed=study.seed),
        divergence=None if real is None else mode_divergence(*own, modes=modes, seed=study.seed),
        divergence_with_none=None
        if real is None
        else mode_divergence(*own, modes=modes, with_none=True, seed=study.seed),
        blame=dict(sum((Counter(each.blame) for each in judged.values()), Counter())),
        rates_without_faults={
            name: failure_rate([row for row in each.rows if row.dialogue_id not in each.at_fault])
            for name, each in judged.items()
        },
        paired=None
        if paired is None or real is None
        else paired_replay(
            _rows(paired),
            real,
            simulated if simulator.name in sides.free else None,
            num_faulty_turns=sum(not text for text in read_next_turns(study.output, simulator.name).values()),
            seed=study.seed,
        ),
        anytime={
            name: anytime_difference(simulated[name], simulated[baseline], alpha=alpha_of(study))
            for name in study.names
            if name != baseline
        }
        if study.settings.stop_early
        else {},
        talk=_talk(study, simulator),
        factors=None if real is None else factor_agreement(_any_mode(simulated), _any_mode(real)),
    )


def alpha_of(study: SweepPlan) -> float:
    """Chance of an error of one comparison that may stop early, so that all of the sweep keep to 5 % (Bonferroni)."""
    return 0.05 / max(1, (len(study.chatbots) - 1) * len(study.speaking))


def result_json(
    study: SweepPlan,
    results: Sequence[Result],
    sides: Mapping[str, Outcomes],
    services: Sequence[ChatbotService],
    *,
    detector: str,
    modes: Sequence[str],
    made_from: MadeFrom,
    stopped_by: str = "",
) -> dict[str, Any]:
    """Everything found, and what it was made from, as plain values."""
    return {
        "run": "" if study.run is None else study.run.folder.location,
        "detector": detector,
        "modes": list(modes),
        "designs": [design.value for design in study.designs],
        "sides": list(sides),
        "num_chatbots": len(study.chatbots),
        "num_conversations": study.settings.num_conversations,
        "num_scenarios": len(study.starts),
        "scenarios_file": study.settings.scenarios or "",
        "num_prefixes": len(study.prefixes),
        "max_user_turns": study.config.rollout.max_user_turns,
        "baseline": study.settings.baseline,
        "seed": study.seed,
        "is_complete": not stopped_by,
        "stopped_by": stopped_by,
        "made_from": plain_values(made_from),
        "chatbots": [plain_values(service) for service in services],
        "simulators": [plain_values(result) for result in results],
    }


def _any_mode(side: Outcomes) -> dict[str, Rate]:
    return {name: failure_rate(rows) for name, rows in side.items()}


def _rows(judged: Mapping[str, Judged]) -> Outcomes:
    return {name: each.rows for name, each in judged.items()}


def _mixed(study: SweepPlan, mixture: Simulator, free: Mapping[str, Mapping[str, Judged]], chatbot: str) -> Judged:
    """Messages of a mixture with a chatbot: of each scenario those of the simulator that is drawn.

    Only scenarios that all parts have talked through with all chatbots count: a sweep that a cap stopped has them of
    its first simulators alone, and a mixture of what happens to be there would be another one.
    """
    wanted: dict[str, set[str]] = {name: set() for name, _ in mixture.mixture}
    there = {
        (name, other): {row.dialogue_id for row in free[name][other].rows} for name in wanted for other in study.names
    }
    for position in range(study.num_items(Design.FREE)):
        repeat, index = divmod(position, len(study.starts))
        ids = {
            place: study.item(Cell(design=Design.FREE, simulator=place[0], chatbot=place[1]), position).id
            for place in there
        }
        if all(ids[place] in there[place] for place in there):
            name = drawn(mixture, study.starts[index].scenario.id, repeat + study.seed)
            wanted[name].add(ids[name, chatbot])
    parts = [(free[name][chatbot], ids) for name, ids in wanted.items()]
    return Judged(
        rows=[row for part, ids in parts for row in part.rows if row.dialogue_id in ids],
        blame={},  # known by conversation only where it was simulated
        at_fault=frozenset(name for part, ids in parts for name in part.at_fault if name in ids),
    )


def _talk(study: SweepPlan, simulator: Simulator) -> Talk:
    reasons: Counter[str] = Counter()
    num_user_turns = num_regenerated = num_output_tokens = 0
    for cell in study.cells(Design.FREE):
        if cell.simulator == simulator.name:
            for said in all_said(study, cell):
                talk = cast(Conversation, said)
                reasons[talk.stop_reason.value] += 1
                num_user_turns += len(user_turns(talk))
                num_regenerated += talk.num_regenerated
                num_output_tokens += talk.num_output_tokens
    return Talk(
        stop_reasons=dict(sorted(reasons.items())),
        num_user_turns=num_user_turns,
        num_regenerated=num_regenerated,
        num_output_tokens=num_output_tokens,
    )
