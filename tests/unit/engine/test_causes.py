"""What is said of an engine's failure is its cause."""

from __future__ import annotations

from advsim.engine.vllm import cause_of


def raised(outer: Exception, inner: Exception | None = None) -> Exception:
    try:
        if inner is None:
            raise outer
        try:
            raise inner
        except Exception as error:
            raise outer from error
    except Exception as error:
        return error


def test_a_link_behind_the_cause_is_left_out() -> None:
    error = raised(
        ValueError(
            "1 validation error for ModelConfig\n  User-specified max_model_len (20000) is greater than 8192\n"
            "    For further information visit https://errors.pydantic.dev/2/v/value_error"
        )
    )
    said = cause_of(error)
    assert "max_model_len (20000) is greater than 8192" in said and "further information" not in said


def test_of_a_chain_the_first_error_is_told() -> None:
    outer = RuntimeError("Engine core initialization failed. See root cause above. Failed core proc(s): {}")
    assert cause_of(raised(outer, OSError("no space for the KV cache"))) == "no space for the KV cache"


def test_an_error_without_words_is_told_by_its_type() -> None:
    assert cause_of(raised(TimeoutError())) == "TimeoutError"
