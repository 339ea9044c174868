"""Speakers, chat-template roles, context layers and token-exact prompts. The only module that turns one into another.

The simulator plays the *user*, but a chat model is trained to write as ``assistant``: for the simulator the roles are
flipped, so that the user speaks as ``assistant`` and the chatbot as ``user``.

Token-exactness. Rendering a growing dialogue through a chat template and tokenising the whole string again may change
earlier tokens (templates that look at the last message, tokens that merge over a boundary). So a template is taken
apart once into constant *frames* (what stands before, between and after messages), each frame and each text is
tokenised by itself, and every sequence here is a concatenation of these pieces. Training and generation share them, and
a simulated turn keeps its sampled tokens: what is trained on is what was generated on, token for token. A template that
cannot be taken apart so is refused with the reason.

Control tokens in texts are taken as plain characters: nobody can write one into a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING

from advsim.errors import ConfigError, CorpusError
from advsim.records import Context, Dialogue, Speaker, TrainingExample, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

END_TOKEN = "[END]"
"""Ends the user's last message, as in the paper's reference code. Ordinary text, so that any tokenizer has it."""

OPENING_CUE = "(The chat is open. You write first.)"
"""Stands in the place of the chatbot's first message where the user writes first: templates want a user role first."""

CHATBOT_OPENING_CUE = "Hello."
"""What a chatbot that opened the dialogue is shown as the user's first message, for the same reason."""

IGNORED_LABEL = -100


def render_context(context: Context, *, skip_sessions: int = 0) -> str:
    """The context layers as text, one paragraph a layer, layers that are empty left out.

    Args:
        context: the layers.
        skip_sessions: leave out so many of the oldest session summaries.
    """
    layers = [
        ("About you", context.profile),
        ("Long-term themes", "; ".join(context.themes)),
        ("Earlier chats", "\n".join(context.earlier_sessions[skip_sessions:])),
        ("Today", context.session),
    ]
    return "\n".join(f"{title}: {text}" for title, text in layers if text)


def strip_end(text: str) -> tuple[str, bool]:
    """Text before the end token, stripped, and whether the end token was there."""
    before, found, _ = text.partition(END_TOKEN)
    return before.strip(), bool(found)


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    """Tokens of a text by itself, control tokens in it taken as plain characters."""
    # split_special_tokens splits no added tokens that are not marked special (Qwen's <think>, <tool_call>): a cut
    # behind their first character does.
    unsplit = _unsplit_tokens(tokenizer)
    cuts = [] if unsplit is None else [match.start() + 1 for match in unsplit.finditer(text)]
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return tuple(
        token
        for piece in pieces
        for token in tokenizer.encode(piece, add_special_tokens=False, split_special_tokens=True)
    )


def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Id and string of the tokens that no text may produce; added tokens of white space alone are ordinary text."""
    added = {token_id: str(token) for token_id, token in tokenizer.added_tokens_decoder.items()}
    special = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    return {token_id: name for token_id, name in (added | special).items() if name.strip()}


@lru_cache(maxsize=8)
def _unsplit_tokens(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str] | None:
    """Matches in front of control tokens that are not marked special; None where there are none."""
    names = set(_control_tokens(tokenizer).values()) - set(tokenizer.all_special_tokens)
    return re.compile(f"(?={'|'.join(re.escape(name) for name in sorted(names))})") if names else None


class ContextOverflowError(ValueError):
    """The context and the newest turn do not fit in the token budget, whatever history is dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """The constant token pieces of a chat template.

    A prompt is ``start + system + system_to_user + user + user_to_assistant + assistant + assistant_to_user + ...`` and
    ends with ``user_to_assistant``. Where the template has no system role, ``start`` and ``system_to_user`` are such
    that the system text is the head of the first user message.
    """

    start: tuple[int, ...]
    system_to_user: tuple[int, ...]
    user_to_assistant: tuple[int, ...]
    assistant_to_user: tuple[int, ...]
    end_of_turn: tuple[int, ...]  # head of assistant_to_user up to its first control token: ends a generated turn
    has_system_role: bool

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Frames:
        """Take the tokenizer's chat template apart.

        Raises:
            ConfigError: the template changes earlier messages, or ends a turn with no control token.
        """
        pieces = _template_pieces(tokenizer, with_system=True)
        has_system_role = pieces is not None
        if pieces is None:
            pieces = _template_pieces(tokenizer, with_system=False)
        if pieces is None:
            raise ConfigError(
                "the chat template renders a message differently according to what stands around it, so that training "
                "and generation would see different tokens; use a model (or a chat_template in its tokenizer) with "
                "plain alternating user and assistant messages"
            )
        start, system_to_user, user_to_assistant, assistant_to_user = (
            tuple(tokenizer.encode(piece, add_special_tokens=False)) for piece in pieces
        )
        control = _control_tokens(tokenizer)
        first = next((i for i, token in enumerate(assistant_to_user) if token in control), None)
        if first is None:
            raise ConfigError(
                "the chat template ends an assistant message with no control token, so a generated turn has no end; "
                "use a chat template whose messages end with a special token"
            )
        return cls(
            start=start,
            system_to_user=system_to_user,
            user_to_assistant=user_to_assistant,
            assistant_to_user=assistant_to_user,
            end_of_turn=assistant_to_user[: first + 1],
            has_system_role=has_system_role,
        )


