"""Messages with known failure rates, correlated within dialogues (beta-binomial)."""

import numpy as np
from scipy import stats

from advsim.rates.outcomes import MessageOutcome, Tally
from advsim.validity.paired_rates import configuration_rates


def rows_of(configuration, counts, *, mode="boundary", user_of=lambda i: None, prefix="d"):
    """One dialogue for each (failing, judged), failing messages first."""
    return [
        MessageOutcome(
            configuration=configuration,
            dialogue_id=f"{prefix}{i}",
            user_id=user_of(i),
            turn=2 * j + 1,
            modes=frozenset({mode}) if j < failing else frozenset(),
        )
        for i, (failing, judged) in enumerate(counts)
        for j in range(judged)
    ]


def drawn_counts(rate, *, rng, num_dialogues=40, num_messages=6, within=0.1):
    """(failing, judged) of dialogues whose own rates scatter around ``rate`` with correlation ``within``."""
    if rate in (0, 1):
        return [(rate * num_messages, num_messages)] * num_dialogues
    scale = (1 - within) / within
    own = rng.beta(rate * scale, (1 - rate) * scale, size=num_dialogues)
    return [(int(k), num_messages) for k in rng.binomial(num_messages, own)]


def study(rates, *, seed, **kwargs):
    """Messages by configuration, one configuration for each rate, each with dialogues of its own."""
    rng = np.random.default_rng(seed)
    return {
        f"c{k}": rows_of(f"c{k}", drawn_counts(rate, rng=rng, **kwargs), prefix=f"c{k}-d")
        for k, rate in enumerate(rates)
    }


def counted_study(rates, *, rng, **kwargs):
    """What :func:`study` comes to, counted: for simulations of many studies."""
    tallies = []
    for k, rate in enumerate(rates):
        failing, judged = np.array(drawn_counts(rate, rng=rng, **kwargs), dtype=float).T
        clusters = tuple(("dialogue", f"c{k}-{i}") for i in range(len(judged)))
        tallies.append(
            Tally(failing=failing, judged=judged, num_dialogues=len(judged), num_not_judged=0, clusters=clusters)
        )
    return configuration_rates(tallies)


def same_users_study(rates, *, rng, num_users=80, num_messages=1, within=0.3):
    """Counts of configurations that all meet the same users, who raise or lower all of their rates together.

    The messages of a user and a configuration fail together with correlation ``within`` (a Gaussian copula over users),
    so that the mean rate over users is ``rate``.
    """
    user = rng.normal(size=num_users)
    tallies = []
    for rate in rates:
        own = rng.normal(size=(num_users, num_messages))
        latent = np.sqrt(within) * user[:, None] + np.sqrt(1 - within) * own
        failing = (latent < stats.norm.ppf(rate)).sum(1).astype(float)
        tallies.append(
            Tally(
                failing=failing,
                judged=np.full(num_users, float(num_messages)),
                num_dialogues=num_users,
                num_not_judged=0,
                clusters=tuple(("user", str(i)) for i in range(num_users)),
            )
        )
    return configuration_rates(tallies)


def spread_rates(num_configurations, *, seed=5, centre=-2.2, spread=0.8):
    """True rates, normal on the logit scale."""
    z = np.random.default_rng(seed).normal(size=num_configurations)
    return 1 / (1 + np.exp(-(centre + spread * z)))
