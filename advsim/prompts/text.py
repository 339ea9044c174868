"""Texts in prompts: the end token, the context layers as text, and the tokens of a text.

Control tokens in texts are taken as plain characters: nobody can write one into a prompt.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from advsim.records import Context

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

END_TOKEN = "[END]"
"""Ends the user's last message, as in the paper's reference code. Ordinary text, so that any tokenizer has it."""

IGNORED_LABEL = -100

_END_WITH_SPACE = re.compile(rf"\s*{re.escape(END_TOKEN)}\s*")


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
    before, end_token, _ = text.partition(END_TOKEN)
    return before.strip(), bool(end_token)


def without_end(text: str) -> str:
    """The text without the end token, wherever it stands, and without space around it."""
    return _END_WITH_SPACE.sub(" ", text).strip()


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
        for token in tokenizer.encode(piece, add_special_tokens=False, split_special_tokens=True, verbose=False)
    )


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Id and string of the tokens that no text may produce; added tokens of white space alone are ordinary text."""
    added = {token_id: str(token) for token_id, token in tokenizer.added_tokens_decoder.items()}
    special = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    return {token_id: name for token_id, name in (added | special).items() if name.strip()}


@lru_cache(maxsize=8)
def _unsplit_tokens(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str] | None:
    """Matches in front of control tokens that are not marked special; None where there are none."""
    names = set(control_tokens(tokenizer).values()) - set(tokenizer.all_special_tokens)
    return re.compile(f"(?={'|'.join(re.escape(name) for name in sorted(names))})") if names else None
