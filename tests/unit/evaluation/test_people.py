"""Who is the same person in two files."""

import json

import pytest
from made_up_dialogues import ByLength, FindsShould

from advsim.config import Config, EvaluateConfig
from advsim.corpus.prefixes import user_of
from advsim.evaluation.files import measure_files
from advsim.evaluation.people import tell_people_apart
from advsim.records import Dialogue, Speaker, Split, Turn
from advsim.runtime.progress import Reporter


def dialogue(id, said, user_id=None):
    turns = (Turn(speaker=Speaker.USER, text=said), Turn(speaker=Speaker.CHATBOT, text="ok", labels={"made": (said,)}))
    return Dialogue(id=id, source="s", split=Split.TEST, user_id=user_id, turns=turns)


def test_an_equal_id_alone_does_not_make_the_same_person():
    one = [dialogue("a", "hello", "1"), dialogue("b", "hi", "2"), dialogue("c", "alone")]
    two = [dialogue("x", "other", "1"), dialogue("c", "another"), dialogue("y", "new", "3")]
    people = tell_people_apart(one, two, same_users=False)
    assert people.num_apart == 2
    assert not people.same
    assert not {user_of(it) for it in people.reference} & {user_of(it) for it in one}
    assert [it.turns for it in people.reference] == [it.turns for it in two]
    assert people.reference[2] == two[2], "who shares no id keeps it"


def test_people_with_an_equal_dialogue_are_the_same_in_all_their_dialogues():
    one = [dialogue("a", "hello", "1"), dialogue("b", "hi", "1"), dialogue("c", "alone")]
    two = [dialogue("a", "hello", "1"), dialogue("d", "later", "1"), dialogue("c", "alone")]
    people = tell_people_apart(one, two, same_users=False)
    assert people.reference == tuple(two)
    assert people.same == {"user 1", "dialogue c"}
    assert people.num_apart == 0


def test_equal_ids_are_the_same_people_where_the_configuration_says_so():
    one, two = [dialogue("a", "hello", "1")], [dialogue("x", "other", "1")]
    people = tell_people_apart(one, two, same_users=True)
    assert people.reference == tuple(two)
    assert people.same == {"user 1"}


def test_the_new_name_is_nobody_elses():
    two = [dialogue("x", "other", "1"), dialogue("y", "new", "1 (reference)")]
    people = tell_people_apart([dialogue("a", "hello", "1")], two, same_users=False)
    assert len({user_of(it) for it in people.reference}) == 2


@pytest.mark.parametrize(
    ("same_users", "said"),
    [(False, "taken for different people"), (True, "12 user ids stand in both and are taken for the same people")],
)
def test_an_evaluation_counts_users_of_two_exports_that_both_number_from_one_apart(tmp_path, same_users, said):
    paths = []
    for name in "ab":
        rows = [
            {
                "id": f"{name}-{k}",
                "user_id": str(k),
                "turns": [{"speaker": "user", "text": f"{name} {k}"}, {"speaker": "chatbot", "text": f"go {k}"}],
            }
            for k in range(12)
        ]
        paths.append(tmp_path / f"{name}.jsonl")
        paths[-1].write_text("\n".join(map(json.dumps, rows)))
    measured = measure_files(
        paths[0],
        reference=paths[1],
        config=Config(evaluate=EvaluateConfig(same_users=same_users)),
        detector=FindsShould(),
        embedder=ByLength(),
        reporter=Reporter(force_plain=True),
    )
    assert sum(said in note for note in measured.result.notes) == 1
