"""Frozen records that pass between the stages. Standard library only.

A *dialogue* is real (from a corpus); a *conversation* is simulated. Both are sequences of turns; a *turn* is everything
one speaker says before the other answers. Turn indices count all turns of both speakers from 0. The *user turn number*
counts the user's turns alone from 1, as in "accuracy at user turns 1, 2, 5, 10".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Speaker(StrEnum):
    """Who wrote a turn. Chat-template roles are another thing: see :mod:`advsim.prompts.frames`."""

    USER = "user"
    CHATBOT = "chatbot"


class Split(StrEnum):
    """Part of the corpus a dialogue belongs to; stable over runs (a hash of the user, else of the dialogue)."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class StopReason(StrEnum):
    """Why a simulated conversation ended."""

    END_TOKEN = "end_token"
    MAX_TURNS = "max_turns"
    CONTEXT_OVERFLOW = "context_overflow"
    EMPTY_TURN = "empty_turn"
    ROLE_BREAK = "role_break"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the simulator knows of the user, in layers (arXiv 2512.20773). A layer a corpus lacks stays empty."""

    profile: str = ""
    themes: tuple[str, ...] = ()  # long-term themes over sessions
    earlier_sessions: tuple[str, ...] = ()  # summaries, oldest first
    session: str = ""  # summary of this session: what brings the user today


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What a chatbot's reply took. Token counts are None where the chatbot does not tell them.

    A reply without a call, because an equal request was answered before (``calls.cache``), took nothing: all is 0.
    """

    seconds: float  # from the call to the whole reply; of repeated calls the last one; 0 only without a call
    num_prompt_tokens: int | None = None
    num_output_tokens: int | None = None

    @property
    def is_from_cache(self) -> bool:
        """Whether there was no call."""
        return self.seconds == 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One speaker's turn.

    Attributes:
        speaker: who wrote it.
        text: what was said to the other; empty for a chatbot turn of which there is only a thought (a failed reply).
        labels: of the corpus.
        token_ids: the sampled tokens of a simulated user turn, without end-of-turn token.
        thought: what a reasoning chatbot wrote before it spoke; nobody reads it and it is not judged.
        is_cut: the text was cut, at the speaker's token limit or by an endpoint's filter.
        effort: what it took; of chatbot turns that were made here. Turns that say the same are equal whatever it was.
    """

    speaker: Speaker
    text: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    token_ids: tuple[int, ...] = ()
    thought: str = ""
    is_cut: bool = False
    effort: Effort | None = field(default=None, compare=False)


class HasTurns(Protocol):
    """What real dialogues and simulated conversations have in common."""

    @property
    def id(self) -> str:
        """Unique id."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Turns, oldest first, speakers alternating."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """A real dialogue. Speakers alternate; there is at least one user turn.

    ``chatbot`` names the configuration that answered, where a log holds several; None: the one of its corpus.
    """

    id: str
    source: str
    split: Split
    user_id: str | None = None
    chatbot: str | None = None
    context: Context = Context()
    turns: tuple[Turn, ...] = ()
    outcome: Mapping[str, str] = field(default_factory=dict)

    @property
    def scenario(self) -> Scenario:
        """The context of this dialogue, for the simulator to start from."""
        return Scenario(id=self.id, context=self.context, opens_with=self.turns[0].speaker, opening=self.opening)

    @property
    def opening(self) -> str:
        """The chatbot's first turn where the chatbot opened the dialogue, else an empty string."""
        return self.turns[0].text if self.turns[0].speaker is Speaker.CHATBOT else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What a simulated conversation starts from. ``id`` is the id of the real dialogue whose context it is."""

    id: str
    context: Context
    opens_with: Speaker = Speaker.USER
    opening: str = ""  # the real chatbot's opening turn, used as the first turn where it opened


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterRef:
    """A LoRA adapter: version 0 is the SFT adapter, version r that of round r. ``path`` is relative to the run."""

    version: int
    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A simulated conversation, stamped with the adapter that spoke the user's part."""

    id: str
    scenario_id: str
    chatbot: str
    simulator_version: int
    simulator_sha256: str
    turns: tuple[Turn, ...]
    stop_reason: StopReason
    num_prompt_tokens: int
    num_output_tokens: int
    num_regenerated: int = 0  # user turns that were drawn again because they were empty or broke the role
    seed: int
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredTurn:
    """A user turn with the discriminator's probability that it is real, and its reward."""

    conversation_id: str
    turn: int
    user_turn: int
    p_real: float
    reward: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One possible text for a user turn on a fixed prefix. Index 0 is the text the conversation has."""

    conversation_id: str
    turn: int
    index: int
    text: str
    token_ids: tuple[int, ...]
    finished: bool  # ended by itself, not cut at the token limit
    simulator_version: int
    p_real: float = float("nan")
    reward: float = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingExample:
    """One SFT sequence. ``labels`` has the token id where the loss counts (user turns), -100 elsewhere; same length."""

    dialogue_id: str
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencePair:
    """Two texts for the same prefix, token-exact. Completions end with the end-of-turn token where they finished."""

    conversation_id: str
    turn: int
    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    chosen: str
    rejected: str
    chosen_reward: float
    rejected_reward: float
    margin: float
    simulator_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A proportion-like figure with its interval and n. Bounds are None where n is too small to give them."""

    value: float | None
    low: float | None
    high: float | None
    num_turns: int
    num_dialogues: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NextTurn:
    """A user turn written by somebody or something on the real prefix ``dialogue.turns[:turn]``."""

    dialogue_id: str
    turn: int
    text: str
    finished: bool = True


