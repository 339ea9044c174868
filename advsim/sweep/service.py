"""How the chatbots of a sweep served it: time to a reply, tokens, and replies that did not come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np

from advsim.chatbots.cost import Cost, replies_cost
from advsim.config import PriceConfig
from advsim.records import Conversation, Effort, StopReason, chatbot_turns
from advsim.rollout.replay import ReplayedReply
from advsim.sweep.planning.items import Design
from advsim.sweep.planning.study import SweepPlan
from advsim.sweep.shards import Said, all_said

_MAX_REASONS = 5
_MIN_FOR_TAIL = 20
"""Replies that a 95th percentile needs: with fewer it is the slowest one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatbotService:
    """How one chatbot served a sweep, simulated conversations and replays together.

    Attributes:
        chatbot: its name.
        kind: of its configuration.
        num_replies: messages that came.
        num_from_cache: of these, those without a call (``calls.cache``); they took no time and no tokens, and are in no
            figure below.
        num_failed: messages that did not; they are in no failure rate.
        reasons: why not, the most frequent first, with how often.
        seconds_p50: median time to a reply; None where no time is known.
        seconds_p95: 95th percentile; None under 20 replies with a time.
        seconds_max: the slowest reply.
        num_prompt_tokens: as the chatbot told them.
        num_output_tokens: likewise.
        num_without_tokens: replies whose tokens it did not tell; the two counts and the cost lack them.
        cost: of the replies; None without a price, or where no tokens were told.
    """

    chatbot: str
    kind: str
    num_replies: int
    num_from_cache: int
    num_failed: int
    reasons: Mapping[str, int]
    seconds_p50: float | None
    seconds_p95: float | None
    seconds_max: float | None
    num_prompt_tokens: int
    num_output_tokens: int
    num_without_tokens: int
    cost: Cost | None = None  # files of older versions lack it

    @property
    def tells_tokens(self) -> bool:
        """Whether the tokens of any reply with a call are known."""
        return self.num_replies - self.num_from_cache > self.num_without_tokens


def services(study: SweepPlan) -> list[ChatbotService]:
    """How each chatbot of a sweep served it, over all that is there."""

    def said(chatbot: str, designs: Collection[Design]) -> Iterator[Said]:
        for design in study.designs:
            for cell in study.cells(design) if design in designs else ():
                if cell.chatbot == chatbot:
                    yield from all_said(study, cell)

    return [
        service(
            chatbot.name,
            chatbot.kind,
            cast(Iterator[Conversation], said(chatbot.name, {Design.FREE})),
            cast(Iterator[ReplayedReply], said(chatbot.name, {Design.REPLAY, Design.PAIRED})),
            price=chatbot.price,
        )
        for chatbot in study.chatbots
    ]


def service(
    chatbot: str,
    kind: str,
    conversations: Iterable[Conversation],
    replays: Iterable[ReplayedReply],
    *,
    price: PriceConfig | None = None,
) -> ChatbotService:
    """How one chatbot served; turns of which nothing is known, such as a real opening, are not counted."""
    times: list[float] = []
    efforts: list[Effort] = []
    num_from_cache = 0
    failed: Counter[str] = Counter()
    for talk in conversations:
        for _, turn in chatbot_turns(talk):
            if turn.effort is not None and turn.effort.is_from_cache:
                num_from_cache += 1
            elif turn.effort is not None:
                times.append(turn.effort.seconds)
                efforts.append(turn.effort)
        failed.update([talk.error or "no reason given"] if talk.stop_reason is StopReason.ERROR else [])
    for reply in replays:
        if reply.error:
            failed.update([reply.error])
        elif reply.seconds == 0.0:  # from the cache; None in files of older versions
            num_from_cache += 1
        else:
            times += [] if reply.seconds is None else [reply.seconds]
            efforts.append(_effort_of(reply))
    told = [effort for effort in efforts if effort.num_output_tokens is not None]
    p50, p95, longest = np.percentile(times, [50, 95, 100]).tolist() if times else (None, None, None)
    return ChatbotService(
        chatbot=chatbot,
        kind=kind,
        num_replies=len(efforts) + num_from_cache,
        num_from_cache=num_from_cache,
        num_failed=failed.total(),
        reasons=dict(failed.most_common(_MAX_REASONS)),
        seconds_p50=p50,
        seconds_p95=p95 if len(times) >= _MIN_FOR_TAIL else None,
        seconds_max=longest,
        num_prompt_tokens=sum(effort.num_prompt_tokens or 0 for effort in told),
        num_output_tokens=sum(effort.num_output_tokens or 0 for effort in told),
        num_without_tokens=len(efforts) - len(told),
        cost=replies_cost(told, price) if told else None,
    )


def _effort_of(reply: ReplayedReply) -> Effort:
    """What a replay took; a count of 0 was not told, as a prompt and a reply have at least one token."""
    return Effort(
        seconds=reply.seconds or 0.0,
        num_prompt_tokens=reply.num_prompt_tokens or None,
        num_output_tokens=reply.num_output_tokens or None,
    )
