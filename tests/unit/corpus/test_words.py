"""Words are counted alike in every script."""

import unicodedata

import pytest

from advsim.corpus.habits import is_short, num_words, words_of


@pytest.mark.parametrize(
    ("text", "num"),
    [
        ("मुझे नींद नहीं आती", 4),  # Hindi
        ("दो हफ़्ते से।", 3),
        ("நான் மிகவும் தனியாக உணர்கிறேன்", 4),  # Tamil
        ("আমি খুব একা", 3),  # Bengali
        ("أَشْعُرُ بِالْوَحْدَةِ", 2),  # Arabic with vowel marks
        ("اَنَا وَحِيدٌ", 2),
        ("می‌خواهم بمیرم", 2),  # Persian with a zero-width non-joiner inside a word
        ("나는 너무 외로워요", 3),  # Korean
        ("我很难过", 4),  # Chinese
        ("我很难过，你呢？", 6),
        ("コーヒー", 4),  # Japanese, with the sign of a long vowel
        ("悲しいです", 5),
        ("ok 我很难过", 5),
        ("ຂ້ອຍ", 3),  # Lao: three letters, one tone mark
        ("ខ្ញុំ", 2),  # Khmer: two letters, marks
        ("don't worry, Zoë", 3),
        ("caf\u00e9 cr\u00e8me", 2),
        ("", 0),
        ("...", 0),
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_words_are_counted_in_every_script_composed_or_not(text: str, num: int, form: str) -> None:
    words = words_of(unicodedata.normalize(form, text))
    assert len(words) == num, words
    assert words == words_of(text)
    if words and words_of(text[-1]):
        assert num_words(unicodedata.normalize(form, text)) == num


def test_thai_counts_letters_with_their_marks() -> None:
    assert words_of("ที่นี่") == ["ที่", "นี่"]
    assert num_words("ฉันเศร้า มาก") == len(words_of("ฉันเศร้า")) + len(words_of("มาก")) > 6


def test_signs_between_spaces_count_as_typed_but_are_no_words() -> None:
    assert num_words("ok :) self-care") == 3
    assert words_of("ok :) self-care") == ["ok", "self", "care"]


def test_a_long_chinese_turn_is_not_short() -> None:
    assert not is_short("我最近总是睡不着觉")
    assert is_short("好的")
