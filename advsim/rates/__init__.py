"""How often chatbots fail: one table of outcomes, rates with intervals, and what compares two of them.

Everything reads :mod:`~advsim.rates.outcomes`, one row a chatbot message, whoever found the failures: a detector, or
the lab's injected truth.
"""
