"""A GPU whose memory is full, said with the setting that asks for less."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from advsim.errors import RunError, one_line


@contextmanager
def lower_if_full(what: str, *keys: str) -> Iterator[None]:
    """Turn torch's error about a full GPU into one that says what to lower; also a decorator.

    Args:
        what: was being done: ``dpo``.
        keys: settings that the memory grows with, in the order in which to try them.

    Raises:
        RunError: the memory was full.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RunError(
            f"{what}: the GPU's memory is full ({one_line(str(error), max_characters=160)}). Lower "
            f"{', or '.join(keys)}; or give the pool a GPU of its own (resources)"
        ) from error
