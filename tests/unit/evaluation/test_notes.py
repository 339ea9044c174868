"""What an evaluation says about messages that were not judged."""

from advsim.detectors.rules import RulesDetector
from advsim.evaluation.notes import language_notes
from advsim.records import Assessment


def assessments(*languages: str) -> list[Assessment]:
    return [
        Assessment(conversation_id="d", turn=i, detector="rules", other_language=language)
        for i, language in enumerate(languages)
    ]


def test_messages_not_judged_because_of_their_language_are_counted_by_language() -> None:
    groups = {"made": assessments("Spanish", "", "German", "Spanish"), "real": assessments("", "")}
    (note,) = language_notes(groups, RulesDetector())
    assert note.startswith(
        "made: 3 of 4 messages were not judged, because of their language (Spanish 2, German 1): the detector rules"
    )
