//! The table of C functions by which `pyrouter._conn` reaches the core without a Python call (docs/adr/0004).
//!
//! `ext/core_table.pxd` declares the same layout: change both together, and [`VERSION`] with them.
//!
//! Rules: no function here decides, blocks, calls Python, or lets a panic out. A core that is closed or has failed answers
//! [`FAILED`], or nothing, to everything.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::slice;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyCapsuleMethods};

use crate::engine::{ConnId, Verdict};
use crate::runtime::shared::Shared;

/// Changes whenever the layout or the meaning of anything here does.
pub const VERSION: u32 = 1;
/// The capsules' name: also where Python finds the one without a core.
const NAME: &std::ffi::CStr = c"pyrouter._core.api";

const FAILED: c_int = -1;
const OPEN: c_int = 0;
const HTTP: c_int = 1;
const CLOSED: c_int = 2;
const MORE: c_int = 1;
const REQUESTS: c_int = 2;

/// One connection's bytes of one turn, for C.
#[repr(C)]
pub struct CWrite {
    user: *mut c_void,
    data: *const u8,
    len: usize,
    shared: u64,
    flags: u32,
}

/// See the module; the functions are described where they are declared for Cython.
#[repr(C)]
#[derive(Clone, Copy)]
struct Api {
    version: u32,
    size: u32,
    open: unsafe extern "C" fn(*const c_void, *mut c_void, c_int) -> u64,
    data: unsafe extern "C" fn(*const c_void, u64, *mut u8, usize) -> c_int,
    lost: unsafe extern "C" fn(*const c_void, u64),
    writable: unsafe extern "C" fn(*const c_void, u64, c_int),
    turn: unsafe extern "C" fn(*const c_void) -> c_int,
    next_write: unsafe extern "C" fn(*const c_void, *mut CWrite) -> c_int,
    next_timer: unsafe extern "C" fn(*const c_void, *mut u64) -> u64,
    http_prefix: unsafe extern "C" fn(*const c_void, u64, *mut *const u8, *mut usize) -> c_int,
}

const API: Api = Api {
    version: VERSION,
    size: size_of::<Api>() as u32,
    open,
    data,
    lost,
    writable,
    turn,
    next_write,
    next_timer,
    http_prefix,
};

/// What a capsule holds: the table at its start, and the core, which lives as long as the capsule.
#[repr(C)]
struct Held {
    api: Api,
    core: Option<Arc<Shared>>,
}

/// The table, with `core` as the context to pass to every function of it; without one, the table alone.
pub fn capsule<'py>(py: Python<'py>, core: Option<&Arc<Shared>>) -> PyResult<Bound<'py, PyCapsule>> {
    let capsule = PyCapsule::new_with_value(py, Held { api: API, core: core.cloned() }, NAME)?;
    let context = core.map_or(ptr::null_mut(), |core| Arc::as_ptr(core).cast_mut().cast());
    capsule.set_context(context)?;
    Ok(capsule)
}

/// The core behind a context.
///
/// # Safety
/// `core` is null or the context of a capsule made by [`capsule`] that is still alive.
unsafe fn behind<'a>(core: *const c_void) -> Option<&'a Shared> {
    // SAFETY: a context is the address of a `Shared` that its capsule keeps alive; null becomes None.
    unsafe { core.cast::<Shared>().as_ref() }
}

unsafe extern "C" fn open(core: *const c_void, user: *mut c_void, local: c_int) -> u64 {
    // SAFETY: the caller passes a live context.
    let Some(shared) = (unsafe { behind(core) }) else { return 0 };
    shared.enter(|runtime| runtime.open_conn(user as usize, local != 0).0).unwrap_or(0)
}

unsafe extern "C" fn data(core: *const c_void, conn: u64, bytes: *mut u8, len: usize) -> c_int {
    // SAFETY: the caller passes a live context.
    let Some(shared) = (unsafe { behind(core) }) else { return FAILED };
    if len == 0 {
        return OPEN;
    }
    // SAFETY: the caller owns `len` initialised bytes at `bytes` and touches them from no other thread during the call.
    let bytes = unsafe { slice::from_raw_parts_mut(bytes, len) };
    match shared.enter(|runtime| runtime.data(ConnId(conn), bytes)) {
        Ok(Verdict::Open) => OPEN,
        Ok(Verdict::Http) => HTTP,
        Ok(Verdict::Closed) => CLOSED,
        Err(_) => FAILED,
    }
}

unsafe extern "C" fn lost(core: *const c_void, conn: u64) {
    // SAFETY: the caller passes a live context.
    let Some(shared) = (unsafe { behind(core) }) else { return };
    let _ = shared.enter(|runtime| runtime.lost(ConnId(conn)));
}

unsafe extern "C" fn writable(core: *const c_void, conn: u64, on: c_int) {
    // SAFETY: the caller passes a live context.
    let Some(shared) = (unsafe { behind(core) }) else { return };
    let _ = shared.enter(|runtime| runtime.set_writable(ConnId(conn), on != 0));
}

unsafe extern "C" fn turn(core: *const c_void) -> c_int {
    // SAFETY: the caller passes a live context.
    let Some(shared) = (unsafe { behind(core) }) else { return FAILED };
    match shared.enter(|runtime| runtime.turn()) {
        Ok(turn) => (if turn.more { MORE } else { 0 }) | (if turn.requests { REQUESTS } else { 0 }),
        Err(_) => FAILED,
    }
}

unsafe extern "C" fn next_write(core: *const c_void, out: *mut CWrite) -> c_int {
    // SAFETY: the caller passes a live context.
    let Some(shared) = (unsafe { behind(core) }) else { return FAILED };
    let next = shared.enter(|runtime| {
        runtime.next_write().map(|write| CWrite {
            user: ptr::with_exposed_provenance_mut(write.user),
            data: write.data.as_ptr(),
            len: write.data.len(),
            shared: write.shared,
            flags: write.flags,
        })
    });
    match next {
        Ok(Some(write)) => {
            // SAFETY: `out` is the caller's, aligned, for us to fill. The bytes it then points to stay as they are until
            // the core is entered again, which is the rule for the caller.
            unsafe { out.write(write) };
            1
        }
        Ok(None) => 0,
        Err(_) => FAILED,
    }
}

unsafe extern "C" fn next_timer(core: *const c_void, delay_ms: *mut u64) -> u64 {
    // SAFETY: the caller passes a live context.
    let Some(shared) = (unsafe { behind(core) }) else { return 0 };
    let Ok(Some((at_ms, delay))) = shared.enter(|runtime| runtime.next_timer()) else { return 0 };
    // SAFETY: `delay_ms` is the caller's, aligned, for us to fill.
    unsafe { delay_ms.write(delay) };
    at_ms
}

unsafe extern "C" fn http_prefix(core: *const c_void, conn: u64, data: *mut *const u8, len: *mut usize) -> c_int {
    // SAFETY: the caller passes a live context.
    let Some(shared) = (unsafe { behind(core) }) else { return FAILED };
    let lent = shared.enter_lending(|runtime, lent| {
        *lent = runtime.take_http_prefix(ConnId(conn));
        (lent.as_ptr(), lent.len())
    });
    let Ok((start, size)) = lent else { return FAILED };
    // SAFETY: both are the caller's, aligned, for us to fill. The bytes live in `Shared` until the next call.
    unsafe {
        data.write(start);
        len.write(size);
    }
    0
}
