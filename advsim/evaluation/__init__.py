"""``advsim evaluate``: how a chatbot fails and how users write, in a run or in any dialogue files.

    groups of dialogues ──> detector ──> rates, severities, differences, divergence, blame, examples
            │
            └──> user turns ──> diversity, typing habits and their spread, classifiers, MAUVE

One group is the reference (real dialogues), where there is one; the others stand beside it and are compared with it.

``files`` and ``runs`` turn what they are given into groups, ``instruments`` builds what measures, ``measure`` measures
every group, ``notes`` says what a reader must know.
"""