class Visibility(StrEnum):
    """Whether a failure shows in the message itself or only over the course of the dialogue."""

    MESSAGE = "message"
    TRAJECTORY = "trajectory"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureLabel:
    """A failure that a detector found in one chatbot message."""

    conversation_id: str  # id of the dialogue or conversation
    turn: int  # index of the chatbot turn
    mode: str  # id of the mode in the taxonomy
    severity: int  # 1 minor, 2 moderate, 3 severe
    span: str  # the words that show it, as they stand in the message; empty where something is absent
    detector: str
    confidence: float  # probability that the label is right, 0 to 1
    visibility: Visibility = Visibility.MESSAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What one detector says of one chatbot message. No label and no abstention means: no failure found.

    ``abstained`` are modes on which the detector gives no verdict; they are neither failures nor passes. ``error`` is
    set where the message could not be judged at all (time-out, unreadable answer): all modes count as abstained.
    ``other_language`` names the language (in English) of a message that the detector abstains from because it does
    not know that language; empty otherwise.
    """

    conversation_id: str
    turn: int
    detector: str
    labels: tuple[FailureLabel, ...] = ()
    abstained: tuple[str, ...] = ()
    error: str = ""
    other_language: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorCounts:
    """A detector against labelled messages, for one mode and one kind of text: the counts of its two-by-two table."""

    mode: str
    text: str  # "real", "simulated" or "written" (composed for calibration)
    num_true_positive: int
    num_false_negative: int
    num_true_negative: int
    num_false_positive: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A failure rate: failing chatbot messages / judged chatbot messages, with its interval and both n.

    Bounds are None where there are too few dialogues for an interval; ``estimate`` is None without a judged message.
    ``num_not_judged`` messages (abstentions, infrastructure) are outside of the rate and stand beside it.
    """

    estimate: float | None
    low: float | None
    high: float | None
    num_messages: int
    num_dialogues: int
    num_not_judged: int = 0


def user_turns(holder: HasTurns) -> list[tuple[int, Turn]]:
    """(index, turn) of each user turn of a dialogue or conversation, oldest first."""
    return [(i, turn) for i, turn in enumerate(holder.turns) if turn.speaker is Speaker.USER]


def chatbot_turns(holder: HasTurns) -> list[tuple[int, Turn]]:
    """(index, turn) of each chatbot turn of a dialogue or conversation, oldest first."""
    return [(i, turn) for i, turn in enumerate(holder.turns) if turn.speaker is Speaker.CHATBOT]
