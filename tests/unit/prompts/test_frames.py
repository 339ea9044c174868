"""Frames of chat templates, over re-creations of the templates in use."""

from __future__ import annotations

from dataclasses import replace

import pytest
from chat_templates import FAMILIES, QWEN_3, Family, simulator, tokenizer_of
from tiny import CHATML
from transformers import PreTrainedTokenizerFast

from advsim.errors import ConfigError
from advsim.prompts.frames import Frames


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
            "{% if messages|length > 6 %}Long chat.\n{% endif %}" + CHATML,
        ],
        ids=["count", "index", "last-first", "last-open", "long"],
    )
    def test_an_irregular_template_is_refused(self, template: str) -> None:
        with pytest.raises(ConfigError, match="chat template renders a message differently"):
            Frames.of(tokenizer_of(replace(FAMILIES["chatml"], template=template)))

    def test_a_template_that_changes_texts_is_refused(self) -> None:
        template = CHATML.replace("{{ message['content'] }}", "{{ message['content'] | upper }}")
        with pytest.raises(ConfigError, match="chat template does not print the texts"):
            Frames.of(tokenizer_of(replace(FAMILIES["chatml"], template=template)))

    def test_an_empty_thought_stands_before_every_turn_of_a_simulator(self) -> None:
        forced = QWEN_3.replace("enable_thinking is defined and enable_thinking is false", "true")
        for template in (QWEN_3, forced):
            tokenizer = tokenizer_of(replace(FAMILIES["qwen3"], template=template))
            frames = Frames.of(tokenizer)
            assert tokenizer.decode(frames.user_to_assistant).endswith("<think>\n\n</think>\n\n")
            assert not frames.is_as_rendered

    def test_a_template_whose_turns_have_no_end_token_is_refused(self) -> None:
        template = "{% for m in messages %}\n{{ m['role'] }}: {{ m['content'] }}{% endfor %}\nassistant: "
        with pytest.raises(ConfigError, match="no control token"):
            Frames.of(tokenizer_of(replace(FAMILIES["chatml"], template=template)))
