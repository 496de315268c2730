"""How a command ends when it goes wrong or is interrupted: in one line that says what is kept, and a code."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from dspy.utils.exceptions import DSPyError

from langmem_dspy.errors import InputError, LangMemError

INTERRUPTED = 130  # the code of shells for a process that SIGINT ended


@contextmanager
def ending_in_one_line() -> Iterator[None]:
    """Ends the process if what runs inside goes wrong; our errors and DSPy's are told in one line, Ctrl-C too."""
    try:
        with _quiet_once_interrupted():
            yield
    except (LangMemError, DSPyError) as error:
        _tell(type(error).__name__, "red", str(error), error)
        sys.exit(1)
    except KeyboardInterrupt as error:
        _tell("Interrupted", "yellow", "", error)
        sys.exit(INTERRUPTED)


@contextmanager
def if_it_ends_early(what_is_kept: Callable[[], str]) -> Iterator[None]:
    """Adds what is kept, and how to go on, to whatever ends the work inside but a slip in what was given."""
    try:
        yield
    except InputError:
        raise
    except BaseException as error:
        error.add_note(what_is_kept())
        raise


def _tell(what: str, style: str, said: str, error: BaseException) -> None:
    from rich.console import Console
    from rich.text import Text

    told = ". ".join(filter(None, (said.rstrip("."), *getattr(error, "__notes__", ()))))
    # As Text: a message may hold brackets, 'langmem-dspy[server]' among them, that are no markup.
    line = Text.assemble((what, style), f": {told}" if told else "")
    Console(stderr=True).print(line, soft_wrap=True, highlight=False)


@contextmanager
def _quiet_once_interrupted() -> Iterator[None]:
    """After Ctrl-C, what DSPy's threads still under way complain of is no news; nor is that there was a Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    logger, parallel = logging.getLogger("dspy"), logging.getLogger("dspy.utils.parallelizer")
    before = signal.getsignal(signal.SIGINT)

    def interrupted(number: int, frame: FrameType | None) -> None:
        logger.setLevel(logging.CRITICAL)  # for good: threads outlive what is told here
        signal.default_int_handler(number, frame)

    if before is signal.default_int_handler:  # else it is someone else's, or ignored
        signal.signal(signal.SIGINT, interrupted)
    parallel.addFilter(_no_news)
    try:
        yield
    finally:
        parallel.removeFilter(_no_news)
        if signal.getsignal(signal.SIGINT) is interrupted:
            signal.signal(signal.SIGINT, before)


def _no_news(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("SIGINT received")
