"""Figures in sentences that compare them: with digits enough to see what is said of them."""

from __future__ import annotations

_MAX_DIGITS = 17


def digits_apart(value: float, bound: float, *, least: int = 2) -> int:
    """Digits after the point, at least ``least``, with which two figures look as different as they are.

    0.8496 is "0.8496 (< 0.8500)" and not "0.85 (< 0.85)"; equal figures need no more than ``least``.
    """
    if value == bound:
        return least
    # as numbers: "-0.00" is no less than "0.00"
    apart = (d for d in range(least, _MAX_DIGITS) if float(f"{value:.{d}f}") != float(f"{bound:.{d}f}"))
    return next(apart, _MAX_DIGITS)
