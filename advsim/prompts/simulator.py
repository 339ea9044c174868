"""Token-exact prompts and training sequences of the simulator, which plays the user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING

from advsim.errors import CorpusError
from advsim.prompts.frames import Frames
from advsim.prompts.text import END_TOKEN, IGNORED_LABEL, encode_text, render_context
from advsim.prompts.window import ContextOverflowError, GrowingWindow
from advsim.records import Context, Dialogue, Speaker, TrainingExample, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OPENING_CUE = "(The chat is open. You write first.)"
"""Stands in the place of the chatbot's first message where the user writes first: templates want a user role first."""


class SimulatorPrompts:
    """Token-exact prompts and training sequences of the simulator.

    History that does not fit is dropped oldest first, in blocks down to half the budget: the start of the prompt then
    stays the same over several turns, which keeps the engine's prefix cache and lets a training sequence hold them all.
    The instructions, the profile and this session's summary always stay; earlier sessions are dropped after history.

    Args:
        tokenizer: of the simulator's model.
        instructions: the simulator's instructions, the first layer of the system text.
        budget_tokens: tokens of a prompt at most (context, history and frames; not the answer).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, instructions: str, budget_tokens: int) -> None:
        self._encode = lru_cache(maxsize=8192)(partial(encode_text, tokenizer))
        self._instructions = instructions
        self._budget_tokens = budget_tokens
        self.frames = Frames.of(tokenizer)

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        """Tokens of the end token behind a text."""
        return self.text_ids(" " + END_TOKEN)

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        """Tokens that end a generated turn."""
        return (self.frames.end_of_turn[-1],)

    def text_ids(self, text: str) -> tuple[int, ...]:
        """Tokens of a text, control tokens in it taken as plain characters."""
        return self._encode(text)

    def turn_ids(self, turn: Turn) -> tuple[int, ...]:
        """Tokens of a turn's text: the sampled ones where the simulator wrote it."""
        if turn.speaker is Speaker.USER and turn.token_ids:
            return self._unended(turn.token_ids)
        return self.text_ids(turn.text)

    def prompt(self, context: Context, turns: Sequence[Turn]) -> tuple[int, ...]:
        """Prompt for the next user turn after ``turns`` (which are empty or end with the chatbot's).

        Raises:
            ContextOverflowError: the context and one chatbot turn alone exceed the budget.
        """
        assert not turns or turns[-1].speaker is Speaker.CHATBOT, "the simulator speaks after the chatbot"
        *_, window = self._windows(context, turns)
        if window is None:
            raise ContextOverflowError(self._overflow(context, turns))
        return self.window_ids(window.head, turns[window.first :])

    def completion(self, token_ids: Sequence[int], *, finished: bool) -> tuple[int, ...]:
        """Training tokens of a sampled turn: its own, and the end-of-turn token where it ended by itself."""
        if not finished:
            return tuple(token_ids)
        return self._unended(token_ids) + self.frames.end_of_turn

    def _unended(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        """Sampled tokens without what some templates print before the end-of-turn token (Llama 2: a space)."""
        tail = self.frames.end_of_turn[:-1]
        ids = tuple(token_ids)
        return ids[: -len(tail)] if tail and ids[-len(tail) :] == tail else ids

    def num_fitting_turns(self, dialogue: Dialogue) -> int:
        """Turns of a dialogue's longest beginning in which every user turn has a prompt; all, or up to a user's.

        0 where not even the first user turn has one.
        """
        fitting = 0
        for position, (turn, window) in enumerate(
            zip(dialogue.turns, self._windows(dialogue.context, dialogue.turns), strict=False)
        ):
            if turn.speaker is Speaker.USER:
                if window is None:
                    return fitting
                fitting = position + 1
        return len(dialogue.turns)

    def check_fits(self, dialogue: Dialogue) -> None:
        """Check that every user turn of a dialogue has a prompt.

        Raises:
            CorpusError: the context with one turn alone exceeds the budget; names the dialogue.
        """
        self._user_windows(dialogue)

    def training_examples(self, dialogue: Dialogue) -> list[TrainingExample]:
        """SFT sequences of a dialogue: loss on user turns (with end-of-turn token, and [END] in the last one) only.

        One sequence holds all turns that share a window; a dialogue that fits the budget gives one sequence. Every user
        turn carries loss exactly once, behind exactly the tokens that :meth:`prompt` gives for it.

        Raises:
            CorpusError: the context and one chatbot turn alone exceed the budget.
        """
        groups: list[tuple[_Window, list[int]]] = []
        last_user_turn = 0
        for position, window in self._user_windows(dialogue):
            if groups and groups[-1][0] == window:
                groups[-1][1].append(position)
            else:
                groups.append((window, [position]))
            last_user_turn = position
        return [self._example(dialogue, window, group, last_user_turn=last_user_turn) for window, group in groups]

    def _example(
        self, dialogue: Dialogue, window: _Window, positions: Sequence[int], *, last_user_turn: int
    ) -> TrainingExample:
        turns = dialogue.turns
        input_ids = list(self.window_ids(window.head, turns[window.first : positions[0]]))
        labels = [IGNORED_LABEL] * len(input_ids)
        for position, following in zip(positions, [*positions[1:], None], strict=True):
            text = self.turn_ids(turns[position]) + (self.end_ids if position == last_user_turn else ())
            completion = self.completion(text, finished=True)
            input_ids += completion
            labels += completion
            if following is not None:
                # a completion is how the turn and its frame begin: the rest of the frame and the reply go behind it
                rest = self._turns_ids(turns[position:following])[len(completion) :]
                input_ids += rest
                labels += [IGNORED_LABEL] * len(rest)
        return TrainingExample(dialogue_id=dialogue.id, input_ids=tuple(input_ids), labels=tuple(labels))

    def _user_windows(self, dialogue: Dialogue) -> list[tuple[int, _Window]]:
        """The position and the window of each user turn.

        Raises:
            CorpusError: one has none.
        """
        found = []
        turns = dialogue.turns
        for position, window in enumerate(self._windows(dialogue.context, turns)):
            if position == len(turns) or turns[position].speaker is Speaker.CHATBOT:
                continue
            if window is None:
                reason = self._overflow(dialogue.context, turns[:position])
                raise CorpusError(f"dialogue {dialogue.id}, turn {position}: {reason}")
            found.append((position, window))
        return found

    def _windows(self, context: Context, turns: Sequence[Turn]) -> Iterator[_Window | None]:
        """The window of a prompt behind the first 0, 1, 2, ... turns; None from where nothing fits on."""
        sizes = [len(self.turn_ids(turn)) + self._frame_size(turn) for turn in turns]
        newest = [turn.speaker is Speaker.CHATBOT for turn in turns]
        skip_sessions = 0
        head = self._head(context, skip_sessions=0)
        window = GrowingWindow(space=self._budget_tokens - len(head) - self._opening_size)
        for num_turns in range(len(turns) + 1):
            if num_turns:
                window.push(sizes[num_turns - 1], is_newest=newest[num_turns - 1])
            while window.first is None and skip_sessions < len(context.earlier_sessions):
                skip_sessions += 1
                head = self._head(context, skip_sessions=skip_sessions)
                window = GrowingWindow(space=self._budget_tokens - len(head) - self._opening_size)
                for size, is_newest in zip(sizes[:num_turns], newest[:num_turns], strict=True):
                    window.push(size, is_newest=is_newest)
            first = window.first
            if first is None:
                yield None
                continue
            if 0 < first < num_turns and turns[first].speaker is Speaker.USER:
                first += 1  # a window that starts with the user would say that the user opens the chat
            yield _Window(head=head, first=first, skip_sessions=skip_sessions)

    def _overflow(self, context: Context, turns: Sequence[Turn]) -> str:
        head = self._head(context, skip_sessions=len(context.earlier_sessions))
        newest = [turn for turn in turns if turn.speaker is Speaker.CHATBOT]
        longest = max((len(self.turn_ids(turn)) + self._frame_size(turn) for turn in newest), default=0)
        return (
            f"the context takes {len(head) + self._opening_size} tokens and the longest chatbot turn {longest}, but a "
            f"prompt may have {self._budget_tokens}; shorten the profile or session summary, or raise "
            "engine.max_model_len or prompt.max_context_tokens"
        )

    @cached_property
    def _opening_size(self) -> int:
        return len(self.text_ids(OPENING_CUE)) + len(self.frames.user_to_assistant)

    def _frame_size(self, turn: Turn) -> int:
        frame = self.frames.assistant_to_user if turn.speaker is Speaker.USER else self.frames.user_to_assistant
        return len(frame)

    def _head(self, context: Context, *, skip_sessions: int) -> tuple[int, ...]:
        layers = render_context(context, skip_sessions=skip_sessions)
        system = f"{self._instructions}\n\n{layers}" if layers else self._instructions
        return self.frames.start + self.text_ids(system) + self.frames.system_to_user

    def window_ids(self, head: tuple[int, ...], turns: Sequence[Turn]) -> tuple[int, ...]:
        """Head and turns as one token sequence that ends with the frame in which the user's next turn begins."""
        ids = list(head)
        if not turns or turns[0].speaker is Speaker.USER:
            ids.extend(self.text_ids(OPENING_CUE))
            ids.extend(self.frames.user_to_assistant)
        return (*ids, *self._turns_ids(turns))

    def _turns_ids(self, turns: Sequence[Turn]) -> tuple[int, ...]:
        ids: list[int] = []
        for turn in turns:
            ids.extend(self.turn_ids(turn))
            is_user = turn.speaker is Speaker.USER
            ids.extend(self.frames.assistant_to_user if is_user else self.frames.user_to_assistant)
        return tuple(ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """The part of a dialogue that a prompt shows: a head (context) and the turns from ``first`` on."""

    head: tuple[int, ...]
    first: int
    skip_sessions: int
