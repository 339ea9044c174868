"""The errors a user can meet, one type for each boundary where something outside advsim goes wrong.

Every message says which key, file, line or id is concerned, what was got, what was expected and what to do about it.
``exit_code`` is the command line's exit status: 2 for input that must be changed, 3 for a run that can be resumed.
"""


class AdvsimError(Exception):
    """Base of every error that is reported to a user as one paragraph instead of a traceback."""

    exit_code = 3


class ConfigError(AdvsimError):
    """A configuration key is unknown, has the wrong type or range, or contradicts another or the cluster."""

    exit_code = 2


class CorpusError(AdvsimError):
    """A dialogue file cannot be read, or a dialogue in it breaks the schema."""

    exit_code = 2


class EngineError(AdvsimError):
    """An inference engine failed to start, died, or answered with something that is no completion."""


class EngineDiedError(EngineError):
    """An inference engine is gone: it answers no further request."""


class ChatbotError(AdvsimError):
    """The chatbot under test failed to answer; the dialogue is recorded as failed, never as a chatbot failure."""


class DeliveryError(AdvsimError):
    """A rollout engine does not hold the adapter that the round needs."""


class RunError(AdvsimError):
    """The run folder cannot be written, read or continued."""
