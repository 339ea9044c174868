"""Discriminator and pairs of a round on whole conversations (arXiv 2512.20773): METHOD, stages 3 and 4.

Conversations with the chatbot stand against real dialogues of the same scenarios; the least real turns get candidates.
"""

from __future__ import annotations

from advsim.records import Candidate, Conversation, Dialogue, PreferencePair, ScoredTurn, StopReason, user_turns
from advsim.run_folder.layout import discriminator_folder, round_folder
from advsim.run_folder.reader import Run
from advsim.run_folder.tables import from_table, to_table
from advsim.training.discriminator.dataset import real_view, simulated_view
from advsim.training.preference.candidates import candidate_requests, scored_candidates, scoring_requests
from advsim.training.preference.pairs import lowest_turns, pair_candidates
from advsim.training.preference.reward import with_rewards
from advsim.training.preference.source import PairSource


class FromConversations(PairSource):
    """See the module."""

    reads = ("conversations.parquet", "turns.parquet")
    writes = ("discriminator", "scores.parquet", "discriminator.json")
    pairs_write = ("candidates.parquet", "pairs.parquet")

    def train(self, number: int, name: str) -> None:
        """See :meth:`PairSource.train`."""
        folder = round_folder(number)
        conversations = self._usable_conversations(number)
        dialogues = self._dialogues()
        limit = self.config.rollout.max_user_turns
        simulated = [simulated_view(c, dialogues[c.scenario_id], max_user_turns=limit) for c in conversations]
        scenario_ids = sorted({conversation.scenario_id for conversation in conversations})
        real = [real_view(dialogues[scenario_id], max_user_turns=limit) for scenario_id in scenario_ids]
        with self.reporter.stage(f"{name} discriminator", total=len(simulated), unit="dialogue") as stage:
            metrics, files = self.scorers.train(real=real, simulated=simulated, seed=self.config.seed + number)
            self.scorers.load(files)
            scores: list[ScoredTurn] = []
            batch_size = self.config.discriminator.scoring_batch_size
            for batch in self.scorers.score(simulated, batch_size=batch_size):
                scores.extend(turn for view in batch for turn in view)
                stage.advance(len(batch))
        scores = with_rewards(sorted(scores, key=lambda score: (score.conversation_id, score.turn)))
        self.run.write_files(discriminator_folder(number), files)
        self.run.write_table(f"{folder}/scores.parquet", to_table(scores, ScoredTurn))
        self.run.write_json(f"{folder}/discriminator.json", metrics)

    def pair(self, number: int, name: str) -> None:
        """See :meth:`PairSource.pair`."""
        folder = round_folder(number)
        adapter = self.push(number - 1)
        self.scorers.load(self.run.read_files(discriminator_folder(number)))
        conversations = {c.id: c for c in self._usable_conversations(number)}
        dialogues = self._dialogues()
        scores: list[ScoredTurn] = from_table(self.run.read_table(f"{folder}/scores.parquet"), ScoredTurn)
        config = self.config.preference
        targets = lowest_turns(scores, num_lowest=config.num_lowest_turns)
        requests = candidate_requests(
            targets, conversations, dialogues, config=config, adapter=adapter, seed=self.config.seed + 7919 * number
        )
        drawn = self.drawn(self.rollouts.candidates(requests), f"{name} candidates", num_turns=len(requests))
        requests_to_score = scoring_requests(
            drawn, conversations, dialogues, max_user_turns=self.config.rollout.max_user_turns
        )
        with self.reporter.stage(f"{name} scoring", total=len(requests_to_score), unit="turn") as stage:
            candidates = scored_candidates(
                drawn, self.scorers.score_candidates(requests_to_score), scores, advance=stage.advance
            )
        self.scorers.release()
        pairs = pair_candidates(
            candidates,
            {
                key: self.prompts.prompt(
                    dialogues[conversations[key[0]].scenario_id].context, conversations[key[0]].turns[: key[1]]
                )
                for key in drawn
            },
            completion_ids=lambda c: self.prompts.completion(c.token_ids, finished=c.finished),
            config=config,
        )
        self.run.write_table(f"{folder}/candidates.parquet", to_table(candidates, Candidate))
        self.run.write_table(f"{folder}/pairs.parquet", to_table(pairs, PreferencePair))

    def no_pairs_remedy(self, folder: str) -> str:
        """See :meth:`PairSource.no_pairs_remedy`."""
        return (
            ", or every conversation had fewer than 2 user turns; change these or raise preference.num_candidates and "
            f"remove {folder}/pairs.parquet, or raise rollout.max_user_turns and remove {folder}/conversations.parquet"
        )

    def _dialogues(self) -> dict[str, Dialogue]:
        return {dialogue.id: dialogue for dialogue in self.corpus.dialogues}

    def _usable_conversations(self, number: int) -> list[Conversation]:
        """Conversations with at least one user turn that did not fail."""
        conversations = Run(self.run).conversations(number)
        return [c for c in conversations if c.stop_reason is not StopReason.ERROR and user_turns(c)]
