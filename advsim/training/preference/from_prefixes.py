"""Discriminator and pairs of a round on real prefixes: what the simulator would say there against what people said.

    real training prefixes --n draws--> read by the base model --> probe, cross-fitted over users --> best against worst
    real validation prefixes --n draws--> read ---------------> AUC on dialogues never seen, and the headroom:
                                                                realism of the best, a random and the worst of n

Everything but the user's turn is the same on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from advsim.config import SamplingConfig
from advsim.corpus.prefixes import Prefix, choose_prefixes, user_of, user_turn_number
from advsim.errors import RunError
from advsim.models.embedder import FloatArray
from advsim.prompts.text import without_end
from advsim.realism.folds import dialogue_folds
from advsim.records import AdapterRef, Candidate, Dialogue, NextTurn, PreferencePair, Split
from advsim.rollout.choice.probe import Probe, Turns, calibrated_slope
from advsim.rollout.choice.turn_reader import TurnTexts
from advsim.rollout.simulator_actor import DrawRequest
from advsim.run_folder.layout import BASELINE, discriminator_folder, held_out_turns, round_folder
from advsim.run_folder.tables import from_table, to_table
from advsim.training.discriminator.metrics import JudgedTurn, measure, with_auc_bounds
from advsim.training.metrics import DiscriminatorMetrics
from advsim.training.preference.candidates import Drawn
from advsim.training.preference.pairs import pair_candidates
from advsim.training.preference.source import PairSource
from advsim.training.run_metrics import Headroom


@dataclass(frozen=True, slots=True, kw_only=True)
class _PlacedTurns:
    """Real turns and draws with where they stand.

    Attributes:
        turns: with their features.
        places: prefix of each turn.
        candidates: the draw that each is; None for a real turn.
    """

    turns: Turns
    places: list[Prefix]
    candidates: list[Candidate | None]

    @classmethod
    def of(cls, features: dict[Prefix, FloatArray], draws: Drawn, prefixes: Sequence[Prefix]) -> _PlacedTurns:
        """The turns of these prefixes, of which some may have no draw."""
        drawn = [place for place in prefixes if place in draws]
        if not drawn:
            raise RunError(
                f"the simulator said nothing on any of {len(prefixes)} real prefixes; look at its SFT loss, or train "
                "it longer (sft.num_epochs)"
            )
        sizes = [1 + len(draws[place]) for place in drawn]
        return cls(
            turns=Turns(
                features=np.concatenate([features[place] for place in drawn]),
                prefix=np.repeat(np.arange(len(drawn)), sizes),
                is_real=np.concatenate([np.arange(size) == 0 for size in sizes]),
            ),
            places=[place for place, size in zip(drawn, sizes, strict=True) for _ in range(size)],
            candidates=[candidate for place in drawn for candidate in (None, *draws[place])],
        )

    def scored(self, scores: FloatArray) -> list[Candidate]:
        """The draws with their log-odds of being real as reward."""
        return [
            replace(candidate, p_real=float(expit(score)), reward=float(score))
            for candidate, score in zip(self.candidates, scores, strict=True)
            if candidate is not None
        ]


class FromPrefixes(PairSource):
    """See the module."""

    reads = ()
    also_reads = (BASELINE, held_out_turns(-1))
    writes = (
        "discriminator",
        "candidates.parquet",
        "held_out_candidates.parquet",
        "discriminator.json",
        "headroom.json",
    )
    pairs_write = ("pairs.parquet",)

    def train(self, number: int, name: str) -> None:
        """See :meth:`PairSource.train`."""
        folder, seed = round_folder(number), self.config.seed
        config = self.config.discriminator.prefixes
        adapter = self.push(number - 1)
        train, validation = (self._dialogues(split) for split in (Split.TRAIN, Split.VALIDATION))
        prefixes = _spoken(train, num_prefixes=config.num_prefixes, seed=seed + number)
        unseen = _spoken(validation, num_prefixes=self.config.held_out.num_prefixes, seed=seed)
        draws = self._draw(train, prefixes, adapter, number, f"{name} draws", self.config.preference.sampling)
        draws |= self._draw(
            validation, unseen, adapter, number, f"{name} held-out draws", self.config.held_out.sampling
        )
        features = self._read({**train, **validation}, draws, f"{name} reading")
        self.scorers.release()
        turns, unseen_turns = (_PlacedTurns.of(features, draws, chosen) for chosen in (prefixes, unseen))
        folds = dialogue_folds(list(train.values()), num_folds=config.num_folds, seed=seed)
        scores = self._out_of_fold(turns, [folds[dialogue_id] for dialogue_id, _ in turns.places])
        slope = calibrated_slope(scores, turns.turns)
        probe, scores = self._fit(turns.turns).times(slope), slope * scores
        unseen_scores = probe.score(unseen_turns.turns.features)
        candidates, unseen_candidates = turns.scored(scores), unseen_turns.scored(unseen_scores)
        metrics = self._metrics(unseen_turns, unseen_scores, validation, num_train_turns=len(turns.places))
        self.run.write_files(discriminator_folder(number), probe.files())
        self.run.write_table(f"{folder}/candidates.parquet", to_table(candidates, Candidate))
        self.run.write_table(f"{folder}/held_out_candidates.parquet", to_table(unseen_candidates, Candidate))
        self.run.write_json(f"{folder}/discriminator.json", metrics)
        with self.reporter.stage(f"{name} headroom"):
            self.run.write_json(f"{folder}/headroom.json", self._headroom(unseen_candidates))

    def pair(self, number: int, name: str) -> None:
        """See :meth:`PairSource.pair`."""
        folder = round_folder(number)
        dialogues = self._dialogues(Split.TRAIN)
        candidates: list[Candidate] = from_table(self.run.read_table(f"{folder}/candidates.parquet"), Candidate)
        places = {(candidate.conversation_id, candidate.turn) for candidate in candidates}
        pairs = pair_candidates(
            candidates,
            {
                (dialogue_id, turn): self.prompts.prompt(
                    dialogues[dialogue_id].context, dialogues[dialogue_id].turns[:turn]
                )
                for dialogue_id, turn in places
            },
            completion_ids=lambda c: self.prompts.completion(c.token_ids, finished=c.finished),
            config=self.config.preference,
        )
        self.run.write_table(f"{folder}/pairs.parquet", to_table(pairs, PreferencePair))

    def no_pairs_remedy(self, folder: str) -> str:
        """See :meth:`PairSource.no_pairs_remedy`."""
        return (
            f"; change these and remove {folder}/pairs.parquet, or raise preference.num_candidates and remove "
            f"{folder}/candidates.parquet"
        )

    def _dialogues(self, split: Split) -> dict[str, Dialogue]:
        return {dialogue.id: dialogue for dialogue in self.corpus.split(split)}

    def _draw(
        self,
        dialogues: dict[str, Dialogue],
        prefixes: Sequence[Prefix],
        adapter: AdapterRef,
        number: int,
        name: str,
        sampling: SamplingConfig,
    ) -> Drawn:
        requests = [
            DrawRequest(
                dialogue_id=dialogue_id,
                context=dialogues[dialogue_id].context,
                prefix=dialogues[dialogue_id].turns[:turn],
                num_draws=self.config.preference.num_candidates,
                sampling=sampling,
                adapter=adapter,
                seed=self.config.seed + 15_485_863 * number + index,
            )
            for index, (dialogue_id, turn) in enumerate(prefixes)
        ]
        return self.drawn(self.rollouts.draws(requests), name, num_turns=len(requests))

    def _read(self, dialogues: dict[str, Dialogue], draws: Drawn, name: str) -> dict[Prefix, FloatArray]:
        """Features of the real turn and then of each draw, by prefix."""
        requests = [
            TurnTexts(
                dialogue_id=dialogue_id,
                context=dialogues[dialogue_id].context,
                prefix=dialogues[dialogue_id].turns[:turn],
                texts=(dialogues[dialogue_id].turns[turn].text, *(candidate.text for candidate in group)),
            )
            for (dialogue_id, turn), group in sorted(draws.items())
        ]
        features: dict[Prefix, FloatArray] = {}
        with self.reporter.stage(name, total=len(requests), unit="turn") as stage:
            for request, rows in self.scorers.read(requests):
                features[request.dialogue_id, len(request.prefix)] = rows
                stage.advance()
        return features

    def _metrics(
        self, unseen: _PlacedTurns, scores: FloatArray, dialogues: dict[str, Dialogue], *, num_train_turns: int
    ) -> DiscriminatorMetrics:
        """What the scores of turns are worth that neither simulator nor probe was trained on."""
        judged = [
            JudgedTurn(
                user_turn=user_turn_number(dialogues[dialogue_id], turn),
                label=int(is_real),
                p_real=float(expit(score)),
            )
            for (dialogue_id, turn), is_real, score in zip(unseen.places, unseen.turns.is_real, scores, strict=True)
        ]
        metrics = measure(
            judged,
            num_train_turns=num_train_turns,
            num_held_out_scenarios=len({dialogue_id for dialogue_id, _ in unseen.places}),
            seconds=None,
        )
        users = [user_of(dialogues[dialogue_id]) for dialogue_id, _ in unseen.places]
        return with_auc_bounds(metrics, judged, users, seed=self.config.seed)

    def _fit(self, turns: Turns) -> Probe:
        config = self.config.discriminator.prefixes
        return Probe.fit(turns, num_components=config.num_components, inverse_penalty=config.inverse_penalty)

    def _out_of_fold(self, turns: _PlacedTurns, folds: Sequence[int]) -> FloatArray:
        """Scores of each turn by a probe that saw nothing of its user; shape (turns,)."""
        config = self.config.discriminator.prefixes
        fold_of = np.array(folds)
        scores = np.zeros(len(folds))
        for fold in np.unique(fold_of):
            test = fold_of == fold
            if test.all():
                raise RunError(
                    f"discriminator.prefixes: the draws on {config.num_prefixes} training prefixes are of one fold of "
                    "users alone; raise discriminator.prefixes.num_prefixes, or give dialogues of more users"
                )
            scores[test] = self._fit(turns.turns.only(~test)).score(turns.turns.features[test])
        return scores

    def _headroom(self, candidates: Sequence[Candidate]) -> Headroom:
        """Realism where the best, the first and the worst draw of each prefix is the simulator's turn."""
        groups: dict[Prefix, list[Candidate]] = {}
        for candidate in candidates:
            groups.setdefault((candidate.conversation_id, candidate.turn), []).append(candidate)
        best = [max(group, key=lambda c: c.reward) for group in groups.values()]
        first = [min(group, key=lambda c: c.index) for group in groups.values()]
        worst = [min(group, key=lambda c: c.reward) for group in groups.values()]
        return Headroom(
            num_draws=self.config.preference.num_candidates,
            best=self.held_out.measure_against_sft(_next_turns(best)),
            random=self.held_out.measure_turns(_next_turns(first)),
            worst=self.held_out.measure_turns(_next_turns(worst)),
        )


def _spoken(dialogues: dict[str, Dialogue], *, num_prefixes: int, seed: int) -> list[Prefix]:
    """Prefixes behind which somebody said something: an end token alone is nothing to read."""
    chosen = choose_prefixes(list(dialogues.values()), num_prefixes=num_prefixes, seed=seed)
    return [(name, turn) for name, turn in chosen if without_end(dialogues[name].turns[turn].text)]


def _next_turns(candidates: Sequence[Candidate]) -> list[NextTurn]:
    return [NextTurn(dialogue_id=c.conversation_id, turn=c.turn, text=c.text, finished=c.finished) for c in candidates]
