"""Separates what a reasoning model thinks from what it says to the other side."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

RAISE_LIMIT = "raise its token limit (sampling.max_tokens; of an endpoint, endpoint.extra_body.max_tokens)"
"""What to do about a chatbot's replies that were cut."""

UNCLOSED_THOUGHT = f"the chatbot's thought did not end, so that it said nothing to the user; {RAISE_LIMIT}"
"""Why a reply that ends within a thought has failed."""

ONLY_A_THOUGHT = f"the chatbot thought and said nothing to the user; {RAISE_LIMIT}, or turn its thinking off"
"""Why a reply that is a thought and nothing else has failed."""

_NAME = (
    r"(?:\w+:)?(?:think(?:ing)?|thoughts?|thought_process|reason(?:ing)?|reflection|scratch_?pad|analysis|cot"
    r"|(?:inner|internal)_(?:monologue|thoughts?))"
)
_ATTRIBUTES = r"""(?:\s{1,3}[\w-]+=(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>]+))*"""
_OPEN, _CLOSE = r"(?<!`)<\s{0,3}\|?\s{0,3}", r"\s{0,3}\|?\s{0,3}>"
_MARK = re.compile(
    r"(?:<\|start\|>\s{0,3}assistant\s{0,3})?<\|channel\|>\s{0,3}(?P<channel>\w*)(?:[^<]{0,80}<\|message\|>|\s*\Z)"
    r"|(?P<channel_end><\|(?:end|return|call)\|>)"
    rf"|(?P<empty>{_OPEN}{_NAME}\s{{0,3}}/>)"
    rf"|{_OPEN}(?P<tag>{_NAME}){_ATTRIBUTES}{_CLOSE}"
    rf"|{_OPEN}/\s{{0,3}}(?P<tag_end>{_NAME}){_CLOSE}"
    r"|(?P<other><\|(?:begin|start)_(?:of_)?(?:think(?:ing)?|thought|reasoning)\|>"  # OpenThinker, Command A
    r"|(?<!`)\[\s{0,3}think\s{0,3}\]"  # Magistral
    r"|◁\s{0,3}think\s{0,3}▷"  # Kimi
    r"|<\|channel>\s{0,3}(?:thought|analysis))"  # Gemma 4
    r"|(?P<other_end><\|end_(?:of_)?(?:think(?:ing)?|thought|reasoning)\|>"
    r"|(?<!`)\[\s{0,3}/\s{0,3}think\s{0,3}\]|◁\s{0,3}/\s{0,3}think\s{0,3}▷|<channel\|>)",
    re.IGNORECASE,
)
"""All lengths are bounded, so that no text takes long. The first line is of gpt-oss."""

_BARE_CHANNELS = re.compile(r"\A\s*analysis(?P<thought>.*?)assistantfinal(?P<text>.*)\Z", re.DOTALL)
_BARE_UNCLOSED = re.compile(r"\A\s*analysis(?P<thought>(?=[A-Z]).*)\Z", re.DOTALL)
"""What is left of the channels of gpt-oss where a server takes the control tokens out."""

_ANSWER = re.compile(
    r"\A\s*(?:<(?P<name>answer|response|output)>(?P<text>.*?)(?:</(?P=name)>\s*)?"
    r"|<\|(?:begin_of_solution|start_response)\|>(?P<solution>.*?)(?:<\|(?:end_of_solution|end_response)\|>\s*)?)\Z",
    re.DOTALL | re.IGNORECASE,
)
"""What some models put around the answer behind a thought."""


_ANSWER_TOKEN = re.compile(r"<\|(?:begin_of_solution|end_of_solution|start_response|end_response)\|>", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Separated:
    """A reply's two parts, both stripped. ``is_unclosed``: it ended within a thought, so there is no text."""

    text: str
    thought: str = ""
    is_unclosed: bool = False


def separate_thoughts(reply: str) -> Separated:
    """What a reply says and what it thinks; markup in any letter case, any number of thoughts.

    Read are tags (``<think>``, ``<reasoning>``, ``<seed:think>`` and the like), ``[THINK]`` (Magistral),
    ``◁think▷`` (Kimi), and the channels of gpt-oss and Gemma 4. An end without a start closes a thought that began in
    the prompt, as the templates of DeepSeek-R1 and Qwen3 have it. Markup behind a backtick is spoken of, not used.
    """
    for bare in (_BARE_CHANNELS, _BARE_UNCLOSED):
        if match := bare.match(reply):
            text = match.groupdict().get("text")
            return Separated(text=(text or "").strip(), thought=match["thought"].strip(), is_unclosed=text is None)
    said: list[str] = []
    thoughts: list[str] = []
    inside = ""  # the name of the thought that the position is in
    has_channels = False
    position = 0
    for mark in _MARK.finditer(reply):
        opened, closed = _opened_and_closed(mark)
        is_other = bool(inside) and (bool(mark["empty"]) or closed not in ("", inside))
        if is_other or (mark["channel_end"] and not has_channels):
            continue  # of another kind than the thought that is open: a part of it
        part = reply[position : mark.start()]
        position = mark.end()
        if closed and not inside:
            thoughts += [*said, part]  # the thought began in the prompt
            said = []
        else:
            (thoughts if inside else said).append(part)
        if mark["channel"] is not None:
            has_channels = True
        if not (opened and inside) or mark["channel"] is not None:
            inside = opened
    (thoughts if inside else said).append(reply[position:])
    if inside:
        return Separated(text="", thought=_joined([*said, *thoughts]), is_unclosed=True)
    text = _joined(said)
    wrapped = _ANSWER.match(text) if position else None
    if wrapped:
        text = (wrapped["text"] or wrapped["solution"] or "").strip()
    return Separated(text=text, thought=_joined(thoughts))


def has_thought_markup(text: str) -> bool:
    """Whether a text holds the markup of a thought, closed or not."""
    return any(mark["channel_end"] is None for mark in _MARK.finditer(text))


def marks_thoughts(control_tokens: Iterable[str]) -> bool:
    """Whether one of these control tokens marks a thought, or a channel that can be one."""
    return any(has_thought_markup(name) or name in ("<|channel|>", "<|channel>") for name in control_tokens)


def is_part_of_markup(control_token: str) -> bool:
    """Whether a control token is markup of a thought or of an answer, or a part of the head of a channel."""
    return (
        _MARK.search(control_token) is not None
        or control_token in ("<|start|>", "<|channel|>", "<|channel>", "<|message|>", "<|constrain|>")
        or _ANSWER_TOKEN.fullmatch(control_token) is not None
    )


def _opened_and_closed(mark: re.Match[str]) -> tuple[str, str]:
    """Which kind of thought a mark opens, and which it closes; empty for none."""
    if mark["channel"] is not None:
        return ("" if mark["channel"].lower() == "final" else "channel"), ""
    if mark["channel_end"] or mark["empty"]:
        return "", ""
    if mark["tag"] or mark["other"]:
        return _kind(mark["tag"]), ""
    return "", _kind(mark["tag_end"]) if mark["tag_end"] or mark["other_end"] else ""


def _kind(tag: str | None) -> str:
    """One name for the spellings that models mix up, as in ``<think>...</thinking>``."""
    name = (tag or "think").lower().rpartition(":")[2]
    return "think" if name.startswith(("think", "thought")) else name


def _joined(parts: Iterable[str]) -> str:
    return "\n".join(stripped for part in parts if (stripped := part.strip()))
