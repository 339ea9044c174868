"""Renders chat templates as transformers does, in a sandbox, with thinking off and within limits.

A template is a program that came with a model. It is run once in a process of its own, with a limit of time and memory,
before it is run here. ``python -m advsim.prompts.rendering`` is that process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from advsim.errors import ConfigError

if TYPE_CHECKING:
    from jinja2 import Template
    from transformers import PreTrainedTokenizerBase

TIME_LIMIT_S = 20.0
"""For all trial renderings of a template, the start of the process included; usual templates take 0.5 s."""
_CPU_LIMIT_S, _MEMORY_LIMIT_BYTES = 5, 2**30
_NUM_USER_TURNS_TRIED = (1, 2, 3, 5, 40)
_RAN = "all layouts ran"

_DATE = datetime(2026, 1, 1)
"""Some templates print today's date: frames must not change over a run."""

_FIXED = {
    "tools": None,
    "documents": None,
    "add_generation_prompt": True,
    "date_string": _DATE.strftime("%d %b %Y"),
    "enable_thinking": False,  # Qwen, GLM, Nemotron, Gemma 4 and others
    "thinking": False,  # DeepSeek, Granite, Kimi
}


_FAULTS = (
    ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip


class RenderError(ValueError):
    """A template cannot render a dialogue; the message goes on after "the chat template"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How messages are handed to a template: with a system message or not, contents as texts or as lists of parts."""

    has_system_role: bool
    has_parts: bool = False


LAYOUTS = tuple(
    Layout(has_system_role=has_system_role, has_parts=has_parts)
    for has_parts in (False, True)
    for has_system_role in (True, False)
)
"""All of them, those to prefer first. Templates of models that see pictures print parts only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTemplate:
    """A chat template and the special tokens that it may name, as pairs such as ``("bos_token", "<s>")``."""

    source: str
    tokens: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
        """The tokenizer's template.

        Raises:
            ConfigError: it is no program that ends in time.
        """
        tokens = {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
        template = cls(source=tokenizer.get_chat_template(), tokens=tuple(sorted(tokens.items())))
        check_limits(template)
        return template

    def gaps(self, layout: Layout, *, num_user_turns: int) -> list[str]:
        """What it prints before, between and behind the texts of a dialogue that ends with the user's turn.

        Returns:
            Strings: before the first text (the system's, where the layout has one), ..., behind the last one.

        Raises:
            RenderError: it refuses the dialogue, or does not print the texts as they are.
        """
        texts = _probe_texts(layout, num_user_turns=num_user_turns)
        gaps, rest = [], self._render(texts, layout)
        for text in texts:
            before, separator, rest = rest.partition(text)
            if not separator:
                raise RenderError("does not print the texts of a dialogue of user and assistant as they are")
            gaps.append(before)
        return [*gaps, rest]

    def _render(self, texts: Sequence[str], layout: Layout) -> str:
        from jinja2.exceptions import TemplateError

        roles = ["system"] if layout.has_system_role else []
        roles += ["assistant" if i % 2 else "user" for i in range(len(texts) - len(roles))]
        messages = [
            {"role": role, "content": [{"type": "text", "text": text}] if layout.has_parts else text}
            for role, text in zip(roles, texts, strict=True)
        ]
        try:
            return str(_compiled(self.source).render(messages=messages, **_FIXED, **dict(self.tokens)))
        except (TemplateError, *_FAULTS) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise RenderError(f"cannot render a dialogue of user and assistant ({reason})") from None


@lru_cache(maxsize=64)
def check_limits(template: ChatTemplate) -> None:
    """Run a template in a process of its own, with limits.

    Raises:
        ConfigError: it is no valid Jinja, or takes too much time or memory.
    """
    remedy = "use a model (or a chat_template in its tokenizer) with plain alternating user and assistant messages"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "advsim.prompts.rendering"],
            input=json.dumps(asdict(template)),
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"the chat template did not render a short dialogue within {TIME_LIMIT_S:g} s; {remedy}"
        ) from None
    # What it printed is asked, not its exit code: beside Ray every exit code may read as 0 (runtime/local_ray).
    verdict = done.stdout.strip()
    if not verdict:
        said = done.stderr.strip().rpartition("\n")[2][:200] or f"it ended with code {done.returncode}"
        raise ConfigError(f"the chat template cannot be run within {_CPU_LIMIT_S} s and 1 GiB ({said}); {remedy}")
    if verdict != _RAN:
        raise ConfigError(f"the chat template is no valid Jinja ({verdict[:200]}); {remedy}")


@lru_cache(maxsize=64)
def _compiled(source: str) -> Template:
    """The template in the environment that transformers gives it (``transformers.utils.chat_template_utils``)."""
    from jinja2 import nodes
    from jinja2.exceptions import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %}``, which marks an assistant's text for training, prints what is inside."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def to_json(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: Any = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = _DATE.strftime
    return environment.from_string(source)


def _probe_texts(layout: Layout, *, num_user_turns: int) -> list[str]:
    """Texts found in no template: of the system (if any), then in turn of user and assistant, the user's last."""
    turns = [f"Q{'assistant' if i % 2 else 'user'}{i}of{num_user_turns}q" for i in range(2 * num_user_turns - 1)]
    return [f"Qsystem{num_user_turns}q", *turns] if layout.has_system_role else turns


def _render_all(template: ChatTemplate) -> Iterator[str]:
    for layout in LAYOUTS:
        for num_user_turns in _NUM_USER_TURNS_TRIED:
            try:
                yield from template.gaps(layout, num_user_turns=num_user_turns)
            except RenderError:
                break


def _main() -> None:
    import resource

    from jinja2.exceptions import TemplateSyntaxError

    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_LIMIT_S, _CPU_LIMIT_S))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT_BYTES, _MEMORY_LIMIT_BYTES))
    fields = json.load(sys.stdin)
    template = ChatTemplate(source=fields["source"], tokens=tuple(map(tuple, fields["tokens"])))
    try:
        _compiled(template.source)
    except (TemplateSyntaxError, RecursionError) as error:
        print(" ".join(str(error).split()) or type(error).__name__)
        return
    for _ in _render_all(template):
        pass
    print(_RAN)


if __name__ == "__main__":
    _main()
