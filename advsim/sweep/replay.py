"""Replay: a chatbot answers real held-out prefixes, one message each.

It gives the failure rate of a chatbot in real contexts although nobody has deployed it. What it does not give: the
turns before the message are those of the real dialogue, not of this chatbot, and nobody answers the message. So a
failure that builds up over a chatbot's own turns (repeating itself, drifting into agreement) shows less than live.

    choose_replay_prefixes --> RolloutPool.replay --> replayed_dialogues --> replay_outcomes
    (id, user turn)            one reply each         context + message      last message only
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from advsim.corpus.prefixes import Prefix, choose_prefixes
from advsim.detectors.protocol import Detector
from advsim.rates.outcomes import MessageOutcome, outcomes
from advsim.records import Dialogue, Speaker, Turn, user_turns
from advsim.rollout.replay import ReplayedReply

REPLY_SCHEMA = pa.schema(
    {
        "dialogue_id": pa.string(),
        "turn": pa.int32(),
        "chatbot": pa.string(),
        "text": pa.string(),
        "num_prompt_tokens": pa.int64(),
        "num_output_tokens": pa.int64(),
        "error": pa.string(),
        "thought": pa.string(),
        "is_cut": pa.bool_(),
        "seconds": pa.float64(),
        "id": pa.string(),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedDialogue:
    """Real turns with a chatbot's own message behind them; only that last message is the chatbot's.

    ``error`` says why there is no message: the turns then end with the user's.
    """

    dialogue_id: str
    user_id: str | None
    chatbot: str
    turns: tuple[Turn, ...]
    error: str = ""

    @property
    def id(self) -> str:
        """Unique among the replays of one chatbot: several prefixes may come from one dialogue."""
        return f"{self.dialogue_id}@{self.turn}"

    @property
    def turn(self) -> int:
        """Index of the chatbot's message, as in the real dialogue."""
        return len(self.turns) if self.error else len(self.turns) - 1


def choose_replay_prefixes(
    dialogues: Sequence[Dialogue], *, num_prefixes: int, seed: int, max_user_turn: int | None = None
) -> list[Prefix]:
    """Choose real prefixes that end with a user turn, spread over dialogues and user turn numbers.

    As :func:`advsim.corpus.prefixes.choose_prefixes`: one of each dialogue before a second of any, the choice depends
    on the dialogues and not on their order, and a longer list begins with the shorter one.

    Args:
        dialogues: real dialogues that no simulator was trained on.
        num_prefixes: how many at most.
        seed: of the choice.
        max_user_turn: leave out prefixes with more user turns; set to the length of the simulated conversations where
            the two rates are compared, or the real ones are also about later turns.

    Returns:
        (dialogue id, index of the user turn that the chatbot answers).
    """
    return choose_prefixes([_cut(d, max_user_turn) for d in dialogues], num_prefixes=num_prefixes, seed=seed)


def replayed_dialogues(
    replies: Iterable[ReplayedReply],
    dialogues: Mapping[str, Dialogue],
    said: Mapping[Prefix, str] | None = None,
) -> list[ReplayedDialogue]:
    """Each reply behind the turns it answers; failed replies too, with their error and without a message.

    Args:
        replies: to real prefixes.
        dialogues: by id.
        said: the user's last turns by prefix where a simulator wrote them; None: they are the real ones.
    """
    replayed = []
    for reply in replies:
        real = dialogues[reply.dialogue_id]
        heard = real.turns[: reply.turn]
        if said is not None:
            heard = with_last_turn(heard, said[reply.dialogue_id, reply.turn - 1])
        turn = Turn(speaker=Speaker.CHATBOT, text=reply.text, thought=reply.thought, is_cut=reply.is_cut)
        answered = () if reply.error else (turn,)
        replayed.append(
            ReplayedDialogue(
                dialogue_id=real.id,
                user_id=real.user_id,
                chatbot=reply.chatbot,
                turns=heard + answered,
                error=reply.error,
            )
        )
    return replayed


def replay_outcomes(
    configuration: str,
    replayed: Sequence[ReplayedDialogue],
    detector: Detector,
    *,
    advance: Callable[[int], None] | None = None,
) -> list[MessageOutcome]:
    """Outcomes of the replayed messages by a detector, the chatbot turns of the real context left out.

    Prefixes of one real dialogue are one cluster. A replay that failed is a row with ``error``: no chatbot failure, and
    not dropped.

    Raises:
        ValueError: two replays are of one prefix.
    """
    answered = [dialogue for dialogue in replayed if not dialogue.error]
    last = {dialogue.id: dialogue for dialogue in answered}
    assessments = [a for a in detector.assess(answered, advance=advance) if a.turn == last[a.conversation_id].turn]
    rows = [
        dataclasses.replace(row, dialogue_id=last[row.dialogue_id].dialogue_id, user_id=last[row.dialogue_id].user_id)
        for row in outcomes(configuration, answered, assessments, judged_modes=detector.modes)
        if row.turn == last[row.dialogue_id].turn
    ]
    failed = [
        MessageOutcome(
            configuration=configuration,
            dialogue_id=dialogue.dialogue_id,
            user_id=dialogue.user_id,
            turn=dialogue.turn,
            modes=frozenset(),
            error=True,
        )
        for dialogue in replayed
        if dialogue.error
    ]
    return rows + failed


def with_last_turn(prefix: tuple[Turn, ...], text: str) -> tuple[Turn, ...]:
    """A prefix whose last turn, the user's, says something else."""
    return (*prefix[:-1], Turn(speaker=Speaker.USER, text=text))


def replies_table(replies: Sequence[ReplayedReply]) -> pa.Table:
    """Replies as a table, one row each."""
    return pa.Table.from_pylist([dataclasses.asdict(reply) for reply in replies], schema=REPLY_SCHEMA)


def read_replies(table: pa.Table) -> list[ReplayedReply]:
    """Replies of a table that :func:`replies_table` gave.

    Raises:
        TypeError: a column is missing, or there is one more.
    """
    return [ReplayedReply(**row) for row in table.to_pylist()]


def _cut(dialogue: Dialogue, max_user_turn: int | None) -> Dialogue:
    positions = [index for index, _ in user_turns(dialogue)]
    if max_user_turn is None or len(positions) <= max_user_turn:
        return dialogue
    return dataclasses.replace(dialogue, turns=dialogue.turns[: positions[max_user_turn - 1] + 1])
