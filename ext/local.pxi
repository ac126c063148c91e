# A connection inside this process: raw frames to the core, and callbacks instead of a transport.
#
# Rules: its owner's exceptions end it and nothing else; nothing is called after `close`. See _conn.pyx.


@cython.final
cdef class LocalConnection:
    cdef Driver driver
    cdef object on_bytes, on_closed, on_pause
    cdef uint64_t conn
    cdef readonly bint paused

    def __init__(self, Driver driver not None, on_bytes, on_closed=None, on_pause=None):
        if self.driver is not None:
            raise RuntimeError("a LocalConnection is opened once")
        self.on_bytes, self.on_closed, self.on_pause = on_bytes, on_closed, on_pause
        self.driver = driver
        if driver.alive:
            self.conn = driver.api.open(driver.ctx, <void *>self, 1)
        if self.conn == 0:
            raise _core.CoreFailed("the router is closed or has failed: open it anew")
        driver.locals.add(self)

    @property
    def id(self):
        return self.conn

    def feed(self, data):
        cdef Py_buffer view
        cdef Py_ssize_t done = 0, part
        cdef Driver driver = self.driver
        cdef int verdict = PR_OPEN
        if self.conn == 0:
            return
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            while done < view.len and self.conn != 0 and verdict == PR_OPEN:
                part = min(view.len - done, <Py_ssize_t>READ_BYTES)
                memcpy(driver.read, <const uint8_t *>view.buf + done, part)
                done += part
                verdict = driver.api.data(driver.ctx, self.conn, driver.read, part)
        finally:
            PyBuffer_Release(&view)
        if verdict < 0:
            driver.fail()
        else:
            driver.schedule()

    def set_writable(self, bint on):
        if self.conn != 0:
            self.driver.api.writable(self.driver.ctx, self.conn, on)
            if on:
                self.driver.schedule()

    def close(self):
        self.end(False)

    cdef deliver(self, pr_write *write):
        if self.conn == 0:
            return
        if write.flags & PR_ABORT:
            self.end(True)
            return
        if write.len != 0:
            self.on_bytes(self.driver.bytes_of(write))
        if write.flags & PR_CLOSE:
            self.end(True)
        elif write.flags & (PR_PAUSE | PR_RESUME):
            self.paused = (write.flags & PR_PAUSE) != 0
            if self.on_pause is not None:
                self.on_pause(self.paused)

    cdef end(self, bint tell):
        if self.conn == 0:
            return
        self.driver.api.lost(self.driver.ctx, self.conn)
        self.conn = 0
        self.driver.locals.discard(self)
        self.driver.schedule()  # its end may have left the core something to do
        if tell and self.on_closed is not None:
            try:
                self.on_closed()
            except Exception as error:
                self.driver.report(self, error)
