"""Held-out measurement of a simulator: next turns on real validation prefixes, judged for realism and diversity.

The same prefixes are used for the base model, the SFT simulator and every round, and the real next turn stands beside
each simulated one: chatbot turns and contexts are the same on both sides, only the user's turn differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from advsim.config import Config
from advsim.corpus.load import Corpus
from advsim.corpus.prefixes import choose_prefixes
from advsim.errors import RunError
from advsim.models.embedder import MiniLmEmbedder
from advsim.realism.diversity import Diversity, common_token_budget, measure_diversity
from advsim.realism.families import Family
from advsim.realism.next_turns import ClassifierResult, auc_difference, measure_realism
from advsim.records import AdapterRef, Estimate, NextTurn, Split
from advsim.rollout.pool import RolloutPool
from advsim.rollout.simulator_actor import NextTurnRequest
from advsim.run_folder.folder import RunDir
from advsim.run_folder.layout import BASELINE, held_out_turns
from advsim.run_folder.reader import Run
from advsim.run_folder.results import read_values
from advsim.run_folder.tables import to_table
from advsim.runtime.progress import Reporter
from advsim.training.metrics import ClassifierMetrics, TurnEstimate
from advsim.training.run_metrics import (
    AucDifference,
    Baseline,
    DiversityPair,
    HeldOutMetrics,
    RealBaseline,
    SftBaseline,
    ZeroShotBaseline,
)


class HeldOut:
    """The held-out prefixes of a run and what is measured on them."""

    def __init__(self, config: Config, corpus: Corpus, run: RunDir) -> None:
        self._config = config
        self._run = run
        self._dialogues = {dialogue.id: dialogue for dialogue in corpus.split(Split.VALIDATION)}
        self._prefixes = choose_prefixes(
            list(self._dialogues.values()), num_prefixes=config.held_out.num_prefixes, seed=config.seed
        )
        self._embedder = MiniLmEmbedder()

    def measure_baseline(
        self, rollouts: RolloutPool, *, push: Callable[[], AdapterRef], reporter: Reporter
    ) -> Baseline:
        """Figures of real turns, the base model (zero-shot) and the SFT simulator, without those of its training.

        Args:
            rollouts: the engines.
            push: gives the SFT adapter to the engines and returns it.
            reporter: progress.
        """
        zero_shot = self._write_turns(rollouts, None, "zero-shot", reporter)
        self._run.write_table(held_out_turns(-1), to_table(zero_shot, NextTurn))
        adapter = push()
        sft = self._write_turns(rollouts, adapter, "SFT", reporter)
        self._run.write_table(held_out_turns(0), to_table(sft, NextTurn))
        curve = {}
        for temperature in self._config.held_out.temperatures:
            curve[temperature] = self._write_turns(
                rollouts, adapter, f"SFT at temperature {temperature:g}", reporter, temperature=temperature
            )
            self._run.write_table(held_out_turns(0, temperature=temperature), to_table(curve[temperature], NextTurn))
        real = self._real_texts(sft)
        budget = common_token_budget([real, _texts(zero_shot), _texts(sft)])
        with reporter.stage("held-out classifiers (zero-shot, SFT)"):
            return Baseline(
                token_budget=budget,
                real=RealBaseline(diversity=self._diversity(real, budget)),
                zero_shot=ZeroShotBaseline(
                    diversity=self._diversity(_texts(zero_shot), budget), held_out=self._realism(zero_shot, zero_shot)
                ),
                sft=SftBaseline(
                    diversity=self._diversity(_texts(sft), budget),
                    held_out=self._realism(sft, zero_shot),
                    curve={
                        f"{temperature:g}": self._measured(turns, zero_shot, token_budget=budget)
                        for temperature, turns in curve.items()
                    },
                ),
            )

    def measure(
        self, rollouts: RolloutPool, adapter: AdapterRef, *, stage_name: str, reporter: Reporter
    ) -> HeldOutMetrics:
        """Figures of the simulator with an adapter: ``held_out`` by family, and ``diversity`` beside real turns'.

        Args:
            rollouts: the engines, holding the adapter.
            adapter: whose turns are measured.
            stage_name: for the progress bar.
            reporter: progress.
        """
        simulated = self._write_turns(rollouts, adapter, stage_name, reporter)
        self._run.write_table(held_out_turns(adapter.version), to_table(simulated, NextTurn))
        with reporter.stage(f"{stage_name} held-out classifiers"):
            return self.measure_against_sft(simulated)

    def measure_against_sft(self, simulated: Sequence[NextTurn]) -> HeldOutMetrics:
        """As :meth:`measure_turns`, with the paired differences from SFT at each temperature."""
        return replace(self.measure_turns(simulated), against_sft=self._against_sft(simulated))

    def measure_turns(self, simulated: Sequence[NextTurn]) -> HeldOutMetrics:
        """Figures of turns on the held-out prefixes, whoever wrote them; see :meth:`measure`.

        Diversity is that at the baseline's number of words, or at fewer for both sides where there are not so many.
        """
        return self._measured(simulated, Run(self._run).held_out_turns(-1), token_budget=self.token_budget)

    def _measured(
        self, simulated: Sequence[NextTurn], zero_shot: Sequence[NextTurn], *, token_budget: int
    ) -> HeldOutMetrics:
        real = self._real_texts(simulated)
        budget = min(token_budget, common_token_budget([real, _texts(simulated)]))
        return HeldOutMetrics(
            held_out=self._realism(simulated, zero_shot),
            diversity=DiversityPair(
                token_budget=budget,
                real=self._diversity(real, budget),
                simulated=self._diversity(_texts(simulated), budget),
            ),
        )

    def _against_sft(self, simulated: Sequence[NextTurn]) -> dict[str, dict[str, AucDifference]]:
        """Paired differences from the SFT simulator at each temperature, by family."""
        config, run = self._config.held_out, Run(self._run)
        curve = {config.sampling.temperature: run.held_out_turns(0)}
        curve |= {t: run.held_out_turns(0, temperature=t) for t in config.temperatures}
        return {
            f"{temperature:g}": {
                family.value: _difference(
                    auc_difference(
                        family,
                        dialogues=list(self._dialogues.values()),
                        first=simulated,
                        second=sft,
                        config=config,
                        seed=self._config.seed,
                        embedder=self._embedder,
                    )
                )
                for family in Family
            }
            for temperature, sft in sorted(curve.items())
        }

    @property
    def token_budget(self) -> int:
        """Words at which the baseline's diversity was measured.

        Raises:
            RunError: the baseline does not say.
        """
        remedy = "delete the file and run the same command to measure it again"
        baseline = read_values(Baseline, self._run.read_json(BASELINE), where=BASELINE, remedy=remedy)
        if baseline.token_budget is None:
            raise RunError(f"{BASELINE}: got no token_budget, expected a number of words; {remedy}")
        return baseline.token_budget

    def _write_turns(
        self,
        rollouts: RolloutPool,
        adapter: AdapterRef | None,
        stage_name: str,
        reporter: Reporter,
        *,
        temperature: float | None = None,
    ) -> list[NextTurn]:
        sampling = self._config.held_out.sampling
        if temperature is not None:
            sampling = sampling.model_copy(update={"temperature": temperature})
        version = -1 if adapter is None else adapter.version
        requests = [
            NextTurnRequest(
                scenario=self._dialogues[dialogue_id].scenario,
                prefix=self._dialogues[dialogue_id].turns[:turn],
                sampling=sampling,
                adapter=adapter,
                seed=self._config.seed + 104_729 * (version + 2) + index,
            )
            for index, (dialogue_id, turn) in enumerate(self._prefixes)
        ]
        turns: list[NextTurn] = []
        with reporter.stage(f"{stage_name} held-out turns", total=len(requests), unit="turn") as stage:
            for turn in rollouts.next_turns(requests):
                turns.append(turn)
                stage.advance()
        return sorted(turns, key=lambda turn: (turn.dialogue_id, turn.turn))

    def _realism(self, simulated: Sequence[NextTurn], zero_shot: Sequence[NextTurn]) -> dict[str, ClassifierMetrics]:
        return {
            family.value: classifier_metrics(
                measure_realism(
                    family,
                    dialogues=list(self._dialogues.values()),
                    simulated=simulated,
                    zero_shot=zero_shot,
                    config=self._config.held_out,
                    seed=self._config.seed,
                    embedder=self._embedder,
                )
            )
            for family in Family
        }

    def _diversity(self, texts: Sequence[str], budget: int) -> Diversity:
        return measure_diversity(texts, token_budget=budget, seed=self._config.seed)

    def _real_texts(self, turns: Sequence[NextTurn]) -> list[str]:
        return [self._dialogues[turn.dialogue_id].turns[turn.turn].text for turn in turns]


def classifier_metrics(result: ClassifierResult) -> ClassifierMetrics:
    """A classifier's result as it stands in ``held_out.json``."""
    nulls = result.nulls
    return ClassifierMetrics(
        accuracy=result.accuracy.value,
        low=result.accuracy.low,
        high=result.accuracy.high,
        auc=result.auc.value,
        auc_low=result.auc.low,
        auc_high=result.auc.high,
        p_value=None if nulls is None else nulls.accuracy.p_value,
        null_high=None if nulls is None else nulls.accuracy.high,
        auc_p_value=None if nulls is None else nulls.auc.p_value,
        auc_null_high=None if nulls is None else nulls.auc.high,
        num_permutations=None if nulls is None else nulls.auc.num_permutations,
        num_prefixes=result.num_prefixes,
        num_dialogues=result.accuracy.num_dialogues,
        power={control: estimate.value for control, estimate in result.power.items()},
        length_only=result.length_only.value,
        user_only=None if result.user_only is None else result.user_only.value,
        measurable=result.measurable,
        gate=result.gate,
        accuracy_at_turn=_at_turn(result.accuracy_at_turn),
        auc_at_turn=_at_turn(result.auc_at_turn),
        notes=result.notes,
    )


def _at_turn(estimates: Mapping[int, Estimate]) -> dict[int, TurnEstimate]:
    return {
        number: TurnEstimate(value=estimate.value, low=estimate.low, high=estimate.high, n=estimate.num_turns)
        for number, estimate in estimates.items()
    }


def _difference(estimate: Estimate) -> AucDifference:
    return AucDifference(value=estimate.value, low=estimate.low, high=estimate.high)


def _texts(turns: Sequence[NextTurn]) -> list[str]:
    return [turn.text for turn in turns]
