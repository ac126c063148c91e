# The core's table of C functions (docs/adr/0004), as core_rs/src/python/table.rs lays it out: change both together, and
# the version with them.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


# The layout that this module was built for.
cdef enum:
    PR_API_VERSION = 1

# Answers of `data`; any function that returns an int answers PR_FAILED once the core refuses everything.
cdef enum:
    PR_FAILED = -1
    PR_OPEN = 0
    PR_HTTP = 1    # not ours: take http_prefix, then the core has forgotten the connection
    PR_CLOSED = 2  # the core is done with it: what it still sends ends with PR_CLOSE

# Bits of what `turn` answers.
cdef enum:
    PR_MORE = 1      # the turn hit its bound: take another one soon
    PR_REQUESTS = 2  # Core.take_requests() has something

# Bits of pr_write.flags, in the order in which they are obeyed.
cdef enum:
    PR_CLOSE = 1   # write, then close
    PR_ABORT = 2   # drop it now
    PR_PAUSE = 4   # read no more from it
    PR_RESUME = 8  # read again


cdef struct pr_write:
    void *user            # as given to `open`
    const uint8_t *data   # valid until the next call
    size_t len
    uint64_t shared       # 0, or: equal numbers in one drain are equal bytes
    uint32_t flags


cdef struct pr_api:
    uint32_t version      # PR_API_VERSION
    uint32_t size         # sizeof(pr_api)
    uint64_t (*open)(void *core, void *user, int local) noexcept  # 0: refused, the core has failed
    int (*data)(void *core, uint64_t conn, uint8_t *bytes, size_t len) noexcept  # unmasks in place
    void (*lost)(void *core, uint64_t conn) noexcept
    void (*writable)(void *core, uint64_t conn, int on) noexcept
    int (*turn)(void *core) noexcept  # hear the log, deliver, hand the log its next batch
    int (*next_write)(void *core, pr_write *write) noexcept  # 1: filled; 0: nothing more
    uint64_t (*next_timer)(void *core, uint64_t *delay_ms) noexcept  # an instant to compare, and from now; 0: none
    int (*http_prefix)(void *core, uint64_t conn, const uint8_t **data, size_t *len) noexcept  # valid until the next call
