"""How many files a process may have open, of which each connection is one. Many systems begin with 1,024."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def open_files(least: int) -> Iterator[None]:
    """Let this process have so many files open, as far as it may; what it starts after the block has its old bound."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = least if hard == resource.RLIM_INFINITY else min(least, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        yield
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
