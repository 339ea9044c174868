"""Real dialogues: read from files or the hub, checked, split by user, and described.

Entry points are :func:`advsim.corpus.load.load_corpus` and :func:`advsim.corpus.stats.corpus_stats`; every defect of a
file is a :class:`advsim.errors.CorpusError` that names the line and the remedy.
"""
