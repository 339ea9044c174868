"""Roles, frames and token-exact prompts, over re-creations of the chat templates in use."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from tiny import CHATML, build_tokenizer
from transformers import PreTrainedTokenizerFast

from advsim.errors import ConfigError, CorpusError
from advsim.prompts.chatbot import CHATBOT_OPENING_CUE, ChatbotPrompts
from advsim.prompts.frames import Frames
from advsim.prompts.question import QuestionPrompts
from advsim.prompts.simulator import OPENING_CUE, SimulatorPrompts
from advsim.prompts.text import END_TOKEN, IGNORED_LABEL, encode_text, render_context, strip_end
from advsim.prompts.window import ContextOverflowError
from advsim.records import Context, Dialogue, Speaker, Split, TrainingExample, Turn

LLAMA_3 = """{{- bos_token }}
{%- if not date_string is defined %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}{%- set messages = messages[1:] %}
{%- else %}{%- set system_message = "" %}{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Cutting Knowledge Date: December 2023\\nToday Date: " + date_string + "\\n\\n" }}
{{- system_message }}{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""

MISTRAL = """{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] %}{%- set loop_messages = messages[1:] %}
{%- else %}{%- set loop_messages = messages %}{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {{- '[INST] ' }}
        {%- if loop.first and system_message is defined %}{{- system_message + '\\n\\n' }}{%- endif %}
        {{- message['content'] + ' [/INST]' }}
    {%- else %}{{- ' ' + message['content'] + '</s>' }}{%- endif %}
{%- endfor %}"""

# As MISTRAL, but the system text stands in the last user message: it moves as the dialogue grows.
MISTRAL_LAST = MISTRAL.replace("loop.first and system_message", "loop.last and system_message")

LLAMA_2 = """{%- if messages[0]['role'] == 'system' %}
    {%- set loop_messages = messages[1:] %}{%- set system_message = messages[0]['content'] %}
{%- else %}{%- set loop_messages = messages %}{%- set system_message = false %}{%- endif %}
{%- for message in loop_messages %}
    {%- if loop.first and system_message %}
        {%- set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}
    {%- else %}{%- set content = message['content'] %}{%- endif %}
    {%- if message['role'] == 'user' %}{{- bos_token + '[INST] ' + content + ' [/INST]' }}
    {%- else %}{{- ' ' + content + ' ' + eos_token }}{%- endif %}
{%- endfor %}"""

GEMMA = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}{{- raise_exception('System role not supported') }}{%- endif %}
{%- for message in messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}
    {{- '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\\n' }}{%- endif %}"""

QWEN_25 = """{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{%- endif %}
{%- for message in messages %}
    {%- if message.role != 'system' %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

# An assistant message behind the last user message is printed with a think block, earlier ones without.
QWEN_3 = """{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(last_query=messages|length - 1) %}
{%- for message in messages %}
    {%- if message.role == 'user' %}{%- set ns.last_query = loop.index0 %}{%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'user' %}{{- '<|im_start|>user\\n' + message.content + '<|im_end|>\\n' }}
    {%- elif message.role == 'assistant' %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.last_query %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
        {{- message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}"""

PHI_3 = """{%- for message in messages %}
    {%- if message['role'] in ['system', 'user', 'assistant'] %}
        {{- '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>\\n' }}{%- else %}{{- eos_token }}{%- endif %}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A chat template with the control tokens that it prints."""

    template: str
    control: tuple[str, ...]
    bos: str | None = None
    eos: str
    end_of_turn: str  # what a user turn is trained to end with
    has_system_role: bool = True


FAMILIES = {
    "chatml": Family(
        template=CHATML, control=("<|im_start|>", "<|im_end|>"), eos="<|im_end|>", end_of_turn="<|im_end|>"
    ),
    "llama3": Family(
        template=LLAMA_3,
        control=("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
        end_of_turn="<|eot_id|>",
    ),
    "mistral": Family(
        template=MISTRAL, control=("<s>", "</s>", "[INST]", "[/INST]"), bos="<s>", eos="</s>", end_of_turn="</s>"
    ),
    "mistral_last": Family(
        template=MISTRAL_LAST,
        control=("<s>", "</s>", "[INST]", "[/INST]"),
        bos="<s>",
        eos="</s>",
        end_of_turn="</s>",
        has_system_role=False,
    ),
    "llama2": Family(template=LLAMA_2, control=("<s>", "</s>"), bos="<s>", eos="</s>", end_of_turn=" </s>"),
    "gemma": Family(
        template=GEMMA,
        control=("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        bos="<bos>",
        eos="<eos>",
        end_of_turn="<end_of_turn>",
        has_system_role=False,
    ),
    "qwen2.5": Family(
        template=QWEN_25,
        control=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        eos="<|im_end|>",
        end_of_turn="<|im_end|>",
    ),
    "qwen3": Family(
        template=QWEN_3,
        control=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        eos="<|im_end|>",
        end_of_turn="<|im_end|>",
    ),
    "phi3": Family(
        template=PHI_3,
        control=("<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        bos="<s>",
        eos="<|endoftext|>",
        end_of_turn="<|end|>",
    ),
}

INSTRUCTIONS = "Play the person."
CONTEXT = Context(
    profile="a nurse of 34",
    themes=("sleep", "work"),
    earlier_sessions=("panic before exams", "argument with a sister"),
    session="feels low",
)


def tokenizer_of(family: Family) -> PreTrainedTokenizerFast:
    return build_tokenizer(
        family.control,
        chat_template=family.template,
        eos_token=family.eos,
        pad_token=family.eos,
        bos_token=family.bos,
    )


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def tokenizer(family: Family) -> PreTrainedTokenizerFast:
    return tokenizer_of(family)


@pytest.fixture(scope="module")
def chatml() -> PreTrainedTokenizerFast:
    return tokenizer_of(FAMILIES["chatml"])


def simulator(tokenizer: PreTrainedTokenizerFast, budget_tokens: int = 1000) -> SimulatorPrompts:
    return SimulatorPrompts(tokenizer, instructions=INSTRUCTIONS, budget_tokens=budget_tokens)


def dialogue_of(*texts: str, opens_with: Speaker = Speaker.USER, context: Context = CONTEXT) -> Dialogue:
    second = Speaker.CHATBOT if opens_with is Speaker.USER else Speaker.USER
    turns = tuple(Turn(speaker=(opens_with, second)[i % 2], text=text) for i, text in enumerate(texts))
    return Dialogue(id="d1", source="test", split=Split.TRAIN, context=context, turns=turns)


USER_OPENS = dialogue_of(
    "I can't sleep.", "What is on your mind?", "exams, mostly", "That sounds hard.", "ok thanks 😀"
)
CHATBOT_OPENS = dialogue_of("Hi, how are you?", "idk... bad", "Why?", "my boss", "I see.", opens_with=Speaker.CHATBOT)


def labelled_runs(example: TrainingExample) -> list[tuple[int, tuple[int, ...]]]:
    """(start, tokens) of each stretch of tokens that carry loss."""
    runs: list[tuple[int, list[int]]] = []
    for i, label in enumerate(example.labels):
        if label == IGNORED_LABEL:
            continue
        assert label == example.input_ids[i]
        if i and example.labels[i - 1] != IGNORED_LABEL:
            runs[-1][1].append(label)
        else:
            runs.append((i, [label]))
    return [(start, tuple(tokens)) for start, tokens in runs]


def system_text(context: Context = CONTEXT) -> str:
    return f"{INSTRUCTIONS}\n\n{render_context(context)}"


def rendered(
    tokenizer: PreTrainedTokenizerFast, family: Family, system: str, messages: Sequence[tuple[str, str]]
) -> str:
    """What the template itself makes of a dialogue, but for a space that a model is to write before its text.

    The system text heads the first user message where the template has no system role.
    """
    chat = [{"role": role, "content": text} for role, text in messages]
    if family.has_system_role:
        chat.insert(0, {"role": "system", "content": system})
    else:
        chat[0]["content"] = f"{system}\n\n{chat[0]['content']}"
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, date_string="01 Jan 2026")
    assert isinstance(text, str)
    return text.replace("[/INST] ", "[/INST]")


class TestFrames:
    def test_system_role_is_recognised(self, tokenizer: PreTrainedTokenizerFast, family: Family) -> None:
        assert Frames.of(tokenizer).has_system_role is family.has_system_role

    def test_a_turn_ends_with_the_templates_own_end(self, tokenizer: PreTrainedTokenizerFast, family: Family) -> None:
        assert tokenizer.decode(Frames.of(tokenizer).end_of_turn) == family.end_of_turn

    def test_stop_token_is_the_end_of_turn_token(self, tokenizer: PreTrainedTokenizerFast, family: Family) -> None:
        end = tokenizer.convert_tokens_to_ids(family.end_of_turn.strip())
        assert simulator(tokenizer).stop_token_ids == (end,)

    def test_control_tokens_of_frames_are_single_tokens(self, tokenizer: PreTrainedTokenizerFast) -> None:
        frames = Frames.of(tokenizer)
        joined = frames.start + frames.system_to_user + frames.user_to_assistant + frames.assistant_to_user
        printed = tokenizer.decode(joined)
        for token_id, token in tokenizer.added_tokens_decoder.items():
            assert joined.count(token_id) == printed.count(str(token))

    def test_frames_do_not_change_with_todays_date(self) -> None:
        family = FAMILIES["llama3"]
        dated = family.template.replace(
            '{%- set date_string = "26 Jul 2024" %}', "{%- set date_string = strftime_now('%d %b %Y') %}"
        )
        undated = family.template.replace("date_string is defined", "false").replace(
            '"26 Jul 2024"', "strftime_now('%d %b %Y')"
        )
        assert dated != family.template and undated != family.template
        for template in (dated, undated):
            tokenizer = tokenizer_of(replace(family, template=template))
            assert "01 Jan 2026" in tokenizer.decode(Frames.of(tokenizer).start)

    @pytest.mark.parametrize(
        "template",
        [
            "{{ messages|length }} messages\n" + CHATML,
            CHATML.replace("{{ message['role'] }}", "{{ loop.index }} {{ message['role'] }}"),
            "{{ messages[-1]['content'] }}\n" + CHATML,
            CHATML.replace("<|im_end|>\n", "{{ '' if loop.last else '<|im_end|>\n' }}"),
            CHATML.replace("{{ message['content'] }}", "{{ message['content'] | upper }}"),
            QWEN_3.replace("enable_thinking is defined and enable_thinking is false", "true"),
            "{% if messages|length > 6 %}Long chat.\n{% endif %}" + CHATML,
        ],
        ids=["count", "index", "last-first", "last-open", "upper", "think-cue", "long"],
    )
    def test_an_irregular_template_is_refused(self, template: str) -> None:
        with pytest.raises(ConfigError, match="chat template renders a message differently"):
            Frames.of(tokenizer_of(replace(FAMILIES["chatml"], template=template)))

    def test_a_template_whose_turns_have_no_end_token_is_refused(self) -> None:
        template = "{% for m in messages %}\n{{ m['role'] }}: {{ m['content'] }}{% endfor %}\nassistant: "
        with pytest.raises(ConfigError, match="no control token"):
            Frames.of(tokenizer_of(replace(FAMILIES["chatml"], template=template)))


class TestPrompts:
    def test_prompt_is_the_templates_own_rendering_with_roles_flipped(
        self, tokenizer: PreTrainedTokenizerFast, family: Family
    ) -> None:
        turns = USER_OPENS.turns[:4]
        expected = rendered(
            tokenizer,
            family,
            system_text(),
            [
                ("user", OPENING_CUE),
                *(("user" if t.speaker is Speaker.CHATBOT else "assistant", t.text) for t in turns),
            ],
        )
        assert tokenizer.decode(simulator(tokenizer).prompt(CONTEXT, turns)) == expected

    def test_a_chatbot_that_opens_needs_no_cue(self, tokenizer: PreTrainedTokenizerFast, family: Family) -> None:
        expected = rendered(tokenizer, family, system_text(), [("user", CHATBOT_OPENS.turns[0].text)])
        assert tokenizer.decode(simulator(tokenizer).prompt(CONTEXT, CHATBOT_OPENS.turns[:1])) == expected

    def test_without_turns_the_user_is_told_to_open(self, tokenizer: PreTrainedTokenizerFast, family: Family) -> None:
        expected = rendered(tokenizer, family, INSTRUCTIONS, [("user", OPENING_CUE)])
        assert tokenizer.decode(simulator(tokenizer).prompt(Context(), ())) == expected

    def test_chatbot_prompt_is_the_templates_own_rendering(
        self, tokenizer: PreTrainedTokenizerFast, family: Family
    ) -> None:
        prompts = ChatbotPrompts(tokenizer, system_prompt="Be kind.", budget_tokens=1000)
        roles = {Speaker.USER: "user", Speaker.CHATBOT: "assistant"}
        for turns, cue in ((USER_OPENS.turns, []), (CHATBOT_OPENS.turns[:4], [("user", CHATBOT_OPENING_CUE)])):
            expected = rendered(tokenizer, family, "Be kind.", cue + [(roles[t.speaker], t.text) for t in turns])
            assert tokenizer.decode(prompts.prompt(turns)) == expected

    def test_examples_stand_before_the_dialogue_as_the_template_renders_turns(
        self, tokenizer: PreTrainedTokenizerFast, family: Family
    ) -> None:
        examples = [("i am sad", "That hurts."), ("nobody calls", "You miss them.")]
        prompts = ChatbotPrompts(tokenizer, system_prompt="Be kind.", budget_tokens=1000, examples=examples)
        before = [(role, text) for user, reply in examples for role, text in (("user", user), ("assistant", reply))]
        said = [("user", USER_OPENS.turns[0].text)]
        assert tokenizer.decode(prompts.prompt(USER_OPENS.turns[:1])) == rendered(
            tokenizer, family, "Be kind.", before + said
        )
        messages = prompts.messages(USER_OPENS.turns[:1])[1:]
        assert [(m["role"], m["content"]) for m in messages] == before + said

    def test_chatbot_messages_start_with_the_user_even_if_the_chatbot_opened(
        self, chatml: PreTrainedTokenizerFast
    ) -> None:
        messages = ChatbotPrompts(chatml, system_prompt="S", budget_tokens=99).messages(CHATBOT_OPENS.turns[:2])
        assert [m["role"] for m in messages] == ["system", "user", "assistant", "user"]
        assert [m["content"] for m in messages] == ["S", CHATBOT_OPENING_CUE, "Hi, how are you?", "idk... bad"]

    def test_bos_is_printed_once(self) -> None:
        tokenizer = tokenizer_of(FAMILIES["llama3"])
        prompt = simulator(tokenizer).prompt(CONTEXT, USER_OPENS.turns[:2])
        assert prompt.count(tokenizer.bos_token_id) == 1 and prompt[0] == tokenizer.bos_token_id

    def test_texts_cannot_inject_control_tokens(self, tokenizer: PreTrainedTokenizerFast, family: Family) -> None:
        control = {token_id: str(token) for token_id, token in tokenizer.added_tokens_decoder.items()}
        attack = "hi" + "".join(control.values()) + family.end_of_turn + " " + family.template[:40]
        clean, attacked = ("hi", "ok", "bye"), (attack, attack, attack)
        for make in (
            lambda texts, c: simulator(tokenizer).prompt(c, dialogue_of(*texts).turns[:2]),
            lambda texts, c: simulator(tokenizer).training_examples(dialogue_of(*texts, context=c))[0].input_ids,
            lambda texts, c: ChatbotPrompts(tokenizer, system_prompt=c.profile, budget_tokens=9999).prompt(
                dialogue_of(*texts).turns
            ),
        ):
            harmless, attacked_ids = make(clean, Context(profile="x")), make(attacked, Context(profile=attack))
            assert attack in tokenizer.decode(attacked_ids)
            assert [t for t in attacked_ids if t in control] == [t for t in harmless if t in control]

    @pytest.mark.parametrize("special", [True, False])
    def test_added_tokens_cannot_be_injected_whether_marked_special_or_not(self, special: bool) -> None:
        from transformers import AddedToken

        tokenizer = build_tokenizer()
        tokenizer.add_tokens([AddedToken("<think>", special=special)], special_tokens=special)
        think = tokenizer.convert_tokens_to_ids("<think>")
        assert tokenizer.encode("<think>", add_special_tokens=False) == [think]
        ids = encode_text(tokenizer, "a<think>b <<think>> <think><think>")
        assert think not in ids
        assert tokenizer.decode(ids) == "a<think>b <<think>> <think><think>"

    def test_added_tokens_of_white_space_are_ordinary_text(self) -> None:
        tokenizer = build_tokenizer()
        tokenizer.add_tokens(["   "])
        assert tokenizer.convert_tokens_to_ids("   ") in encode_text(tokenizer, "a   b")


class TestTrainingExamples:
    @pytest.mark.parametrize("dialogue", [USER_OPENS, CHATBOT_OPENS], ids=["user-opens", "chatbot-opens"])
    def test_loss_is_on_user_turns_their_end_and_the_last_end_token_only(
        self, tokenizer: PreTrainedTokenizerFast, family: Family, dialogue: Dialogue
    ) -> None:
        (example,) = simulator(tokenizer).training_examples(dialogue)
        assert len(example.labels) == len(example.input_ids)
        texts = [turn.text for turn in dialogue.turns if turn.speaker is Speaker.USER]
        texts[-1] += f" {END_TOKEN}"
        assert [tokenizer.decode(tokens) for _, tokens in labelled_runs(example)] == [
            text + family.end_of_turn for text in texts
        ]

    def test_chatbot_turns_carry_no_loss(self, tokenizer: PreTrainedTokenizerFast) -> None:
        for dialogue in (USER_OPENS, CHATBOT_OPENS):
            (example,) = simulator(tokenizer).training_examples(dialogue)
            unlabelled = tokenizer.decode(
                [t for t, label in zip(example.input_ids, example.labels, strict=True) if label == IGNORED_LABEL]
            )
            last_user = max(i for i, turn in enumerate(dialogue.turns) if turn.speaker is Speaker.USER)
            for turn in dialogue.turns[:last_user]:
                assert (turn.text in unlabelled) is (turn.speaker is Speaker.CHATBOT)

    @pytest.mark.parametrize("dialogue", [USER_OPENS, CHATBOT_OPENS], ids=["user-opens", "chatbot-opens"])
    def test_tokens_trained_on_are_tokens_generated_on(
        self, tokenizer: PreTrainedTokenizerFast, dialogue: Dialogue
    ) -> None:
        prompts = simulator(tokenizer)
        (example,) = prompts.training_examples(dialogue)
        starts = [start for start, _ in labelled_runs(example)]
        positions = [i for i, turn in enumerate(dialogue.turns) if turn.speaker is Speaker.USER]
        assert len(starts) == len(positions)
        for start, position in zip(starts, positions, strict=True):
            assert example.input_ids[:start] == prompts.prompt(dialogue.context, dialogue.turns[:position])

    def test_training_sequence_is_the_templates_own_rendering(
        self, tokenizer: PreTrainedTokenizerFast, family: Family
    ) -> None:
        (example,) = simulator(tokenizer).training_examples(USER_OPENS)
        flipped = [("user" if t.speaker is Speaker.CHATBOT else "assistant", t.text) for t in USER_OPENS.turns]
        whole = rendered(
            tokenizer,
            family,
            system_text(),
            [("user", OPENING_CUE), *flipped[:-1], ("assistant", f"{flipped[-1][1]} {END_TOKEN}"), ("user", "x")],
        )
        assert whole.startswith(tokenizer.decode(example.input_ids))

    def test_simulated_turns_keep_their_sampled_tokens(
        self, tokenizer: PreTrainedTokenizerFast, family: Family
    ) -> None:
        text = "exams, mostly"
        sampled = tuple(token for letter in text for token in encode_text(tokenizer, letter))
        assert tokenizer.decode(sampled) == text and sampled != encode_text(tokenizer, text)
        turns = list(USER_OPENS.turns)
        turns[2] = replace(turns[2], token_ids=sampled)
        prompts = simulator(tokenizer)
        prefix = prompts.prompt(CONTEXT, turns[:2])
        later = prompts.prompt(CONTEXT, turns[:4])
        finished = prompts.completion(sampled, finished=True)
        assert later[: len(prefix) + len(finished)] == prefix + finished
        (example,) = prompts.training_examples(replace(USER_OPENS, turns=tuple(turns)))
        assert labelled_runs(example)[1][1] == finished
        assert tokenizer.decode(finished) == text + family.end_of_turn

    def test_a_sampled_space_before_the_end_is_not_doubled(self) -> None:
        tokenizer = tokenizer_of(FAMILIES["llama2"])
        prompts = simulator(tokenizer)
        sampled = encode_text(tokenizer, "exams") + prompts.frames.end_of_turn[:-1]
        assert tokenizer.decode(prompts.completion(sampled, finished=True)) == "exams </s>"
        turns = [
            *USER_OPENS.turns[:2],
            Turn(speaker=Speaker.USER, text="exams", token_ids=sampled),
            USER_OPENS.turns[3],
        ]
        assert "exams </s>" in tokenizer.decode(prompts.prompt(CONTEXT, turns))

    def test_token_ids_of_chatbot_turns_are_not_used(self, chatml: PreTrainedTokenizerFast) -> None:
        turn = Turn(speaker=Speaker.CHATBOT, text="Hi", token_ids=(1, 2, 3))
        assert simulator(chatml).turn_ids(turn) == encode_text(chatml, "Hi")

    def test_a_cut_turn_is_not_closed(self, tokenizer: PreTrainedTokenizerFast) -> None:
        assert simulator(tokenizer).completion((5, 6), finished=False) == (5, 6)

    def test_end_token_is_behind_the_last_user_turn_even_if_the_chatbot_speaks_last(
        self, chatml: PreTrainedTokenizerFast
    ) -> None:
        (example,) = simulator(chatml).training_examples(CHATBOT_OPENS)
        assert chatml.decode(example.input_ids).endswith(f"my boss {END_TOKEN}<|im_end|>")


def numbered(num_turns: int, sizes: random.Random, *, longest: int) -> Dialogue:
    """Dialogue of turns u0, c1, u2 ... of random length, each text found nowhere else."""
    texts = [f"<{i}>" + " sleep" * sizes.randrange(longest) for i in range(num_turns)]
    return dialogue_of(*texts, opens_with=sizes.choice([Speaker.USER, Speaker.CHATBOT]))


def shown(text: str) -> list[int]:
    """Numbers of the turns of :func:`numbered` that a prompt shows."""
    return [int(number) for number in re.findall(r"<(\d+)>", text)]


class TestWindow:
    @pytest.mark.parametrize("seed", range(12))
    def test_long_dialogues_lose_the_oldest_history_in_blocks_and_nothing_else(
        self, chatml: PreTrainedTokenizerFast, seed: int
    ) -> None:
        sizes = random.Random(seed)
        dialogue = numbered(40, sizes, longest=sizes.choice([3, 10, 25]))
        budget = sizes.choice([200, 300, 500])
        prompts = simulator(chatml, budget)
        firsts = []
        for position, turn in enumerate(dialogue.turns):
            if turn.speaker is Speaker.CHATBOT:
                continue
            ids = prompts.prompt(CONTEXT, dialogue.turns[:position])
            text = chatml.decode(ids)
            assert len(ids) <= budget
            numbers = shown(text)
            first = numbers[0] if numbers else 0
            assert numbers == list(range(first, position))
            assert system_text() in text
            assert (OPENING_CUE in text) is (dialogue.turns[first].speaker is Speaker.USER)
            assert first == 0 or dialogue.turns[first].speaker is Speaker.CHATBOT
            firsts.append(first)
        assert firsts == sorted(firsts)
        moves = [b - a for a, b in itertools.pairwise(firsts) if b > a]
        assert moves, "the dialogue was meant to be too long for the budget"
        assert sum(moves) / len(moves) > 2  # blocks: one turn of each speaker a move would mean a new prefix each time

    @pytest.mark.parametrize("seed", range(12))
    def test_every_user_turn_carries_loss_once_behind_its_own_prompt(
        self, chatml: PreTrainedTokenizerFast, seed: int
    ) -> None:
        sizes = random.Random(seed)
        dialogue = numbered(40, sizes, longest=sizes.choice([6, 10, 25]))
        prompts = simulator(chatml, sizes.choice([200, 300]))
        examples = prompts.training_examples(dialogue)
        assert len(examples) > 1
        positions = [i for i, turn in enumerate(dialogue.turns) if turn.speaker is Speaker.USER]
        runs = [(example, start, tokens) for example in examples for start, tokens in labelled_runs(example)]
        assert len(runs) == len(positions)
        for position, (example, start, tokens) in zip(positions, runs, strict=True):
            end = f" {END_TOKEN}" if position == positions[-1] else ""
            assert chatml.decode(tokens) == dialogue.turns[position].text + end + "<|im_end|>"
            assert example.input_ids[:start] == prompts.prompt(CONTEXT, dialogue.turns[:position])
        for example in examples:
            last_start, _ = labelled_runs(example)[-1]
            assert last_start <= prompts._budget_tokens

    def test_a_dialogue_that_fits_gives_one_sequence(self, chatml: PreTrainedTokenizerFast) -> None:
        dialogue = numbered(30, random.Random(0), longest=5)
        assert len(simulator(chatml, 5000).training_examples(dialogue)) == 1

    def test_a_budget_of_15000_is_used_and_kept(self, chatml: PreTrainedTokenizerFast) -> None:
        dialogue = dialogue_of(*(f"<{i}>" + " sleep" * 60 for i in range(800)))
        prompts = simulator(chatml, 15_000)
        lengths = [len(prompts.prompt(CONTEXT, dialogue.turns[:position])) for position in range(0, 800, 2)]
        assert 14_000 < max(lengths) <= 15_000

    def test_earlier_sessions_go_after_history_and_oldest_first(self, chatml: PreTrainedTokenizerFast) -> None:
        context = replace(CONTEXT, earlier_sessions=tuple(f"[s{i}]" + " work" * 40 for i in range(4)))
        turns = dialogue_of("<0> hi", "<1> yes", "<2> ok", "<3>" + " sleep" * 30).turns
        everything = len(simulator(chatml, 9999).prompt(context, turns))
        states = []
        for budget in range(everything, 0, -1):
            try:
                text = chatml.decode(simulator(chatml, budget).prompt(context, turns))
            except ContextOverflowError:
                break
            for always in (INSTRUCTIONS, CONTEXT.profile, CONTEXT.themes[0], CONTEXT.session, turns[-1].text):
                assert always in text
            states.append((len(shown(text)), re.findall(r"\[s\d\]", text)))
        sessions = [s for _, s in states]
        names = [f"[s{i}]" for i in range(4)]
        assert states[0] == (4, names)
        assert [s for i, s in enumerate(sessions) if i == 0 or s != sessions[i - 1]] == [names[i:] for i in range(5)]
        # By the time the first session goes, all history but the newest turn has gone.
        assert [n for n, s in states if s == names][-1] == 1

    def test_a_context_alone_over_the_budget_is_an_error_with_the_remedy(self, chatml: PreTrainedTokenizerFast) -> None:
        context = Context(profile="work " * 300)
        with pytest.raises(ContextOverflowError, match=r"a prompt may have 200; .* raise engine\.max_model_len"):
            simulator(chatml, 200).prompt(context, ())
        with pytest.raises(CorpusError, match=r"dialogue d1, turn 0: .*200"):
            simulator(chatml, 200).training_examples(dialogue_of("hi", "yes", context=context))

    def test_a_newest_turn_over_the_budget_is_an_error(self, chatml: PreTrainedTokenizerFast) -> None:
        turns = dialogue_of("hi", "work " * 300).turns
        with pytest.raises(ContextOverflowError, match="longest chatbot turn 314"):
            simulator(chatml, 200).prompt(CONTEXT, turns)

    def test_an_overlong_user_turn_is_dropped_once_it_is_history(self, chatml: PreTrainedTokenizerFast) -> None:
        turns = dialogue_of("<0>", "<1>", "<2>" + " sleep" * 300, "<3>", "<4>", "<5>").turns
        text = chatml.decode(simulator(chatml, 200).prompt(CONTEXT, turns))
        assert shown(text) == [3, 4, 5] and CONTEXT.earlier_sessions[0] in text
        assert len(simulator(chatml, 200).training_examples(dialogue_of(*(t.text for t in turns)))) == 2

    @pytest.mark.parametrize("seed", range(6))
    def test_chatbot_history_is_cut_to_the_budget_and_starts_with_the_user(
        self, chatml: PreTrainedTokenizerFast, seed: int
    ) -> None:
        dialogue = numbered(41, random.Random(seed), longest=10)
        prompts = ChatbotPrompts(
            chatml, system_prompt="Be kind.", budget_tokens=220, examples=[("not a number", "indeed")]
        )
        firsts = []
        for position, turn in enumerate(dialogue.turns):
            if turn.speaker is Speaker.USER:
                ids = prompts.prompt(dialogue.turns[: position + 1])
                assert len(ids) <= 220
                text = chatml.decode(ids)
                assert text.count("not a number") == text.count("indeed") == 1
                numbers = shown(text)
                assert numbers == list(range(numbers[0], position + 1))
                assert re.match(r"<\|im_start\|>system\nBe kind.<\|im_end\|>\n<\|im_start\|>user\n", text)
                assert numbers[0] == 0 or dialogue.turns[numbers[0]].speaker is Speaker.USER
                firsts.append(numbers[0])
        assert firsts == sorted(firsts) and firsts[-1] > 0

    def test_a_system_prompt_over_the_budget_is_an_error(self, chatml: PreTrainedTokenizerFast) -> None:
        with pytest.raises(ContextOverflowError, match=r"chatbot\.system_prompt"):
            ChatbotPrompts(chatml, system_prompt="work " * 99, budget_tokens=50).prompt(USER_OPENS.turns[:1])


class TestQuestionPrompts:
    def test_prompt_is_the_templates_own_rendering(self, tokenizer: PreTrainedTokenizerFast, family: Family) -> None:
        prompt_ids = QuestionPrompts(tokenizer, budget_tokens=1000).prompt("Judge.", "Is it good?")
        expected = rendered(tokenizer, family, "Judge.", [("user", "Is it good?")])
        thinks_not = "<think>\n\n</think>\n\n" if family is FAMILIES["qwen3"] else ""
        assert tokenizer.decode(prompt_ids).replace("[/INST] ", "[/INST]") == expected + thinks_not

    def test_no_question_can_write_a_control_token(self, tokenizer: PreTrainedTokenizerFast, family: Family) -> None:
        prompts = QuestionPrompts(tokenizer, budget_tokens=1000)
        harmless, hostile = (prompts.prompt("Judge.", text) for text in ("x", "".join(family.control)))
        added = tokenizer.added_tokens_decoder
        assert [token for token in hostile if token in added] == [token for token in harmless if token in added]

    def test_a_template_that_knows_only_dialogues_is_fine_and_one_that_changes_texts_is_not(self) -> None:
        by_place = CHATML.replace("{{ message['role'] }}", "{{ loop.index }} {{ message['role'] }}")
        upper = CHATML.replace("{{ message['content'] }}", "{{ message['content'] | upper }}")
        dialogue_only, changing = (
            tokenizer_of(replace(FAMILIES["chatml"], template=template)) for template in (by_place, upper)
        )
        assert QuestionPrompts(dialogue_only, budget_tokens=100).prompt("a", "b")
        with pytest.raises(ConfigError, match="does not print a system and a user message as they are"):
            QuestionPrompts(changing, budget_tokens=100)

    def test_a_prompt_over_the_budget_is_an_error(self, chatml: PreTrainedTokenizerFast) -> None:
        num_tokens = len(QuestionPrompts(chatml, budget_tokens=1000).prompt("Judge.", "Is it good?"))
        assert len(QuestionPrompts(chatml, budget_tokens=num_tokens).prompt("Judge.", "Is it good?")) == num_tokens
        with pytest.raises(ContextOverflowError, match=f"takes {num_tokens} tokens.* may take {num_tokens - 1}"):
            QuestionPrompts(chatml, budget_tokens=num_tokens - 1).prompt("Judge.", "Is it good?")


def test_context_layers_stand_in_order_and_empty_ones_are_left_out() -> None:
    assert render_context(CONTEXT).splitlines() == [
        "About you: a nurse of 34",
        "Long-term themes: sleep; work",
        "Earlier chats: panic before exams",
        "argument with a sister",
        "Today: feels low",
    ]
    assert render_context(Context(session="feels low")) == "Today: feels low"
    assert render_context(CONTEXT, skip_sessions=1).splitlines()[2] == "Earlier chats: argument with a sister"
    assert "Earlier" not in render_context(CONTEXT, skip_sessions=2)
    assert render_context(Context()) == ""


def test_end_token_is_stripped_with_all_behind_it() -> None:
    assert strip_end("bye [END] and more") == ("bye", True)
    assert strip_end(" bye ") == ("bye", False)
    assert strip_end("[END]") == ("", True)
