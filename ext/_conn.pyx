# cython: language_level=3, autotestdict=False
"""The connection: bytes between a transport and the core (Cython, ext/)."""

cdef extern from *:
    """
    #ifndef PYROUTER_STAMP
    #define PYROUTER_STAMP ""
    #endif
    """
    const char *PYROUTER_STAMP


def build_stamp() -> str:
    """The stamp of the sources that this extension was built from, empty if it was built without one."""
    return PYROUTER_STAMP.decode("ascii")
