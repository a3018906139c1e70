"""The errors bitspike raises on purpose: each says what, where and the mend."""


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
