"""Batches of sequences of like length, so that little of a batch is padding."""

from __future__ import annotations

import random
from collections.abc import Sequence

_BATCHES_PER_BUCKET = 8


def length_bucketed_batches(lengths: Sequence[int], *, batch_size: int, rng: random.Random) -> list[list[int]]:
    """One epoch: every index once, in batches in random order.

    The indices are shuffled, cut into buckets of eight batches and sorted by length inside each, so which sequences
    share a batch still varies from epoch to epoch.
    """
    order = list(range(len(lengths)))
    rng.shuffle(order)
    size = batch_size * _BATCHES_PER_BUCKET
    buckets = [sorted(order[i : i + size], key=lengths.__getitem__) for i in range(0, len(order), size)]
    batches = [bucket[i : i + batch_size] for bucket in buckets for i in range(0, len(bucket), batch_size)]
    rng.shuffle(batches)
    return batches


def padded_groups(
    lengths: Sequence[int], *, max_sequences: int, max_padded_tokens: int | None = None
) -> list[list[int]]:
    """All indices once, longest first, in groups of at most ``max_sequences``.

    The padded size of a group is at most ``max_padded_tokens`` tokens (None: no limit); a sequence longer than that is
    a group of its own.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        last = groups[-1] if groups else []
        padded_tokens = lengths[last[0]] * (len(last) + 1) if last else 0
        fits = max_padded_tokens is None or padded_tokens <= max_padded_tokens
        if last and len(last) < max_sequences and fits:
            last.append(index)
        else:
            groups.append([index])
    return groups
