//! The Python class `Core`: a runtime with its rare calls. What is frequent goes through the table of C functions.
//!
//! Rules: what can block runs without the GIL; the waker is called after the core was left, never inside it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict, PyList};

use super::error::{CoreError, of_log};
use super::{convert, table};
use crate::engine::{ConnId, Identity};
use crate::runtime::shared::Shared;
use crate::runtime::{Recovery, Runtime};

/// One durable router in one directory.
#[pyclass(frozen, module = "pyrouter._core")]
pub struct Core {
    shared: Arc<Shared>,
    recovery: Recovery,
    waker: Mutex<Option<Py<PyAny>>>,
}

#[pymethods]
impl Core {
    #[new]
    #[pyo3(signature = (path, options=None, store=None))]
    fn new(py: Python<'_>, path: PathBuf, options: Option<&Bound<'_, PyDict>>, store: Option<&str>) -> PyResult<Self> {
        let options = convert::options_from(options)?;
        let store = store.map(convert::store_from).transpose()?;
        // A panic while opening has harmed nothing that goes on; PyO3 turns it into an exception.
        let (runtime, recovery) = py.detach(|| Runtime::open_beside(&path, options, store))?;
        Ok(Self { shared: Arc::new(Shared::new(runtime)), recovery, waker: Mutex::new(None) })
    }

    #[getter]
    fn capsule<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        table::capsule(py, Some(&self.shared))
    }

    #[getter]
    fn wake_fd(&self) -> i32 {
        self.shared.enter(|runtime| runtime.wake_fd()).unwrap_or(-1)
    }

    #[getter]
    fn recovery<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        convert::recovery_to(py, &self.recovery)
    }

    #[getter]
    fn failed(&self) -> Option<String> {
        self.shared.failed()
    }

    fn attach(&self, waker: Option<Py<PyAny>>) -> PyResult<()> {
        let mut attached = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if waker.is_some() && attached.is_some() {
            return Err(CoreError::new_err("the core has a driver already: close that one first"));
        }
        let before = std::mem::replace(&mut *attached, waker);
        // Dropping it may run Python, which may come back here.
        drop(attached);
        drop(before);
        Ok(())
    }

    fn take_requests<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for request in self.shared.enter(|runtime| runtime.take_requests()).unwrap_or_default() {
            if let Some(request) = convert::request_to(py, request)? {
                list.append(request)?;
            }
        }
        if let Some(reason) = self.shared.tell_failed() {
            list.append(("failed", reason))?;
        }
        Ok(list)
    }

    fn admit(&self, py: Python<'_>, conn: u64, user: String, device: u32, expires_ms: u64) -> PyResult<()> {
        self.shared.enter(|runtime| runtime.admit(ConnId(conn), Identity { user, device, expires_ms }))?;
        self.wake(py)
    }

    fn refuse(&self, py: Python<'_>, conn: u64, code: &str, message: &str) -> PyResult<()> {
        self.shared.enter(|runtime| runtime.refuse(ConnId(conn), code, message))?;
        self.wake(py)
    }

    fn permit(&self, py: Python<'_>, conn: u64, ticket: u64, allowed: bool) -> PyResult<()> {
        self.shared.enter(|runtime| runtime.permit(ConnId(conn), ticket, allowed))?;
        self.wake(py)
    }

    fn loaded(&self, py: Python<'_>, kind: &str, key: &[u8], blob: Option<&[u8]>) -> PyResult<()> {
        let key = convert::key_from(kind, key)?;
        self.shared.enter(|runtime| runtime.loaded(&key, blob))?;
        self.wake(py)
    }

    fn stored(&self, py: Python<'_>, kind: &str, key: &[u8], version: u64) -> PyResult<()> {
        let key = convert::key_from(kind, key)?;
        self.shared.enter(|runtime| runtime.stored(&key, version))?;
        self.wake(py)
    }

    fn stop(&self, py: Python<'_>, reason: &str, reconnect_ms: u64) -> PyResult<()> {
        self.shared.enter(|runtime| runtime.stop(reason, reconnect_ms))?;
        self.wake(py)
    }

    fn fail(&self, py: Python<'_>, reason: &str) -> PyResult<()> {
        self.shared.enter(|runtime| runtime.fail(reason))?;
        self.wake(py)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.shared.close()).map_err(|error| of_log(&error))?;
        Ok(())
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        convert::stats_to(py, self.shared.enter(|runtime| runtime.stats())?)
    }

    fn diagnosis<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let told = PyDict::new(py);
        for (name, value) in self.shared.enter(|runtime| runtime.diagnosis())? {
            told.set_item(name, value)?;
        }
        Ok(told)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.waker.try_lock() {
            Ok(waker) => visit.call(&*waker),
            Err(_) => Ok(()),
        }
    }

    fn __clear__(&self) {
        let _ = self.attach(None);
    }
}

impl Core {
    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|waker| waker.clone_ref(py));
        if let Some(waker) = waker {
            waker.call0(py)?;
        }
        Ok(())
    }
}

/// Every option that `Core` takes, with its default.
#[pyfunction]
pub fn option_names(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    convert::option_defaults(py)
}

/// Checks the log below a data directory, read-only.
#[pyfunction]
#[pyo3(signature = (path, store=None))]
pub fn fsck<'py>(py: Python<'py>, path: PathBuf, store: Option<&str>) -> PyResult<Bound<'py, PyDict>> {
    let store = store.map(convert::store_from).transpose()?;
    let report = py.detach(|| crate::runtime::fsck(&path, store))?;
    convert::report_to(py, &report)
}