def _template_pieces(tokenizer: PreTrainedTokenizerBase, *, with_system: bool) -> tuple[str, str, str, str] | None:
    """Strings of start, system_to_user, user_to_assistant, assistant_to_user; None if the template is not regular."""
    texts = _probe_texts(num_user_turns=3, with_system=with_system)
    between = _around(texts, _render(tokenizer, texts, with_system=with_system))
    if between is None:
        return None
    if not with_system:
        between.insert(1, "\n\n")  # the system text heads the first user message, parted by an empty line
    start, system_to_user, user_to_past_assistant, assistant_to_user = between[:4]
    # Llama 2 and Mistral put a space before an assistant's text that the prompt for it does not have: the model is to
    # write it. What the model sees when it writes is the frame; a text then stands without that space.
    user_to_assistant = between[-1]
    if user_to_past_assistant.rstrip() != user_to_assistant.rstrip():
        return None
    # One rendering does not show what depends on the number or the place of messages: try other lengths.
    for num_user_turns in (1, 2, 3, 5):
        texts = _probe_texts(num_user_turns=num_user_turns, with_system=with_system)
        expected = start + (f"{texts[0]}{system_to_user}" if with_system else "")
        *past, newest = texts[1:] if with_system else texts
        for i, text in enumerate(past):
            expected += text + (assistant_to_user if i % 2 else user_to_past_assistant)
        if _render(tokenizer, texts, with_system=with_system) != expected + newest + user_to_assistant:
            return None
    return start, system_to_user, user_to_assistant, assistant_to_user


def _around(texts: Sequence[str], rendered: str | None) -> list[str] | None:
    """What is printed before, between and behind the texts; None where nothing is, or a text does not stand in it."""
    if rendered is None:
        return None
    between, rest = [], rendered
    for text in texts:
        before, found, rest = rest.partition(text)
        if not found:
            return None
        between.append(before)
    return [*between, rest]


def _probe_texts(*, num_user_turns: int, with_system: bool) -> list[str]:
    """Texts found in no template: of the system (if any), then in turn of user and assistant, the user's last."""
    turns = [f"Q{'assistant' if i % 2 else 'user'}{i}of{num_user_turns}q" for i in range(2 * num_user_turns - 1)]
    return [f"Qsystem{num_user_turns}q", *turns] if with_system else turns


def _render(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, with_system: bool, **variables: bool
) -> str | None:
    """The template's prompt for the next assistant message; None where the template refuses the roles."""
    from jinja2.exceptions import TemplateError

    roles = ["system"] if with_system else []
    roles += ["user" if i % 2 == 0 else "assistant" for i in range(len(texts) - len(roles))]
    try:
        return str(
            tokenizer.apply_chat_template(
                [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)],
                tokenize=False,
                add_generation_prompt=True,
                # Some templates print today's date: frames must not change over a run.
                date_string=_FRAME_DATE.strftime("%d %b %Y"),
                strftime_now=_FRAME_DATE.strftime,
                **variables,
            )
        )
    except (TemplateError, TypeError, ValueError):
        return None


