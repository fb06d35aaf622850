"""Returns to the system what was freed, and would be kept for later."""

import ctypes


def return_freed_memory() -> None:
    """Have glibc return what it has; nothing happens where there is another C library."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
