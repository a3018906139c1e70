"""The errors bitspike raises on purpose: each says what, where and the mend."""

from __future__ import annotations

from collections.abc import Iterable


class BitspikeError(Exception):
    """Base of every error raised on purpose; the command line prints it without a traceback (exit code 1)."""


class UsageError(BitspikeError, ValueError):
    """A setting or a combination of settings that makes no sense (exit code 2)."""


class DataError(BitspikeError, ValueError):
    """An input file or array that is missing, damaged or outside its documented range (exit code 2)."""


class FormatError(DataError):
    """A packed model file that breaks the format of docs/format.md."""


class BackendError(BitspikeError, RuntimeError):
    """A back end that was asked for by name but is not there."""


def printable(text: str) -> str:
    """Text for a terminal: what would move the cursor, change colours or turn the text is shown as U+FFFD."""
    return "".join(mark if mark.isprintable() or mark == "\n" else "\ufffd" for mark in text)


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean …?` where a known word is near, else nothing: the end of an error's sentence."""
    import difflib

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""
