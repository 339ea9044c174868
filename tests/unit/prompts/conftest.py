"""Every chat template of ``chat_templates`` with its tokenizer, as fixtures."""

from __future__ import annotations

import pytest
from chat_templates import FAMILIES, Family, tokenizer_of
from transformers import PreTrainedTokenizerFast


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def tokenizer(family: Family) -> PreTrainedTokenizerFast:
    return tokenizer_of(family)


@pytest.fixture(scope="module")
def chatml() -> PreTrainedTokenizerFast:
    return tokenizer_of(FAMILIES["chatml"])