_FRAME_DATE = datetime(2026, 1, 1)


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
        return self._window(context, turns).ids(len(turns))

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

    def check_fits(self, dialogue: Dialogue) -> None:
        """Check that every user turn of a dialogue has a prompt.

        Raises:
            CorpusError: the context with one turn alone exceeds the budget; names the dialogue.
        """
        for position, turn in enumerate(dialogue.turns):
            if turn.speaker is Speaker.USER:
                self._window_of(dialogue, position)

    def training_examples(self, dialogue: Dialogue) -> list[TrainingExample]:
        """SFT sequences of a dialogue: loss on user turns (with end-of-turn token, and [END] in the last one) only.

        One sequence holds all turns that share a window; a dialogue that fits the budget gives one sequence. Every user
        turn carries loss exactly once, behind exactly the tokens that :meth:`prompt` gives for it.

        Raises:
            CorpusError: the context and one chatbot turn alone exceed the budget.
        """
        positions = [i for i, turn in enumerate(dialogue.turns) if turn.speaker is Speaker.USER]
        groups: list[tuple[_Window, list[int]]] = []
        for position in positions:
            window = self._window_of(dialogue, position)
            if groups and groups[-1][0].same_start(window):
                groups[-1] = (window, [*groups[-1][1], position])
            else:
                groups.append((window, [position]))
        return [self._example(dialogue, window, group, last_user_turn=positions[-1]) for window, group in groups]

    def _example(
        self, dialogue: Dialogue, window: _Window, positions: Sequence[int], *, last_user_turn: int
    ) -> TrainingExample:
        input_ids: list[int] = []
        labels: list[int] = []
        done = 0
        for position in positions:
            prompt = window.ids(position)
            labels.extend([IGNORED_LABEL] * (len(prompt) - done))
            text = self.turn_ids(dialogue.turns[position]) + (self.end_ids if position == last_user_turn else ())
            completion = self.completion(text, finished=True)
            input_ids = [*prompt, *completion]
            labels.extend(completion)
            done = len(input_ids)
        return TrainingExample(dialogue_id=dialogue.id, input_ids=tuple(input_ids), labels=tuple(labels))

    def _window_of(self, dialogue: Dialogue, position: int) -> _Window:
        try:
            return self._window(dialogue.context, dialogue.turns[:position])
        except ContextOverflowError as error:
            raise CorpusError(f"dialogue {dialogue.id}, turn {position}: {error}") from None

    def _window(self, context: Context, turns: Sequence[Turn]) -> _Window:
        sizes = [len(self.turn_ids(turn)) + self._frame_size(turn) for turn in turns]
        newest = [turn.speaker is Speaker.CHATBOT for turn in turns]
        head: tuple[int, ...] = ()
        for skip_sessions in range(len(context.earlier_sessions) + 1):
            head = self._head(context, skip_sessions=skip_sessions)
            first = _window_start(sizes, newest, space=self._budget_tokens - len(head) - self._opening_size)
            if first is None:
                continue
            if first and turns[first].speaker is Speaker.USER:
                first += 1  # a window that starts with the user would say that the user opens the chat
            return _Window(prompts=self, head=head, turns=turns, first=first, skip_sessions=skip_sessions)
        longest = max((size for size, is_newest in zip(sizes, newest, strict=True) if is_newest), default=0)
        raise ContextOverflowError(
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
        for turn in turns:
            ids.extend(self.turn_ids(turn))
            if turn.speaker is Speaker.USER:
                ids.extend(self.frames.assistant_to_user)
            else:
                ids.extend(self.frames.user_to_assistant)
        return tuple(ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """The part of a dialogue that a prompt shows: a head (context) and the turns from ``first`` on."""

    prompts: SimulatorPrompts
    head: tuple[int, ...]
    turns: Sequence[Turn]
    first: int
    skip_sessions: int

    def ids(self, position: int) -> tuple[int, ...]:
        return self.prompts.window_ids(self.head, self.turns[self.first : position])

    def same_start(self, other: _Window) -> bool:
        return (self.first, self.skip_sessions) == (other.first, other.skip_sessions)


def _window_start(sizes: Sequence[int], newest: Sequence[bool], *, space: int) -> int | None:
    """Index of the first turn shown. Depends on earlier turns only, so a longer dialogue moves it monotonically.

    Whenever the turns from ``first`` on exceed ``space``, ``first`` moves on until they fit half of it (or only the
    newest turn is left). None where even that one does not fit.

    Args:
        sizes: tokens of each turn with its frame, oldest first.
        newest: for each turn, whether a prompt can end with it; one that cannot may be dropped for being too long.
        space: tokens that turns may take.
    """
    if space < 0:
        return None
    first, used = 0, 0
    for position, (size, is_newest) in enumerate(zip(sizes, newest, strict=True)):
        used += size
        if used > space:
            while first < position and used > space // 2:
                used -= sizes[first]
                first += 1
        if used > space:
            if is_newest:
                return None
            first, used = position + 1, 0
    return first


class ChatbotPrompts:
    """Prompts of a chatbot under test: system prompt, examples, and the dialogue in its own roles, cut to the budget.

    Args:
        tokenizer: of the chatbot's model.
        system_prompt: its instructions.
        budget_tokens: longest prompt; the oldest turns of the dialogue go first, never the examples.
        examples: (user, chatbot) texts that stand in front of every dialogue.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        system_prompt: str,
        budget_tokens: int,
        examples: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._encode = lru_cache(maxsize=8192)(partial(encode_text, tokenizer))
        self._system_prompt = system_prompt
        self._budget_tokens = budget_tokens
        self._examples = tuple(examples)
        self.frames = Frames.of(tokenizer)

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        """Tokens that end a generated turn."""
        return (self.frames.end_of_turn[-1],)

    def messages(self, turns: Sequence[Turn]) -> list[dict[str, str]]:
        """The dialogue as chat messages, for engines that take text (endpoints, scripted)."""
        return [
            {"role": "system", "content": self._system_prompt},
            *({"role": _CHATBOT_ROLES[speaker], "content": text} for speaker, text in self._example_turns()),
            *({"role": _CHATBOT_ROLES[speaker], "content": text} for speaker, text in _shown_to_chatbot(turns)),
        ]

    def prompt(self, turns: Sequence[Turn]) -> tuple[int, ...]:
        """Prompt for the chatbot's reply to ``turns``, which end with the user's.

        Raises:
            ContextOverflowError: the system prompt, the examples and one user turn alone exceed the budget.
        """
        head = self.frames.start + self._encode(self._system_prompt) + self.frames.system_to_user
        head += tuple(token for speaker, text in self._example_turns() for token in self._piece(speaker, text))
        shown = _shown_to_chatbot(turns)
        pieces = [self._piece(speaker, text) for speaker, text in shown]
        newest = [speaker is Speaker.USER for speaker, _ in shown]
        first = _window_start([len(piece) for piece in pieces], newest, space=self._budget_tokens - len(head))
        if first is None:
            raise ContextOverflowError(
                f"the chatbot's system prompt and examples take {len(head)} tokens, which leaves no room for the "
                f"longest user message in a prompt of {self._budget_tokens}; shorten chatbot.system_prompt or "
                "chatbot.examples, or raise engine.max_model_len"
            )
        if first and shown[first][0] is Speaker.CHATBOT:
            first += 1
        return head + tuple(token for piece in pieces[first:] for token in piece)

    def _example_turns(self) -> list[tuple[Speaker, str]]:
        return [turn for user, reply in self._examples for turn in ((Speaker.USER, user), (Speaker.CHATBOT, reply))]

    def _piece(self, speaker: Speaker, text: str) -> tuple[int, ...]:
        after = self.frames.user_to_assistant if speaker is Speaker.USER else self.frames.assistant_to_user
        return self._encode(text) + after


_CHATBOT_ROLES = {Speaker.USER: "user", Speaker.CHATBOT: "assistant"}


def _shown_to_chatbot(turns: Sequence[Turn]) -> list[tuple[Speaker, str]]:
    """Speakers and texts, a cue in front where the chatbot opened the dialogue: templates want a user role first."""
    cue = [(Speaker.USER, CHATBOT_OPENING_CUE)] if turns and turns[0].speaker is Speaker.CHATBOT else []
    return cue + [(turn.speaker, turn.text) for turn in turns]


class QuestionPrompts:
    """Token-exact prompts of one instruction and one question, as a judge is asked.

    A question has no past, so that templates which render a message according to those around it are fine here. A model
    that would think before it answers is told not to, where its template knows ``enable_thinking``.

    Args:
        tokenizer: of the model that is asked.
        budget_tokens: tokens of a prompt at most.

    Raises:
        ConfigError: the chat template does not print the messages as they are.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, budget_tokens: int) -> None:
        pieces = _question_pieces(tokenizer)
        if pieces is None:
            raise ConfigError(
                "the chat template does not print a system and a user message as they are, so that they cannot be "
                "judged as they are; use a model (or a chat_template in its tokenizer) with plain messages"
            )
        self._frames = [tuple(tokenizer.encode(piece, add_special_tokens=False)) for piece in pieces]
        self._encode = lru_cache(maxsize=64)(partial(encode_text, tokenizer))  # instructions come again and again
        self._budget_tokens = budget_tokens

    def prompt(self, instruction: str, question: str) -> tuple[int, ...]:
        """Prompt for the answer to ``question``.

        Raises:
            ContextOverflowError: it exceeds the budget.
        """
        start, between, end = self._frames
        head = start + self._encode(instruction) + between
        prompt_ids = head + self._encode(question) + end
        if len(prompt_ids) > self._budget_tokens:
            raise ContextOverflowError(
                f"the prompt takes {len(prompt_ids)} tokens, {len(head)} of them instructions, but may take "
                f"{self._budget_tokens}"
            )
        return prompt_ids


def _question_pieces(tokenizer: PreTrainedTokenizerBase) -> list[str] | None:
    """Strings before the instruction, between it and the question, and behind that; None where texts are changed."""
    for with_system in (True, False):
        texts = _probe_texts(num_user_turns=1, with_system=with_system)
        pieces = _around(texts, _render(tokenizer, texts, with_system=with_system, enable_thinking=False))
        if pieces is not None:
            # without a system role the instruction heads the question, parted by an empty line
            return pieces if with_system else [pieces[0], "\n\n", pieces[1]]
    return None
