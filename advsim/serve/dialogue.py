"""The messages of a request as the simulator reads them: who said what, and what the person is told of themselves.

Two ways to name the speakers. By ``caller`` roles ``assistant`` is the caller's chatbot and ``user`` the person who is
played here, as in a log of chats. By ``model`` roles it is the other way round, as for any model that is asked for its
next answer: what it said before is ``assistant``, what it is told is ``user``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from advsim.errors import printable
from advsim.prompts.text import strip_end
from advsim.prompts.thoughts import Separated, separate_thoughts
from advsim.records import Context, Speaker, Turn
from advsim.serve.body import ContextKeys, Message
from advsim.serve.errors import invalid

Roles = Literal["caller", "model"]
SystemUse = Literal["context", "ignore"]

_SPEAKERS: dict[Roles, dict[str, Speaker]] = {
    "caller": {"user": Speaker.USER, "assistant": Speaker.CHATBOT},
    "model": {"assistant": Speaker.USER, "user": Speaker.CHATBOT},
}
_SYSTEM = ("system", "developer")
_SAYS_SOMETHING = ("tool_calls", "function_call", "audio", "refusal")
"""Keys of a message that would be part of what was said. Others are a program's own notes, which nobody reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The messages of a request.

    Attributes:
        turns: alternating; none, or they end with the chatbot's.
        system: text of the system messages before them; empty where there is none.
    """

    turns: tuple[Turn, ...]
    system: str


def hear(messages: Sequence[Message], *, roles: Roles) -> Heard:
    """Read the messages of a request. Messages in a row of one speaker are one turn, joined by a line feed.

    As in a rollout the person reads no thought of the chatbot, and nothing that a terminal obeys.

    Raises:
        RequestError: a role or content is none of a dialogue between two, or the person spoke last.
    """
    system: list[str] = []
    said: list[tuple[Speaker, list[Separated]]] = []
    speakers = _SPEAKERS[roles]
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        _check_keys(message, where)
        speaker = speakers.get(message.role)
        text = _text(message, where, speaker)
        if message.role in _SYSTEM:
            if said:
                raise invalid(f"{where}: a system message after the dialogue began; put it first", param="messages")
            system.append(text.text)
            continue
        if speaker is None:
            raise invalid(
                f"{where}.role: got {message.role[:60]!r}, expected system, user or assistant; leave out tool calls "
                "and their results, which the person does not see",
                param="messages",
            )
        if said and said[-1][0] is speaker:
            said[-1][1].append(text)
        else:
            said.append((speaker, [text]))
    if said and said[-1][0] is Speaker.USER:
        raise invalid(_spoke_last(messages[-1].role, roles), param="messages", code="wrong_roles")
    turns = tuple(
        Turn(
            speaker=speaker,
            text="\n".join(part.text for part in parts),
            thought="\n".join(part.thought for part in parts if part.thought),
        )
        for speaker, parts in said
    )
    return Heard(turns=turns, system="\n\n".join(system))


def context_of(keys: ContextKeys) -> Context:
    """The context that a request gives in layers.

    Raises:
        RequestError: a text is no Unicode.
    """
    given = [keys.profile, *keys.themes, *keys.earlier_sessions, keys.session]
    for text in given:
        _check_unicode(text, where="advsim.context", param="advsim")
    return Context(
        profile=keys.profile.strip(),
        themes=tuple(keys.themes),
        earlier_sessions=tuple(keys.earlier_sessions),
        session=keys.session.strip(),
    )


def _check_keys(message: Message, where: str) -> None:
    for key in _SAYS_SOMETHING:
        if (message.model_extra or {}).get(key):
            raise invalid(
                f"{where}.{key}: a person sees the texts of a chat alone; leave it out",
                param="messages",
                code="unknown_parameter",
            )


def _text(message: Message, where: str, speaker: Speaker | None) -> Separated:
    content = message.content
    text = "\n".join(part.text for part in content) if isinstance(content, list) else content or ""
    _check_unicode(text, where=where, param="messages")
    text = printable(text).strip()
    separated = separate_thoughts(text) if speaker is Speaker.CHATBOT else Separated(text=text)
    if speaker is Speaker.USER:
        separated = Separated(text=strip_end(text)[0])
    if not separated.text:
        what = "a thought and nothing else" if separated.thought or separated.is_unclosed else "empty"
        raise invalid(
            f"{where}.content is {what}, expected text; leave out messages that say nothing, such as tool calls",
            param="messages",
            code="empty_message",
        )
    return separated


def _check_unicode(text: str, *, where: str, param: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise invalid(f"{where}: half of a surrogate pair (a cut emoji), expected Unicode text", param=param) from None


def _spoke_last(role: str, roles: Roles) -> str:
    other: Roles = "model" if roles == "caller" else "caller"
    mine, theirs = ("user", "assistant") if roles == "caller" else ("assistant", "user")
    return (
        f"messages end with role {role}. By advsim.roles = {roles!r} {mine!r} is the person who is played here, who "
        f"spoke last then, and {theirs!r} is your chatbot: send its answer. Where your program names them the other "
        f"way round, send advsim.roles = {other!r}, or start the server with --roles {other}"
    )
