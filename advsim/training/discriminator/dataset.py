"""Dialogues that the discriminator is trained on: real and simulated ones of the same scenarios, cut and split."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from advsim.records import Conversation, Dialogue, Speaker, Turn
from advsim.training.discriminator.inputs import UserView


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledView:
    """A view with the label of all its user turns: 1 real, 0 simulated."""

    view: UserView
    label: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioSplit:
    """Disjoint by user where known, else by scenario."""

    train: tuple[LabelledView, ...]
    held_out: tuple[LabelledView, ...]


def cut_to_user_turns(turns: Sequence[Turn], max_user_turns: int) -> tuple[Turn, ...]:
    """The turns up to the last user turn, or up to the ``max_user_turns``-th.

    Simulated conversations stop at ``rollout.max_user_turns``; real ones are cut there too, so that length is no cue.
    """
    ends = [i + 1 for i, turn in enumerate(turns) if turn.speaker is Speaker.USER][:max_user_turns]
    return tuple(turns[: ends[-1]]) if ends else ()


def real_view(dialogue: Dialogue, *, max_user_turns: int) -> UserView:
    """A real dialogue, cut to ``max_user_turns``."""
    return UserView(
        conversation_id=dialogue.id,
        scenario_id=dialogue.id,
        user_id=dialogue.user_id,
        context=dialogue.context,
        turns=cut_to_user_turns(dialogue.turns, max_user_turns),
    )


def simulated_view(conversation: Conversation, dialogue: Dialogue, *, max_user_turns: int) -> UserView:
    """A simulated conversation with the context and user of the real dialogue that its scenario comes from.

    Raises:
        ValueError: the conversation is of another scenario.
    """
    if conversation.scenario_id != dialogue.id:
        raise ValueError(
            f"conversation {conversation.id}: its scenario is {conversation.scenario_id}, got dialogue {dialogue.id}; "
            "give the dialogue of that scenario"
        )
    return UserView(
        conversation_id=conversation.id,
        scenario_id=dialogue.id,
        user_id=dialogue.user_id,
        context=dialogue.context,
        turns=cut_to_user_turns(conversation.turns, max_user_turns),
    )


def split_by_scenario(
    real: Sequence[UserView], simulated: Sequence[UserView], *, held_out_fraction: float, seed: int
) -> ScenarioSplit:
    """Split whole groups (users where known, else scenarios) by a seeded draw; the order of the views does not matter.

    At least one group is held out where ``held_out_fraction`` is above 0 and there are two or more; at least one stays
    for training.

    Raises:
        ValueError: one scenario belongs to two users.
    """
    group_of = _groups([*real, *simulated])
    groups = sorted(set(group_of.values()))
    random.Random(seed).shuffle(groups)
    wanted = max(1, round(held_out_fraction * len(groups))) if held_out_fraction > 0.0 else 0
    held_out_groups = frozenset(groups[: min(wanted, len(groups) - 1)])
    labelled = [LabelledView(view=view, label=1) for view in real]
    labelled += [LabelledView(view=view, label=0) for view in simulated]
    return ScenarioSplit(
        train=tuple(item for item in labelled if group_of[item.view.scenario_id] not in held_out_groups),
        held_out=tuple(item for item in labelled if group_of[item.view.scenario_id] in held_out_groups),
    )


def _groups(views: Sequence[UserView]) -> dict[str, tuple[str, str]]:
    """Group of each scenario. A user known from any view of a scenario holds for all views of it."""
    users: dict[str, str] = {}
    for view in views:
        if view.user_id is None:
            continue
        known = users.setdefault(view.scenario_id, view.user_id)
        if known != view.user_id:
            raise ValueError(
                f"scenario {view.scenario_id}: got users {known!r} and {view.user_id!r}, expected one; "
                "a scenario is the context of one user's dialogue"
            )
    return {
        view.scenario_id: ("user", users[view.scenario_id])
        if view.scenario_id in users
        else ("scenario", view.scenario_id)
        for view in views
    }
