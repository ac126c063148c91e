//! The one place where an error of the core becomes an exception.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use crate::log::LogError;
use crate::runtime::OpenError;
use crate::runtime::shared::Refusal;

create_exception!(
    pyrouter._core,
    CoreError,
    PyException,
    "The core could not be opened, or was used wrongly. The message says what was wrong, where, and what to do."
);
create_exception!(
    pyrouter._core,
    CoreFailed,
    CoreError,
    "The core hit a failed disk or a bug of its own and refuses everything; only opening it anew helps (I10)."
);

impl From<Refusal> for PyErr {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Closed => CoreError::new_err("the core is closed: open it anew"),
            Refusal::Failed(reason) => CoreFailed::new_err(reason),
        }
    }
}

impl From<OpenError> for PyErr {
    fn from(error: OpenError) -> Self {
        CoreError::new_err(error.to_string())
    }
}

/// The exception for an error of the log. A function: neither type is this crate's, so that it cannot be a `From`.
pub fn of_log(error: &LogError) -> PyErr {
    CoreError::new_err(error.to_string())
}
