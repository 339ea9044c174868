"""Measures simulators without the discriminator they were trained against.

Lexical diversity (:mod:`~advsim.evaluate.diversity`), realism by fresh classifiers with their power on controls
(:mod:`~advsim.evaluate.realism`), and the decision when the rounds end (:mod:`~advsim.evaluate.stop_rule`).
"""
