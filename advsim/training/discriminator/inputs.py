"""Inputs of the discriminator: token ids of a dialogue and the positions at which its user turns are judged.

An input is the rendered context, then a line for each turn in sight: a marker (``User:``, and ``Chatbot:`` where
``visible_turns`` is ``all``), the text, a newline. The three are tokenised apart: whatever follows, the ids of a prefix
are a prefix of the ids. Special tokens are split, so that text cannot inject any.

``[END]`` must be no cue (arXiv 2512.20773, reference code): it is removed from all texts and put after the last user
turn of every complete dialogue, real or simulated, ended by itself or cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from advsim.prompts.text import END_TOKEN, encode_text, render_context, without_end
from advsim.records import Context, Speaker, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

VisibleTurns = Literal["user", "all"]

_MARKERS = {Speaker.USER: "User:", Speaker.CHATBOT: "Chatbot:"}


@dataclass(frozen=True, slots=True, kw_only=True)
class UserView:
    """A real dialogue or simulated conversation as the discriminator gets it; nothing in it says which of the two.

    ``user_id`` groups dialogues of one person (None where unknown). ``complete`` is False for the beginning of a
    conversation that goes on: its last user turn then carries no ``[END]``.
    """

    conversation_id: str
    scenario_id: str
    user_id: str | None = None
    context: Context
    turns: tuple[Turn, ...]
    complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringRequest:
    """Alternative texts for the user turn that follows ``prefix.turns``."""

    prefix: UserView
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscriminatorInput:
    """One sequence. ``positions[i]`` is the index in ``input_ids`` of the last token of user turn ``turns[i]``.

    ``turns`` are indices into the view's turns. Where a turn carries ``[END]``, its last token is that of ``[END]``.
    """

    input_ids: tuple[int, ...]
    positions: tuple[int, ...]
    turns: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateInputs:
    """A shared prefix and what each candidate adds to it, up to the last token of its text. No candidate is empty."""

    prefix_ids: tuple[int, ...]
    candidate_ids: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segment:
    turn: int
    is_user: bool
    ids: tuple[int, ...]  # marker and text; the newline comes after


def scoring_request(view: UserView, *, turn: int, texts: Sequence[str]) -> ScoringRequest:
    """Alternatives for user turn ``turn`` (an index into ``view.turns``) of a conversation.

    Raises:
        ValueError: that turn is not the user's.
    """
    if turn >= len(view.turns) or view.turns[turn].speaker is not Speaker.USER:
        raise ValueError(f"conversation {view.conversation_id}: turn {turn} is no user turn; give the index of one")
    return ScoringRequest(prefix=replace(view, turns=view.turns[:turn], complete=False), texts=tuple(texts))


def build_inputs(
    tokenizer: PreTrainedTokenizerBase, view: UserView, *, visible_turns: VisibleTurns, max_tokens: int
) -> list[DiscriminatorInput]:
    """Sequences of at most ``max_tokens`` in which every user turn of the view is judged exactly once.

    One sequence holds all turns where they fit. Otherwise further ones follow, each with the context and, before the
    first turn that it judges, the latest turns that fit into half of the room. A context of more than half of
    ``max_tokens`` loses its oldest sessions, then its tail; a turn too long for a sequence loses its beginning.
    """
    newline = encode_text(tokenizer, "\n")
    context_ids = _context_ids(tokenizer, view.context, max_tokens=max_tokens // 2)
    room = max_tokens - len(context_ids)
    segments = [replace(s, ids=s.ids[-room:]) for s in _segments(tokenizer, view, visible_turns)]
    inputs = []
    first = 0
    while first < len(segments):
        history = _latest_that_fit(segments[:first], room // 2 - len(segments[first].ids), len(newline))
        ids = list(context_ids)
        positions, turns = [], []
        for number, segment in enumerate(segments[first - history :], start=first - history):
            if len(ids) + len(segment.ids) > max_tokens:
                break
            ids += segment.ids
            if number >= first:
                first = number + 1
                if segment.is_user:
                    positions.append(len(ids) - 1)
                    turns.append(segment.turn)
            ids += newline
        if positions:
            # Nothing after the last judged token is ever read.
            end = positions[-1] + 1
            inputs.append(
                DiscriminatorInput(input_ids=tuple(ids[:end]), positions=tuple(positions), turns=tuple(turns))
            )
    return inputs


def build_candidate_inputs(
    tokenizer: PreTrainedTokenizerBase, request: ScoringRequest, *, visible_turns: VisibleTurns, max_tokens: int
) -> CandidateInputs:
    """Prefix and candidates as token ids; prefix and longest candidate together take at most ``max_tokens``.

    No candidate carries ``[END]``, whether or not it has one or ends the conversation: all are judged alike, as turns
    of a conversation that may go on. All get the same prefix: where it is too long, the oldest turns are left out so
    that the longest candidate fits.
    """
    newline = encode_text(tokenizer, "\n")
    context_ids = _context_ids(tokenizer, request.prefix.context, max_tokens=max_tokens // 2)
    room = max_tokens - len(context_ids)
    candidates = tuple(_turn_ids(tokenizer, Speaker.USER, text)[-room:] for text in request.texts)
    segments = _segments(tokenizer, replace(request.prefix, complete=False), visible_turns)
    longest = max((len(ids) for ids in candidates), default=0)
    history = _latest_that_fit(segments, room - longest, len(newline))
    kept = segments[len(segments) - history :]
    prefix_ids = (*context_ids, *(token for segment in kept for token in (*segment.ids, *newline)))
    return CandidateInputs(prefix_ids=prefix_ids, candidate_ids=candidates)


def _segments(tokenizer: PreTrainedTokenizerBase, view: UserView, visible_turns: VisibleTurns) -> list[_Segment]:
    last_user = max((i for i, turn in enumerate(view.turns) if turn.speaker is Speaker.USER), default=-1)
    segments = []
    for i, turn in enumerate(view.turns):
        is_user = turn.speaker is Speaker.USER
        if visible_turns == "user" and not is_user:
            continue
        ids = _turn_ids(tokenizer, turn.speaker, turn.text)
        if view.complete and i == last_user:
            ids += encode_text(tokenizer, f" {END_TOKEN}")
        segments.append(_Segment(turn=i, is_user=is_user, ids=ids))
    return segments


def _turn_ids(tokenizer: PreTrainedTokenizerBase, speaker: Speaker, text: str) -> tuple[int, ...]:
    return encode_text(tokenizer, _MARKERS[speaker]) + encode_text(tokenizer, f" {without_end(text)}")


def _context_ids(tokenizer: PreTrainedTokenizerBase, context: Context, *, max_tokens: int) -> tuple[int, ...]:
    ids: tuple[int, ...] = ()
    for skip_sessions in range(len(context.earlier_sessions) + 1):
        rendered = render_context(context, skip_sessions=skip_sessions)
        ids = encode_text(tokenizer, f"{rendered}\n") if rendered else ()
        if len(ids) <= max_tokens:
            break
    return ids[:max_tokens]


def _latest_that_fit(segments: Sequence[_Segment], room: int, num_newline_tokens: int) -> int:
    """How many of the last segments, each with its newline, take at most ``room`` tokens."""
    count = 0
    for segment in reversed(segments):
        room -= len(segment.ids) + num_newline_tokens
        if room < 0:
            break
        count += 1
    return count
