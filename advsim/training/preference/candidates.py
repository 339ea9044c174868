"""Candidates of the least real turns: what the discriminator is asked of them, and the rewards that come of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from advsim.config import PreferenceConfig
from advsim.records import AdapterRef, Candidate, Conversation, Dialogue, ScoredTurn
from advsim.rollout.simulator_actor import CandidateRequest
from advsim.training.discriminator.dataset import simulated_view
from advsim.training.discriminator.inputs import ScoringRequest, scoring_request
from advsim.training.preference.reward import p_real_before, rewarded_candidate

Drawn = dict[tuple[str, int], list[Candidate]]
"""Candidates by conversation (or real dialogue) and turn."""


def candidate_requests(
    targets: Sequence[ScoredTurn],
    conversations: Mapping[str, Conversation],
    dialogues: Mapping[str, Dialogue],
    *,
    config: PreferenceConfig,
    adapter: AdapterRef,
    seed: int,
) -> list[CandidateRequest]:
    """What the simulator is asked for each turn that gets candidates.

    Args:
        targets: the turns.
        conversations: by id.
        dialogues: real dialogues by id, whose contexts the conversations started from.
        config: how many candidates, and how they are sampled.
        adapter: that spoke the conversations.
        seed: of the first request; each next has the next.
    """
    return [
        CandidateRequest(
            conversation=conversations[target.conversation_id],
            context=dialogues[conversations[target.conversation_id].scenario_id].context,
            turn=target.turn,
            num_candidates=config.num_candidates,
            sampling=config.sampling,
            adapter=adapter,
            seed=seed + index,
        )
        for index, target in enumerate(targets)
    ]


def scoring_requests(
    drawn: Drawn, conversations: Mapping[str, Conversation], dialogues: Mapping[str, Dialogue], *, max_user_turns: int
) -> list[ScoringRequest]:
    """One request a turn: its prefix as the discriminator sees conversations, and the texts of its candidates.

    Args:
        drawn: candidates by turn.
        conversations: by id.
        dialogues: real dialogues by id, whose contexts the conversations started from.
        max_user_turns: at which conversations were cut for the discriminator.
    """
    requests = []
    for (conversation_id, turn), group in sorted(drawn.items()):
        conversation = conversations[conversation_id]
        view = simulated_view(conversation, dialogues[conversation.scenario_id], max_user_turns=max_user_turns)
        requests.append(scoring_request(view, turn=turn, texts=[candidate.text for candidate in group]))
    return requests


def scored_candidates(
    drawn: Drawn,
    answers: Iterable[tuple[ScoringRequest, list[float]]],
    scores: Sequence[ScoredTurn],
    *,
    advance: Callable[[], object] = lambda: None,
) -> list[Candidate]:
    """Candidates with p(real) and reward, by conversation, turn and index.

    Args:
        drawn: candidates by turn.
        answers: requests with p(real) of each of their texts, in any order.
        scores: of the turns as they were said: a reward is the change from the user turn before.
        advance: called after each answer.
    """
    before = p_real_before(scores)
    scored: list[Candidate] = []
    for request, p_real in answers:
        key = (request.prefix.conversation_id, len(request.prefix.turns))
        scored.extend(
            rewarded_candidate(candidate, p_real=p, previous_p_real=before[key])
            for candidate, p in zip(drawn[key], p_real, strict=True)
        )
        advance()
    return sorted(scored, key=lambda candidate: (candidate.conversation_id, candidate.turn, candidate.index))
