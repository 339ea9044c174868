import dataclasses

import pyarrow.parquet

from advsim.records import (
    Candidate,
    Conversation,
    Effort,
    NextTurn,
    PreferencePair,
    ScoredTurn,
    Speaker,
    StopReason,
    Turn,
)
from advsim.run_folder.tables import SCHEMAS, conversations_table, from_table, read_conversations, to_table, turns_table

CONVERSATION = Conversation(
    id="r01-00000",
    scenario_id="s",
    chatbot="bot",
    simulator_version=1,
    simulator_sha256="ab",
    turns=(
        Turn(speaker=Speaker.USER, text="hi 🙂\nthere", token_ids=(1, 2)),
        Turn(speaker=Speaker.CHATBOT, text="hello"),
    ),
    stop_reason=StopReason.END_TOKEN,
    num_prompt_tokens=10,
    num_output_tokens=4,
    seed=5,
)


def test_conversations_survive_parquet(tmp_path):
    pyarrow.parquet.write_table(conversations_table([CONVERSATION]), tmp_path / "c.parquet")
    pyarrow.parquet.write_table(turns_table([CONVERSATION]), tmp_path / "t.parquet")
    read = read_conversations(
        pyarrow.parquet.read_table(tmp_path / "c.parquet"), pyarrow.parquet.read_table(tmp_path / "t.parquet")
    )
    assert read == [CONVERSATION]


def test_turns_keep_their_thought_and_tables_without_one_are_still_read():
    turn = Turn(speaker=Speaker.CHATBOT, text="Hello.", thought="he whines", is_cut=True)
    thinking = dataclasses.replace(CONVERSATION, turns=(turn,))
    tables = conversations_table([thinking]), turns_table([thinking])
    assert read_conversations(*tables) == [thinking]
    (older,) = read_conversations(tables[0], tables[1].drop_columns(["thought", "is_cut"]))
    assert older.turns == (Turn(speaker=Speaker.CHATBOT, text="Hello."),)


def test_turns_keep_what_they_took_and_tables_without_it_are_still_read():
    efforts = [Effort(seconds=0.5, num_prompt_tokens=7, num_output_tokens=3), Effort(seconds=1.5)]
    turns = tuple(Turn(speaker=Speaker.CHATBOT, text="Hello.", effort=effort) for effort in efforts)
    timed = dataclasses.replace(CONVERSATION, turns=turns)
    tables = conversations_table([timed]), turns_table([timed])
    assert read_conversations(*tables) == [timed]
    (older,) = read_conversations(
        tables[0], tables[1].drop_columns(["seconds", "num_prompt_tokens", "num_output_tokens"])
    )
    assert [turn.effort for turn in older.turns] == [None, None]


def test_every_turn_row_is_stamped_with_version_and_hash():
    rows = turns_table([CONVERSATION]).to_pylist()
    assert {(row["simulator_version"], row["simulator_sha256"]) for row in rows} == {(1, "ab")}


def test_records_survive_their_table():
    examples = {
        ScoredTurn: ScoredTurn(conversation_id="c", turn=2, user_turn=2, p_real=0.25, reward=-1.5),
        Candidate: Candidate(
            conversation_id="c",
            turn=2,
            index=0,
            text="x",
            token_ids=(3,),
            finished=True,
            simulator_version=0,
            p_real=0.5,
            reward=0.0,
        ),
        PreferencePair: PreferencePair(
            conversation_id="c",
            turn=2,
            prompt_ids=(1,),
            chosen_ids=(2, 9),
            rejected_ids=(3,),
            chosen="a",
            rejected="b",
            chosen_reward=1.0,
            rejected_reward=-1.0,
            margin=2.0,
            simulator_version=0,
        ),
        NextTurn: NextTurn(dialogue_id="d", turn=4, text="ok", finished=False),
    }
    assert examples.keys() == SCHEMAS.keys()
    for kind, record in examples.items():
        assert from_table(to_table([record], kind), kind) == [record]
        assert from_table(to_table([], kind), kind) == []
