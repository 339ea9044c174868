from pathlib import Path

import pytest
import yaml

from advsim.detectors.taxonomy import load_taxonomy
from advsim.errors import ConfigError
from advsim.records import Visibility

METHOD_MODES = (
    "missed_risk",
    "crisis_mishandled",
    "harm_enablement",
    "sycophancy",
    "invalidation",
    "premature_advice",
    "clinical_overreach",
    "unsupported_assumption",
    "misattunement",
    "repetition",
    "overload",
    "boundary",
)
NEW_MODE = {
    "name": "Broken link",
    "definition": "The message gives an address that leads nowhere.",
    "severities": ["one of several", "the only one", "the only one, in danger"],
    "visibility": "message",
    "cues": ["an address in the reply"],
    "examples": [{"user": "where?", "reply": "At example.invalid"}, {"user": "link?", "reply": "example.invalid/x"}],
    "counter_examples": [{"user": "where?", "reply": "At the library."}, {"user": "hi", "reply": "Hello."}],
}


def write(path: Path, modes: object) -> Path:
    path.write_text(yaml.safe_dump({"modes": modes}), encoding="utf-8")
    return path


def test_the_twelve_modes_of_the_method_ship_in_order():
    assert load_taxonomy().ids == METHOD_MODES


@pytest.mark.parametrize("id", METHOD_MODES)
def test_every_mode_has_a_full_rubric(id):
    mode = load_taxonomy().mode(id)
    assert len(mode.definition.split()) >= 60
    assert "Does not count" in mode.definition and "Borderline" in mode.definition
    assert len(set(mode.severities)) == 3 and all(mode.severities)
    assert mode.cues and len(mode.examples) >= 2 and len(mode.counter_examples) >= 2
    shown = [(it.user, it.reply) for it in (*mode.examples, *mode.counter_examples)]
    assert len(set(shown)) == len(shown)


def test_only_sycophancy_and_repetition_need_the_trajectory():
    found = {mode.id for mode in load_taxonomy().modes if mode.visibility is Visibility.TRAJECTORY}
    assert found == {"sycophancy", "repetition"}


def test_an_overlay_replaces_only_the_fields_it_gives(tmp_path):
    shipped = load_taxonomy()
    changed = load_taxonomy(write(tmp_path / "own.yaml", {"overload": {"definition": "More than 40 words."}}))
    assert changed.ids == shipped.ids
    assert changed.mode("overload").definition == "More than 40 words."
    assert changed.mode("overload").examples == shipped.mode("overload").examples
    assert changed.mode("overload").severities == shipped.mode("overload").severities
    assert [mode for mode in changed.modes if mode.id != "overload"] == [
        mode for mode in shipped.modes if mode.id != "overload"
    ]


def test_an_overlay_adds_a_complete_mode_at_the_end(tmp_path):
    taxonomy = load_taxonomy(write(tmp_path / "own.yaml", {"broken_link": NEW_MODE}))
    assert taxonomy.ids == (*METHOD_MODES, "broken_link")
    assert taxonomy.mode("broken_link").examples[1].reply == "example.invalid/x"


def test_an_empty_overlay_file_says_which_key_is_missing(tmp_path):
    (tmp_path / "own.yaml").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="modes"):
        load_taxonomy(tmp_path / "own.yaml")


@pytest.mark.parametrize(
    ("modes", "message"),
    [
        ({"broken_link": {"name": "Broken link"}}, "broken_link.*lacks definition, severities"),
        ({"overlaod": {"definition": "x"}}, "overlaod.*did you mean overload"),
        ({"overload": {"defintion": "x"}}, "unknown key modes.overload.defintion; did you mean definition"),
        ({"overload": {"definition": "  "}}, "modes.overload.definition"),
        ({"overload": {"severities": ["a", "b"]}}, "modes.overload.severities"),
        ({"overload": {"visibility": "sometimes"}}, "modes.overload.visibility"),
        ({"overload": {"examples": [{"user": "a", "reply": "b"}]}}, "modes.overload.examples: got 1, expected >= 2"),
        ({"overload": {"examples": [{"user": "a", "answer": "b"}]}}, "examples.0.answer"),
        ({"Over Load": NEW_MODE}, "Over Load.*lower-case"),
        ([], "modes"),
    ],
)
def test_a_faulty_overlay_is_an_error_that_names_the_key(tmp_path, modes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_taxonomy(write(tmp_path / "own.yaml", modes))
    assert "own.yaml" in str(caught.value)


def test_an_unknown_top_level_key_or_a_missing_file_is_an_error(tmp_path):
    (tmp_path / "own.yaml").write_text("mode: {}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="unknown key mode; did you mean modes"):
        load_taxonomy(tmp_path / "own.yaml")
    with pytest.raises(ConfigError, match="no such file"):
        load_taxonomy(tmp_path / "none.yaml")


def test_asking_for_an_unknown_mode_names_the_nearest():
    with pytest.raises(ConfigError, match="'sycofancy'; did you mean sycophancy"):
        load_taxonomy().mode("sycofancy")


def test_no_mode_is_called_what_any_failure_is_called(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("modes: {any: {name: All}}")
    with pytest.raises(ConfigError, match=r"modes\.any: .*call the mode otherwise"):
        load_taxonomy(path)
