"""Which user turns get candidates, and which candidates become a preference pair (arXiv 2512.20773, reference code)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import permutations

from advsim.config import PreferenceConfig
from advsim.prompts.text import END_TOKEN
from advsim.records import Candidate, PreferencePair, ScoredTurn

_Place = tuple[str, int]  # conversation id, turn


def lowest_turns(scored: Sequence[ScoredTurn], *, num_lowest: int) -> list[ScoredTurn]:
    """The ``num_lowest`` user turns of lowest reward of each conversation, oldest first; the earlier one of equals.

    A conversation with fewer than two user turns gives none.

    Raises:
        ValueError: a reward is NaN.
    """
    conversations: dict[str, list[ScoredTurn]] = {}
    for turn in scored:
        _check_reward(turn.reward, turn.conversation_id, turn.turn)
        conversations.setdefault(turn.conversation_id, []).append(turn)
    chosen = []
    for turns in conversations.values():
        if len(turns) >= 2:
            lowest = sorted(turns, key=lambda turn: (turn.reward, turn.turn))[:num_lowest]
            chosen += sorted(lowest, key=lambda turn: turn.turn)
    return chosen


def pair_candidates(
    candidates: Sequence[Candidate],
    prompt_ids: Mapping[tuple[str, int], tuple[int, ...]],
    *,
    completion_ids: Callable[[Candidate], tuple[int, ...]],
    config: PreferenceConfig,
) -> list[PreferencePair]:
    """Pairs for each user turn: the candidate of highest reward, chosen, against the one of lowest, rejected.

    Of the pairs that are near enough in length the one of largest margin is taken, then the next of the candidates that
    are left, and so on. Log-probabilities of turns are sums over tokens, so that pairs whose chosen side is the shorter
    one on average teach to write short turns, whatever else they say.

    Texts that differ in ``[END]`` or in space around them alone are one text: the discriminator cannot tell them apart,
    and the first of them stands for all. A turn with fewer than two texts, or a margin of 0, gives no pair.

    Args:
        candidates: alternatives with rewards, in any order; those of one (conversation id, turn) share a prefix.
        prompt_ids: the prefix of each (conversation id, turn), token-exact.
        completion_ids: tokens of a candidate as the simulator would emit them, with the end-of-turn token where it
            finished.
        config: least margin, share kept, pairs of one turn, and how far their lengths may differ.

    Raises:
        ValueError: a reward is NaN, candidates of one turn come from different simulator versions (so their prefix is
            not one), or a turn has no prompt.
    """
    groups: dict[_Place, list[Candidate]] = {}
    for candidate in candidates:
        _check_reward(candidate.reward, candidate.conversation_id, candidate.turn)
        groups.setdefault((candidate.conversation_id, candidate.turn), []).append(candidate)
    pairs = []
    for place, group in groups.items():
        prompt = _shared_prompt(place, group, prompt_ids)
        tokens = {candidate.index: completion_ids(candidate) for candidate in _distinct_texts(group)}
        distinct = [candidate for candidate in group if candidate.index in tokens]
        for chosen, rejected in _best_pairs(distinct, tokens, config):
            margin = chosen.reward - rejected.reward
            pairs.append(
                PreferencePair(
                    conversation_id=place[0],
                    turn=place[1],
                    prompt_ids=prompt,
                    chosen_ids=tokens[chosen.index],
                    rejected_ids=tokens[rejected.index],
                    chosen=chosen.text,
                    rejected=rejected.text,
                    chosen_reward=chosen.reward,
                    rejected_reward=rejected.reward,
                    margin=margin,
                    simulator_version=chosen.simulator_version,
                )
            )
    return _largest_margins(pairs, config.keep_fraction)


def _best_pairs(
    group: Sequence[Candidate], tokens: Mapping[int, tuple[int, ...]], config: PreferenceConfig
) -> list[tuple[Candidate, Candidate]]:
    """Pairs of largest margin above 0 whose lengths are near enough, no candidate in two; of equals the first."""
    ranked = []
    for chosen, rejected in permutations(group, 2):
        shorter, longer = sorted((len(tokens[chosen.index]), len(tokens[rejected.index])))
        margin = chosen.reward - rejected.reward
        is_near = config.max_length_ratio is None or longer <= config.max_length_ratio * shorter
        if margin > 0.0 and margin >= config.min_margin and is_near:
            ranked.append((-margin, chosen.index, rejected.index, chosen, rejected))
    taken: set[int] = set()
    found: list[tuple[Candidate, Candidate]] = []
    for _, first, second, chosen, rejected in sorted(ranked, key=lambda pair: pair[:3]):
        if len(found) == config.max_pairs_per_turn:
            break
        if taken.isdisjoint((first, second)):
            taken |= {first, second}
            found.append((chosen, rejected))
    return found


def _shared_prompt(
    place: _Place, group: Sequence[Candidate], prompt_ids: Mapping[_Place, tuple[int, ...]]
) -> tuple[int, ...]:
    where = f"conversation {place[0]}, turn {place[1]}"
    versions = sorted({candidate.simulator_version for candidate in group})
    if len(versions) > 1:
        raise ValueError(
            f"{where}: got candidates of simulator versions {versions}, expected one; draw all candidates of a turn "
            "from the simulator that spoke the conversation"
        )
    if place not in prompt_ids:
        raise ValueError(f"{where}: got candidates but no prompt; give the token ids of its prefix")
    return prompt_ids[place]


def _distinct_texts(group: Iterable[Candidate]) -> list[Candidate]:
    first: dict[str, Candidate] = {}
    for candidate in sorted(group, key=lambda candidate: candidate.index):
        first.setdefault(candidate.text.replace(END_TOKEN, "").strip(), candidate)
    return list(first.values())


def _largest_margins(pairs: Sequence[PreferencePair], keep_fraction: float) -> list[PreferencePair]:
    """The share of largest margin, in the order of ``pairs``."""
    num_kept = max(1, round(keep_fraction * len(pairs)))
    by_margin = sorted(range(len(pairs)), key=lambda i: -pairs[i].margin)
    return [pairs[i] for i in sorted(by_margin[:num_kept])]


def _check_reward(reward: float, conversation_id: str, turn: int) -> None:
    if math.isnan(reward):
        raise ValueError(
            f"conversation {conversation_id}, turn {turn}: got a NaN reward, expected a number; score the turn first"
        )
