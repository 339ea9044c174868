"""Whether simulated users can be told from real ones, by means that no simulator was trained against.

Classifiers on next turns (:mod:`~advsim.realism.next_turns`) and on free dialogues
(:mod:`~advsim.realism.free_dialogues`) with their power on controls, MAUVE, typing habits as distributions over
dialogues, lexical diversity.
"""
