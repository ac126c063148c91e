# A socket's connection: a protocol for asyncio's and uvloop's transports, and what the core's flags do to its transport.
#
# Rules: five words and some flags; whatever becomes of its loop, the core hears `lost` once. See _conn.pyx.


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Connection:
    cdef Driver driver
    cdef object transport
    cdef uint64_t conn        # the core's number; 0: the core does not know it
    cdef PyObject *prev       # its neighbours in the driver's list, borrowed
    cdef PyObject *next
    cdef int flags

    def __cinit__(self, Driver driver not None):
        self.driver = driver

    def __dealloc__(self):
        # Only if a loop was thrown away with its transports: the core must not keep the address.
        if self.conn != 0:
            self.driver.api.lost(self.driver.ctx, self.conn)
        self.driver.exit(self)

    @property
    def __class__(self):
        # asyncio asks isinstance(…, BufferedProtocol). A Python subclass would say so by itself, but would be tracked by
        # garbage collection: 16 bytes more, and one more object for each collection to visit.
        return BufferedProtocol

    @property
    def id(self):
        return self.conn

    def connection_made(self, transport):
        cdef Driver driver = self.driver
        self.transport = transport
        driver.enter(self)
        if driver.alive:
            self.conn = driver.api.open(driver.ctx, <void *>self, 0)
        if self.conn == 0:
            transport.abort()
        # One write may wait in the transport. High is 1 and not 0 because TLS pauses at `>=`, and may do so right here.
        transport.set_write_buffer_limits(1, 0)
        driver.schedule()

    def get_buffer(self, sizehint):
        return self.driver.view

    def buffer_updated(self, Py_ssize_t nbytes):
        cdef Driver driver = self.driver
        cdef int verdict
        if self.conn == 0 or self.flags & CLOSING:
            return
        verdict = driver.api.data(driver.ctx, self.conn, driver.read, nbytes)
        if verdict == PR_HTTP:
            hand_over(driver, self)
            return
        if verdict == PR_CLOSED:
            self.flags |= CLOSING
        elif verdict < 0:
            driver.fail()
            return
        elif nbytes == READ_BYTES:
            self.flags |= TURN_PAUSED
            driver.full.append(self)
            self.transport.pause_reading()
        driver.schedule()

    def eof_received(self):
        # What is owed leaves now: after this the transport takes nothing more.
        if self.conn != 0:
            self.driver.turn()
        return False

    def pause_writing(self):
        if self.conn != 0:
            self.driver.api.writable(self.driver.ctx, self.conn, 0)

    def resume_writing(self):
        if self.conn != 0:
            self.driver.api.writable(self.driver.ctx, self.conn, 1)
            self.driver.schedule()

    def connection_lost(self, exc):
        cdef Driver driver = self.driver
        if self.conn != 0:
            driver.api.lost(driver.ctx, self.conn)
            self.conn = 0
            driver.schedule()
        self.transport = None
        driver.exit(self)


cdef int deliver(Driver driver, Connection conn, pr_write *write) except -1:
    transport = conn.transport
    if transport is None:
        return 0
    if write.flags & PR_ABORT:
        transport.abort()
        return 0
    if write.len != 0:
        transport.write(driver.bytes_of(write))
    if write.flags & PR_CLOSE:
        say_last(driver, conn)
    elif write.flags & PR_PAUSE:
        conn.flags |= CORE_PAUSED
        transport.pause_reading()
    elif write.flags & PR_RESUME:
        conn.flags &= ~CORE_PAUSED
        if not conn.flags & TURN_PAUSED:
            transport.resume_reading()
    return 0


cdef say_last(Driver driver, Connection conn):
    """Close, so that the peer can read why: closing at once with bytes unread would reset the connection under them."""
    transport = conn.transport
    conn.flags = (conn.flags & ~(CORE_PAUSED | TURN_PAUSED)) | CLOSING
    driver.loop.call_later(driver.linger_s, transport.abort)
    if transport.can_write_eof():
        transport.write_eof()
        transport.resume_reading()
    else:
        transport.close()


cdef hand_over(Driver driver, Connection conn):
    cdef const uint8_t *data = NULL
    cdef size_t size = 0
    transport = conn.transport
    if driver.api.http_prefix(driver.ctx, conn.conn, &data, &size) < 0:
        driver.fail()
        return
    prefix = PyBytes_FromStringAndSize(<const char *>data, size)
    conn.conn = 0
    if driver.on_http is None:
        transport.close()
        return
    conn.transport = None
    driver.exit(conn)
    transport.set_write_buffer_limits()
    driver.on_http(transport, prefix)
