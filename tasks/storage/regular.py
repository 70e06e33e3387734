"""Opens regular files only: a FIFO or a device raises an error instead of blocking for ever."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

NO_FILE = "it is a FIFO, a device or a socket"


class NotAFile(OSError):
    """The path is a FIFO, a device or a socket."""


def open_file(path: Path) -> io.BufferedReader:
    """Open a regular file for reading.

    Raises:
        NotAFile: reading it might block, or never end. OSError: it cannot be opened.
    """
    try:  # O_NONBLOCK: a FIFO is opened without a writer
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EOPNOTSUPP):  # a socket
            raise NotAFile(errno.EINVAL, NO_FILE, str(path)) from None
        raise
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise NotAFile(errno.EINVAL, NO_FILE, str(path))
