"""Chat templates in use, re-created, with a tokenizer for each, and dialogues to render with them."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tiny import CHATML, build_tokenizer
from transformers import PreTrainedTokenizerFast

from advsim.prompts.simulator import SimulatorPrompts
from advsim.prompts.text import IGNORED_LABEL, render_context
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

EMPTY_THOUGHT = "<think>\n\n</think>\n\n"

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
    tokenizer: PreTrainedTokenizerFast,
    family: Family,
    system: str,
    messages: Sequence[tuple[str, str]],
    *,
    is_simulator: bool = False,
) -> str:
    """What the template itself makes of a dialogue, but for a space that a model is to write before its text.

    Thinking is off. For a simulator the empty thought that a template prints before the newest message stands before
    every one, so that what is trained on is what was generated on. The system text heads the first user message where
    the template has no system role.
    """
    chat = [{"role": role, "content": text} for role, text in messages]
    if family.has_system_role:
        chat.insert(0, {"role": "system", "content": system})
    else:
        chat[0]["content"] = f"{system}\n\n{chat[0]['content']}"
    text = tokenizer.apply_chat_template(
        chat, tokenize=False, add_generation_prompt=True, date_string="01 Jan 2026", enable_thinking=False
    )
    assert isinstance(text, str)
    if is_simulator and EMPTY_THOUGHT in family.template.replace("\\n", "\n"):
        begin = "<|im_start|>assistant\n"
        text = text.replace(begin + EMPTY_THOUGHT, begin).replace(begin, begin + EMPTY_THOUGHT)
    return text.replace("[/INST] ", "[/INST]")


def numbered(num_turns: int, sizes: random.Random, *, longest: int) -> Dialogue:
    """Dialogue of turns u0, c1, u2 ... of random length, each text found nowhere else."""
    texts = [f"<{i}>" + " sleep" * sizes.randrange(longest) for i in range(num_turns)]
    return dialogue_of(*texts, opens_with=sizes.choice([Speaker.USER, Speaker.CHATBOT]))


def shown(text: str) -> list[int]:
    """Numbers of the turns of :func:`numbered` that a prompt shows."""
    return [int(number) for number in re.findall(r"<(\d+)>", text)]
