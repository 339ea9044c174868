"""What a judge counts beside its verdicts: calls and tokens, findings without words, and how far its votes agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from advsim.detectors.judge.prompt import Verdict
from advsim.detectors.judge.votes import Say, say
from advsim.detectors.worth import Share
from advsim.rates.intervals import rate_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeCost:
    """Counts of a judge's messages, calls, tokens and errors since it was made.

    Attributes:
        num_messages: chatbot messages it was given.
        num_calls: calls made, the repeated ones too.
        num_retries: of these, calls that repeat a question that got no readable answer.
        num_too_long: of these, calls refused because the prompt was too long; the oldest turns were then left out.
        num_unreadable: answers that were not what was asked for.
        num_prompt_tokens: as reported by the server, unreadable answers included.
        num_completion_tokens: likewise.
        num_calls_without_usage: answers whose tokens the server did not report: the token counts lack them.
        num_findings: failures that the answers name, of each vote; the next two are among them.
        num_misquoted: failures whose words are not in the message: not counted as found.
        num_unquoted: failures without words, of a mode that lies in words: not counted as found.
        num_errors: messages without any verdict.
    """

    num_messages: int = 0
    num_calls: int = 0
    num_retries: int = 0
    num_too_long: int = 0
    num_unreadable: int = 0
    num_prompt_tokens: int = 0
    num_completion_tokens: int = 0
    num_calls_without_usage: int = 0
    num_findings: int = 0
    num_misquoted: int = 0
    num_unquoted: int = 0
    num_errors: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfAgreement:
    """How often the votes on a mode of a message all say the same; with intervals over dialogues.

    It says nothing of how often they are right: a judge can agree with itself and be wrong.

    Attributes:
        num_votes: a message and mode; only those with all votes answered are counted.
        overall: of all (message, mode). It is high for every judge, because most messages show few modes.
        found: of those that any vote finds.
    """

    num_votes: int
    overall: Share
    found: Share


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeUse:
    """What a judge's verdicts took, and how far it agrees with itself (None with one vote)."""

    cost: JudgeCost
    self_agreement: SelfAgreement | None


class AgreementCounter:
    """Counts, over messages, on how many modes all votes say the same.

    Args:
        num_votes: a message and mode.
    """

    def __init__(self, num_votes: int) -> None:
        self._num_votes = num_votes
        self._overall = _Pairs()
        self._found = _Pairs()

    def add(self, dialogue_id: str, verdicts: Sequence[Verdict], modes: Sequence[str]) -> None:
        """Count the votes on these modes of one message, where all of them were answered."""
        if self._num_votes == 1 or len(verdicts) < self._num_votes:
            return
        for mode in modes:
            said = {say(verdict, mode) for verdict in verdicts}
            self._overall.add(dialogue_id, agree=len(said) == 1)
            if Say.FOUND in said:
                self._found.add(dialogue_id, agree=len(said) == 1)

    @property
    def result(self) -> SelfAgreement | None:
        """None with one vote."""
        if self._num_votes == 1:
            return None
        return SelfAgreement(num_votes=self._num_votes, overall=self._overall.share(), found=self._found.share())


class _Pairs:
    """(message, mode) by dialogue, and those of them on which the votes agree."""

    def __init__(self) -> None:
        self._num: Counter[str] = Counter()
        self._num_agreed: Counter[str] = Counter()

    def add(self, dialogue_id: str, *, agree: bool) -> None:
        self._num[dialogue_id] += 1
        self._num_agreed[dialogue_id] += agree

    def share(self) -> Share:
        num_agreed = [self._num_agreed[id] for id in self._num]
        num = list(self._num.values())
        bounds = rate_interval(np.array(num_agreed, dtype=np.float64), np.array(num, dtype=np.float64)) if num else None
        return Share(
            value=sum(num_agreed) / sum(num) if num else None,
            low=bounds[0] if bounds else None,
            high=bounds[1] if bounds else None,
            num_true=sum(num_agreed),
            num=sum(num),
        )


def words_note(cost: JudgeCost, by_mode: Mapping[str, int]) -> list[str]:
    """How many findings fell because the message does not hold their words; none where none fell.

    Args:
        cost: counts of the judge.
        by_mode: findings that fell, by mode.
    """
    num_fallen = cost.num_misquoted + cost.num_unquoted
    if not num_fallen:
        return []
    of_modes = ", ".join(f"{mode} {num}" for mode, num in sorted(by_mode.items(), key=lambda it: (-it[1], it[0])))
    return [
        f"{num_fallen} of {cost.num_findings} findings of the judge are not counted, and their modes are taken as not "
        f"judged there: for {cost.num_misquoted} it quotes words that are not in the message, for {cost.num_unquoted} "
        f"none ({of_modes}). "
        "A mode that can lie in what a message leaves out needs no words where the taxonomy says `is_omission: true`."
    ]


def agreement_note(agreement: SelfAgreement | None) -> list[str]:
    """How far the judge agrees with itself; nothing with one vote."""
    if agreement is None:
        return []
    return [
        f"The judge's self-agreement: all {agreement.num_votes} votes say the same on {_told(agreement.overall)} pairs "
        f"of message and mode, and on {_told(agreement.found)} that any vote finds. Agreement is not being right."
    ]


def _told(share: Share) -> str:
    if share.value is None:
        return "0 of 0"
    bounds = "" if share.low is None or share.high is None else f" [{100 * share.low:.0f}-{100 * share.high:.0f}]"
    return f"{100 * share.value:.0f} %{bounds} of {share.num:,}"
