from __future__ import annotations

from collections import Counter

from advsim.corpus.split import assign_split, choose_dialogues
from advsim.records import Dialogue, Speaker, Split, Turn


def split_of(dialogue_id: str, user_id: str | None = None, *, validation: float = 0.2, test: float = 0.1) -> Split:
    return assign_split(dialogue_id, user_id, validation_fraction=validation, test_fraction=test)


def dialogue(dialogue_id: str) -> Dialogue:
    return Dialogue(
        id=dialogue_id,
        source="s",
        split=split_of(dialogue_id),
        turns=(Turn(speaker=Speaker.USER, text="hi"),),
    )


def test_split_is_the_same_in_every_release() -> None:
    assert [split_of(f"d-{i}") for i in (0, 1, 4)] == [Split.TEST, Split.TRAIN, Split.VALIDATION]


def test_splits_have_the_configured_sizes() -> None:
    sizes = Counter(split_of(f"d-{i}") for i in range(5000))
    assert abs(sizes[Split.VALIDATION] / 5000 - 0.2) < 0.02
    assert abs(sizes[Split.TEST] / 5000 - 0.1) < 0.015


def test_all_dialogues_of_a_user_share_a_split() -> None:
    for user in range(50):
        assert len({split_of(f"d-{i}", f"u-{user}") for i in range(20)}) == 1


def test_users_are_not_all_in_one_split() -> None:
    assert {split_of("d-0", f"u-{user}") for user in range(50)} == set(Split)


def test_test_split_does_not_move_with_the_validation_fraction() -> None:
    ids = [f"d-{i}" for i in range(500)]
    assert {i for i in ids if split_of(i, validation=0.2) is Split.TEST} == {
        i for i in ids if split_of(i, validation=0.5) is Split.TEST
    }


def test_chosen_dialogues_are_of_every_split() -> None:
    chosen = choose_dialogues([dialogue(f"d-{i}") for i in range(1000)], num_dialogues=100)
    sizes = Counter(d.split for d in chosen)
    assert len(chosen) == 100
    assert 50 <= sizes[Split.TRAIN] <= 90


def test_adding_dialogues_only_displaces_chosen_ones_by_new_ones() -> None:
    old = [dialogue(f"d-{i}") for i in range(100)]
    before = {d.id for d in choose_dialogues(old, num_dialogues=20)}
    after = {d.id for d in choose_dialogues([*old, *(dialogue(f"n-{i}") for i in range(50))], num_dialogues=20)}
    assert {i for i in after if i.startswith("d-")} <= before
