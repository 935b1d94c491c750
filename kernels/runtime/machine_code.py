"""A few instructions that no library offers, placed where this process can call them."""

from __future__ import annotations

import ctypes
import mmap
import os


def place(code: bytes) -> int:
    """The address of a page with this code; it stays for as long as the process lives.

    The page is never writable and executable at once, which hardened systems refuse; and when it turns executable, the
    kernel makes the instruction cache see what was written.

    Raises:
        OSError: this process may not run code that it made.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
    libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    writable = mmap.PROT_READ | mmap.PROT_WRITE
    page = libc.mmap(None, mmap.PAGESIZE, writable, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if page in {None, ctypes.c_void_p(-1).value}:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    ctypes.memmove(page, code, len(code))
    if libc.mprotect(page, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(page)
