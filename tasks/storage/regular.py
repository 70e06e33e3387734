"""Regular files alone: a FIFO or a device in the place of one is an error, and no wait without end."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

NO_FILE = "it is a FIFO, a device or a socket"


class NotAFile(OSError):
    """What lies there is a FIFO, a device or a socket."""


def open_file(path: Path) -> io.BufferedReader:
    """A regular file, opened to be read.

    Raises:
        NotAFile: reading it might wait for a writer for ever, or never end. OSError: it cannot be opened.
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
