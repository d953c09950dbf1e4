"""Why a verb ends without success, and the exit code that says so."""

from __future__ import annotations

OK = 0
ANSWER_IS_NO = 1
USAGE = 2


class UsageFault(Exception):
    """The command was called or configured wrongly: exit code 2, and the sentence that says what to do."""


class AnswerIsNo(Exception):
    """The verb ran and its answer is no: exit code 1."""
