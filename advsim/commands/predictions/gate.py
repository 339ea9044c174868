"""``advsim gate``: may a candidate replace the baseline? For CI, by exit code."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from types import MappingProxyType

from advsim.commands.show import print_json, say
from advsim.predictions.gate import gate
from advsim.rates.increase import IncreaseVerdict
from advsim.records import Rate
from advsim.run_folder.results import plain_values
from advsim.sweep.outcomes import read_sweep

EXIT_CODES: Mapping[IncreaseVerdict, int] = MappingProxyType(
    {IncreaseVerdict.NOT_WORSE: 0, IncreaseVerdict.WORSE: 1, IncreaseVerdict.NOT_ENOUGH_EVIDENCE: 4}
)


def run(options: argparse.Namespace) -> int:
    """Print the verdict on a candidate; returns its exit code.

    Raises:
        ConfigError: it is no finished sweep, or a name is not in it.
        RunError: the sweep's files are damaged.
    """
    found = gate(
        read_sweep(options.sweep),
        baseline=options.baseline,
        candidate=options.candidate,
        max_increase_points=options.max_increase,
        mode=options.mode,
        simulator=options.simulator,
    )
    if options.json:
        print_json(plain_values(found))
        return EXIT_CODES[found.verdict]
    say(found.sentence)
    what = "any failure" if found.mode == "any" else found.mode
    paired = found.increase.difference.num_paired
    say(
        f"{found.simulator}, {what}: {found.baseline} {_rate(found.rate_baseline)}; {found.candidate} "
        f"{_rate(found.rate_candidate)}; {paired} scenarios with both."
    )
    for note in found.notes:
        say(note)
    none, limit = (f"{100 * share:.1f} %" for share in found.false_fails)
    say(
        f"Measured on 1,000 simulated studies each: a candidate without an increase is called worse in {none}, one at "
        f"the limit in {limit}."
    )
    return EXIT_CODES[found.verdict]


def _rate(rate: Rate) -> str:
    if rate.estimate is None:
        return "no judged message"
    bounds = "" if rate.low is None or rate.high is None else f" ({100 * rate.low:.1f}–{100 * rate.high:.1f})"
    return f"{100 * rate.estimate:.1f} %{bounds} of {rate.num_messages} messages in {rate.num_dialogues} dialogues"
