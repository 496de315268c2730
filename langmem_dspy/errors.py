"""Every error this package raises.

    LangMemError
    ├── InputError (ValueError)         what you passed cannot be used; the message says what to pass instead
    │   ├── MessagesError               a conversation, trajectory or feedback in a form no one can read
    │   ├── PromptError                 a prompt that cannot be taken, or a revision that would break one
    │   └── NamespaceError              a namespace template or variable that does not fit
    ├── EvaluationError (RuntimeError)  no score could be had at all: the first true cause is chained
    ├── JournalError (RuntimeError)     a log_dir that belongs to another run, or cannot be written
    ├── BudgetExhausted                 a call that was not started because the budget is spent
    ├── RunCancelled                    a run of the server that was cancelled, or took too long
    ├── MissingExtraError (ImportError) an optional package that is not installed; the message names its extra
    ├── ReplyError                      a model's answer that cannot be used
    │   └── TruncatedReply              the reply was cut off at max_tokens
    ├── TrackingError (RuntimeError)    the MLflow store cannot be reached, or has no such run or experiment
    └── StoreError (RuntimeError)       the store cannot do what was asked
        ├── ConflictError               an optimistic write met a newer version
        ├── EmbedderMismatch            vectors of another embedder, or of another width
        └── CorruptStoreError           what is on disk fails its checks

Faults of a language model arrive as DSPy raises them (`dspy.LMError` and below), after its bounded retries.
`BudgetExhausted`, `RunCancelled`, `ReplyError` and `JournalError` are `LMError`s too: DSPy then passes them through
unchanged and never retries them.
"""

from dspy.utils.exceptions import LMError


class LangMemError(Exception):
    """Base of everything langmem_dspy raises on purpose."""


class InputError(LangMemError, ValueError):
    """Bad input: names what was wrong, what was given and what to do."""


class MessagesError(InputError):
    """A conversation, trajectory or feedback in a form that cannot be read."""


class PromptError(InputError):
    """A prompt that cannot be taken, or a revision that would break one."""


class NamespaceError(InputError):
    """A namespace, template or variable that does not fit."""


class EvaluationError(LangMemError, RuntimeError):
    """No score could be had at all; `__cause__` is the first true error."""


class JournalError(LangMemError, LMError, RuntimeError):
    """A `log_dir` that belongs to another run, or cannot be written."""


class BudgetExhausted(LangMemError, LMError):
    """A call was not started because it would exceed the budget. `limit` names the spent one."""

    def __init__(self, limit: str, allowed: float):
        self.limit, self.allowed = limit, allowed
        LMError.__init__(self, f"the budget of {allowed:g} {limit} is spent; raise Budget({limit}=...) to go on")


class RunCancelled(LangMemError, LMError):
    """A run of the server was cancelled or took too long; its model is asked no more."""


class MissingExtraError(LangMemError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


class ReplyError(LangMemError, LMError):
    """A model's answer that cannot be used."""


class TruncatedReply(ReplyError):
    """A model's answer that was cut off before its end."""


class TrackingError(LangMemError, RuntimeError):
    """The MLflow store cannot be reached, or has no such run or experiment."""


class StoreError(LangMemError, RuntimeError):
    """The store cannot do what was asked."""


class ConflictError(StoreError):
    """An optimistic write met a newer version of the item."""


class EmbedderMismatch(StoreError):
    """The store holds vectors of another embedder."""


class CorruptStoreError(StoreError):
    """What is on disk fails its checks."""
