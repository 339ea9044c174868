"""Measures simulators, and chatbots through them, without the discriminator that the simulators were trained against.

Of users: realism by fresh classifiers with their power on controls (:mod:`~advsim.evaluate.realism`,
:mod:`~advsim.evaluate.two_sample`), MAUVE, spread between users, lexical diversity, when the rounds end. Of failures:
rates, divergence over modes, predictive validity, A/B comparisons and blame, all on the one table of
:mod:`~advsim.evaluate.outcomes`; and :mod:`~advsim.evaluate.lab`, where their truth is known.
"""
