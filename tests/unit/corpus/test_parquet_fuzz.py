"""Parquet files of any types are read or refused in words: no traceback of a library reaches the reader."""

import datetime
import decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advsim.config import ColumnsConfig, CorpusConfig
from advsim.corpus.files import read_dialogues
from advsim.corpus.load import load_corpus
from advsim.errors import CorpusError

MOMENT = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901)
TEXTS = st.sampled_from(["hi", "", " ", "user", "chatbot", "assistant", "é\u0301", "\x00", "x" * 200_000, "🙂", "nan"])
VALUES = (
    (pa.string(), TEXTS),
    (pa.large_string(), TEXTS),
    (pa.string_view(), TEXTS),
    (pa.dictionary(pa.int8(), pa.string()), TEXTS),
    (pa.binary(), st.binary(max_size=4)),
    (pa.large_binary(), st.binary(max_size=4)),
    (pa.binary(3), st.just(b"\xff\x00a")),
    (pa.null(), st.none()),
    (pa.bool_(), st.booleans()),
    (pa.int8(), st.integers(-128, 127)),
    (pa.uint64(), st.just(2**64 - 1)),
    (pa.float16(), st.just(1.5)),
    (pa.float32(), st.sampled_from([1.0, float("nan"), float("inf")])),
    (pa.decimal128(38, 9), st.just(decimal.Decimal("7.5"))),
    (pa.decimal256(60, 2), st.just(decimal.Decimal("7.00"))),
    (pa.date32(), st.just(MOMENT.date())),
    (pa.date64(), st.just(MOMENT.date())),
    (pa.time64("us"), st.just(MOMENT.time())),
    (pa.time64("ns"), st.just(1)),
    (pa.timestamp("ns"), st.just(1)),
    (pa.timestamp("ns"), st.just(2**62 + 1)),
    (pa.timestamp("us"), st.sampled_from([MOMENT, 2**62])),
    (pa.timestamp("us", tz="Nowhere/Land"), st.just(1)),
    (pa.timestamp("s", tz="Europe/Berlin"), st.just(1)),
    (pa.duration("ns"), st.just(1)),
    (pa.duration("us"), st.just(2**62)),
)


@st.composite
def columns(draw: st.DrawFn, depth: int = 2) -> tuple[pa.DataType, st.SearchStrategy[object]]:
    """A type of a column, and its values."""
    kind = draw(st.sampled_from(["value", "turns", "list", "struct", "map"] if depth else ["value"]))
    if kind == "value":
        type_, values = draw(st.sampled_from(VALUES))
        return type_, st.one_of(st.none(), values)
    if kind == "turns":
        names = [
            draw(st.sampled_from(["speaker", "role", "from"])),
            draw(st.sampled_from(["text", "content", "value"])),
        ]
        (type_a, values_a), (type_b, values_b) = draw(columns(depth=0)), draw(columns(depth=0))
        one = st.fixed_dictionaries({names[0]: values_a, names[1]: values_b})
        return pa.list_(pa.struct([(names[0], type_a), (names[1], type_b)])), st.lists(one, max_size=3)
    inner, values = draw(columns(depth=depth - 1))
    if kind == "struct":
        return pa.struct([("text", inner), ("speaker", inner)]), st.fixed_dictionaries(
            {"text": values, "speaker": values}
        )
    if kind == "map":
        return pa.map_(pa.string(), inner), st.lists(st.tuples(st.just("a"), values), max_size=2)
    wrap = draw(st.sampled_from([pa.list_, pa.large_list, lambda of: pa.list_(of, 2)]))
    return wrap(inner), st.lists(values, min_size=2, max_size=2)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    num_rows = draw(st.sampled_from([0, 1, 2, 3]))
    names = draw(st.lists(st.sampled_from(["id", "user_id", "chatbot", "why"]), unique=True, max_size=3))
    made = {}
    for name in ["turns", *names]:
        type_, values = draw(columns())
        rows = draw(st.lists(values, min_size=num_rows, max_size=num_rows))
        try:
            made[name] = pa.array(rows, type=type_)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            made[name] = pa.nulls(num_rows, type=pa.string())
    return pa.table(made)


REACHED: dict[str, int] = {}


def check(path: Path, config: CorpusConfig) -> None:
    for read in (lambda: read_dialogues(path), lambda: read_dialogues(path, config), lambda: load_corpus(config)):
        try:
            read()
            outcome = "read"
        except CorpusError as error:
            outcome = "refused"
            assert str(path) in str(error) or "column" in str(error), error
        REACHED[outcome] = REACHED.get(outcome, 0) + 1


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(table=tables())
def test_a_parquet_file_of_any_types_is_read_or_refused_in_words(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("fuzz") / "a.parquet"
    try:
        pq.write_table(table, path)
    except (pa.ArrowException, ValueError):  # not every type can be written
        return
    names = {name: name for name in ("id", "user_id", "chatbot") if name in table.column_names}
    layers = {"session": ("why",)} if "why" in table.column_names else {}
    config = CorpusConfig(path=str(path), columns=ColumnsConfig(**names, **layers), merge_consecutive=True)
    check(path, config)


TURNS = [{"speaker": "user", "text": "hi"}, {"speaker": "chatbot", "text": "hello"}]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), kind=st.sampled_from(VALUES))
def test_an_id_and_a_topic_of_any_type_beside_good_turns_are_read_or_refused_in_words(tmp_path_factory, data, kind):
    path = tmp_path_factory.mktemp("fuzz") / "a.parquet"
    ids = data.draw(st.lists(st.one_of(st.none(), kind[1]), min_size=1, max_size=3))
    try:
        column = pa.array(ids, type=kind[0])
        pq.write_table(pa.table({"id": column, "why": column, "turns": [TURNS] * len(ids)}), path)
    except (pa.ArrowException, ValueError, OverflowError):
        return
    check(path, CorpusConfig(path=str(path), columns=ColumnsConfig(id="id", session=("why",))))


def test_the_tests_above_reached_files_that_are_read_and_files_that_are_refused():
    assert min(REACHED.get("read", 0), REACHED.get("refused", 0)) > 20, REACHED


def test_a_row_that_cannot_be_read_is_named_and_may_be_left_out(tmp_path):
    path = tmp_path / "a.parquet"
    days = pa.array([1, 2**62, 2], type=pa.timestamp("us"))
    pq.write_table(pa.table({"when": days, "text": ["a", "b", "c"], "turns": [TURNS] * 3}), path)
    config = CorpusConfig(path=str(path), columns=ColumnsConfig(id="when"), validation_fraction=0.0, test_fraction=0.0)
    with pytest.raises(CorpusError, match="row 2: a value cannot be read"):
        load_corpus(config.model_copy(update={"columns": ColumnsConfig(id="text", session=("when",))}))
