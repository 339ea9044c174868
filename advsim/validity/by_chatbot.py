"""Several chatbots in one set of dialogues: their failure rates side by side, and A/B tests between them.

Where the same chatbots are in a set of real dialogues too, the two are held against each other: predictive validity
(:mod:`advsim.validity.verdict`), whether the simulated users can be told from the real ones by the rates
(:mod:`advsim.validity.population_test`), and whether the A/B results replicate (:mod:`advsim.validity.replication`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from advsim.rates.ab_test import Difference, adjusted, compare, compare_modes
from advsim.rates.outcomes import MessageOutcome, of_modes
from advsim.rates.rates import ANY, failure_rate
from advsim.records import Rate
from advsim.validity.agreement import Agreement, Comparison
from advsim.validity.paired_rates import both_sides
from advsim.validity.population_test import SimulatorVerdict, simulator_verdict
from advsim.validity.replication import AbPair, AbReplication, ab_replication
from advsim.validity.verdict import Validity, predictive_validity


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatbotRates:
    """Failure rates of one chatbot by mode; the key ``any`` is a message with any failure.

    Attributes:
        chatbot: its name.
        simulated: empty where the chatbot is among the real dialogues only.
        real: empty without real dialogues of it.
    """

    chatbot: str
    simulated: Mapping[str, Rate]
    real: Mapping[str, Rate]


@dataclass(frozen=True, slots=True, kw_only=True)
class AbTest:
    """A minus B, any mode (None) first, then mode by mode.

    ``p_adjusted`` of any mode is Holm's over all pairs of the side; that of the modes is Benjamini and Hochberg's over
    the modes of this pair.

    Attributes:
        pair: the two chatbots.
        simulated: in the conversations.
        real: in the real dialogues; empty where they are not compared.
    """

    pair: AbPair
    simulated: tuple[Difference, ...]
    real: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ByChatbot:
    """Rates, A/B tests and agreement of several chatbots.

    Attributes:
        chatbots: rates of all that are named, by name.
        tests: A/B tests of the pairs, in their order.
        validity: any mode, over the chatbots on both sides; None without real dialogues, or with fewer than two
            chatbots in common.
        validity_by_mode: Pearson's r of every mode that was found on both sides.
        population_test: whether the simulated rates of the chatbots in common differ from the real ones beyond chance;
            None where ``validity`` is.
        replication: of the A/B tests; None where ``validity`` is.
        left_out: chatbots on one side only, where there are two sides.
        num_unnamed: (simulated, real) dialogues that name no chatbot; they are in no figure here.
        reason: why there is no ``validity``; empty where there is.
    """

    chatbots: tuple[ChatbotRates, ...]
    tests: tuple[AbTest, ...] = ()
    validity: Validity | None = None
    validity_by_mode: Mapping[str, Agreement]
    population_test: SimulatorVerdict | None = None
    replication: AbReplication | None = None
    left_out: tuple[str, ...] = ()
    num_unnamed: tuple[int, int] = (0, 0)
    reason: str = ""


def rows_by_chatbot(rows: Sequence[MessageOutcome], chatbots: Mapping[str, str]) -> dict[str, list[MessageOutcome]]:
    """Messages by chatbot, by name; none for a chatbot that says nothing. Dialogues that name none are left out.

    Args:
        rows: messages of one set of dialogues.
        chatbots: name of the chatbot by dialogue id, where known.
    """
    by_name: dict[str, list[MessageOutcome]] = {name: [] for name in sorted(set(chatbots.values()))}
    for row in rows:
        if row.dialogue_id in chatbots:
            by_name[chatbots[row.dialogue_id]].append(replace(row, configuration=chatbots[row.dialogue_id]))
    return by_name


def pairs_with_baseline(names: Sequence[str], baseline: str | None = None) -> tuple[AbPair, ...]:
    """Every chatbot against the baseline, by name; without one, against the first name.

    Raises:
        ValueError: the baseline is not among the names.
    """
    ordered = sorted(names)
    if baseline is not None and baseline not in ordered:
        raise ValueError(f"baseline: got {baseline}, expected one of {', '.join(ordered)}")
    against = baseline if baseline is not None else next(iter(ordered), "")
    return tuple(AbPair(a=name, b=against) for name in ordered if name != against)


def pair_readings(text: str) -> list[tuple[str, str]]:
    """All ways to read ``a:b`` as two names, a way for each colon."""
    colons = [place for place, letter in enumerate(text) if letter == ":"]
    return [(text[:place].strip(), text[place + 1 :].strip()) for place in colons]


def parse_pairs(texts: Sequence[str], names: Sequence[str]) -> tuple[AbPair, ...]:
    """Pairs written ``a:b``. Names may hold a colon themselves, as in ``model:large``.

    Raises:
        ValueError: a text is not two of the names with a colon between them, or can be read in two ways; or a pair is
            there twice.
    """
    pairs: list[AbPair] = []
    for text in texts:
        known = [(a, b) for a, b in pair_readings(text) if a in names and b in names and a != b]
        if len(known) != 1:
            raise ValueError(
                f"pair {text!r}: expected NAME:NAME, two different ones of {', '.join(sorted(names))}"
                + (", and one way to read it" if known else "")
            )
        if any({pair.a, pair.b} == set(known[0]) for pair in pairs):
            raise ValueError(f"pair {text!r}: expected every pair once")
        pairs.append(AbPair(a=known[0][0], b=known[0][1]))
    return tuple(pairs)


def compare_chatbots(
    simulated: Mapping[str, Sequence[MessageOutcome]],
    real: Mapping[str, Sequence[MessageOutcome]] | None = None,
    *,
    modes: Sequence[str],
    pairs: Sequence[AbPair],
    num_unnamed: tuple[int, int] = (0, 0),
    num_permutations: int = 1000,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> ByChatbot:
    """Rates and A/B tests of several chatbots, and how well simulated and real ones agree.

    Args:
        simulated: messages by chatbot; any number of chatbots.
        real: the same of real dialogues, where there are any.
        modes: ids of the taxonomy, in order.
        pairs: chosen beforehand, of :func:`comparable` chatbots; Holm's correction is over all of them.
        num_unnamed: see :class:`ByChatbot`.
        num_permutations: of each test.
        num_bootstrap: draws of the ceiling's interval.
        seed: of all draws.

    Raises:
        ValueError: a pair names a chatbot that cannot be compared, or a mode was found that ``modes`` does not name.
    """
    other = real or {}
    names = sorted({*simulated, *other})
    shared = sorted({*simulated} & {*other})
    rates_alone = ByChatbot(
        chatbots=tuple(
            ChatbotRates(
                chatbot=name, simulated=_rates(simulated.get(name), modes), real=_rates(other.get(name), modes)
            )
            for name in names
        ),
        validity_by_mode={},
        left_out=() if real is None else tuple(name for name in names if name not in shared),
        num_unnamed=num_unnamed,
    )
    usable = comparable(simulated, real)
    if missing := sorted({name for pair in pairs for name in (pair.a, pair.b)} - set(usable)):
        raise ValueError(f"pairs: got {', '.join(missing)}, expected some of {', '.join(usable) or 'no chatbot'}")
    tests = _Tests(modes=modes, num_permutations=num_permutations, seed=seed)
    if real is None:
        return replace(
            rates_alone, tests=tests.of(simulated, pairs), reason="there are no real dialogues to compare with"
        )
    if len(shared) < 2:
        reason = f"agreement over configurations is undefined for {len(shared)} configuration"
        return replace(
            rates_alone, tests=tests.of(simulated, pairs), reason=reason if len(shared) == 1 else f"{reason}s"
        )
    sides = {name: simulated[name] for name in shared}, {name: other[name] for name in shared}
    replication = ab_replication(*sides, pairs, num_permutations=num_permutations, seed=seed)
    return replace(
        rates_alone,
        tests=tuple(
            AbTest(
                pair=result.pair,
                simulated=(result.simulated, *tests.by_mode(sides[0], result.pair)),
                real=(result.real, *tests.by_mode(sides[1], result.pair)),
            )
            for result in replication.pairs
        ),
        validity=predictive_validity(*sides, num_bootstrap=num_bootstrap, seed=seed),
        validity_by_mode=validity_by_mode(*sides, modes=modes),
        population_test=simulator_verdict(*sides, modes=modes, seed=seed),
        replication=replication,
    )


def validity_by_mode(
    simulated: Mapping[str, Sequence[MessageOutcome]],
    real: Mapping[str, Sequence[MessageOutcome]],
    *,
    modes: Sequence[str],
) -> dict[str, Agreement]:
    """Pearson's r over chatbots of every mode that was found on both sides: a description and no claim.

    Args:
        simulated: messages by chatbot.
        real: messages by chatbot, of the same chatbots.
        modes: ids of the taxonomy, in order.
    """
    shown = [{mode for rows in side.values() for row in rows for mode in row.modes} for side in (simulated, real)]
    common = [mode for mode in modes if all(mode in of_side for of_side in shown)]
    paired = {mode: both_sides(simulated, real, mode) for mode in common}
    return {mode: Comparison.of(counts.simulated, counts.real).pearson() for mode, counts in paired.items()}


def comparable(simulated: Collection[str], real: Collection[str] | None) -> tuple[str, ...]:
    """Names of the chatbots that A/B tests can be of: those on both sides, or else, with fewer than two, the simulated.

    Args:
        simulated: chatbots of the conversations.
        real: chatbots of the real dialogues, where there are any.
    """
    shared = {*simulated} & {*(real or ())}
    return tuple(sorted(shared if len(shared) > 1 else {*simulated}))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tests:
    """A/B tests with the same settings."""

    modes: Sequence[str]
    num_permutations: int
    seed: int

    def of(self, side: Mapping[str, Sequence[MessageOutcome]], pairs: Sequence[AbPair]) -> tuple[AbTest, ...]:
        """Tests on one side alone."""
        differences = [
            compare(side[pair.a], side[pair.b], num_permutations=self.num_permutations, seed=self.seed)
            for pair in pairs
        ]
        return tuple(
            AbTest(pair=pair, simulated=(any_mode, *self.by_mode(side, pair)))
            for pair, any_mode in zip(pairs, adjusted(differences, method="holm"), strict=True)
        )

    def by_mode(self, side: Mapping[str, Sequence[MessageOutcome]], pair: AbPair) -> tuple[Difference, ...]:
        a, b = (of_modes(side[name], self.modes) for name in (pair.a, pair.b))
        return compare_modes(a, b, modes=self.modes, num_permutations=self.num_permutations, seed=self.seed)


def _rates(rows: Sequence[MessageOutcome] | None, modes: Sequence[str]) -> dict[str, Rate]:
    return {} if rows is None else {mode or ANY: failure_rate(rows, mode=mode) for mode in (None, *modes)}
