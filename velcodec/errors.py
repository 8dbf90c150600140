"""The errors that velcodec raises, each saying whose fault it is. Imports nothing."""


class VelcodecError(Exception):
    """Base of every error raised on purpose. The message is one line and says what to do."""


class UsageError(VelcodecError):
    """The caller asked for something that cannot be: a wrong option, shape or name."""


class DataError(VelcodecError):
    """The velocity models given cannot be read or encoded as asked."""


class FormatError(VelcodecError):
    """A file is not a valid .vlz file or codebook: truncated, damaged, hostile, or not one at all."""


class VersionError(FormatError):
    """A file is valid but needs a feature or format version that this release does not know."""


class CodebookError(VelcodecError):
    """A codebook is missing, altered, or not the one that a file names."""
