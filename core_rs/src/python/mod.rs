//! The extension module `pyrouter._core`. PyO3 lives in this folder only; nothing here decides, it converts and forwards.
//!
//! - [`core`]: the class `Core`, for what is rare. [`table`]: C functions for what is frequent (docs/adr/0004).
//!   Both reach the core through [`Shared`](crate::runtime::shared::Shared), where panics end.
//! - [`load`]: the class `Load`, which has nothing to do with the others: clients, for `pyrouter bench`.
//! - [`convert`], [`error`]: values and errors, each converted in one place.

mod convert;
mod core;
mod error;
mod load;
mod table;

use pyo3::prelude::*;

/// The stamp of the sources that this extension was built from; empty if it was built without the build backend.
#[pyfunction]
fn build_stamp() -> &'static str {
    option_env!("PYROUTER_CORE_STAMP").unwrap_or("")
}

/// The core: frames, sequencing, delivery and the durable log.
#[pymodule]
#[pyo3(name = "_core")]
fn core_module(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = m.py();
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add("API_VERSION", table::VERSION)?;
    m.add("api", table::capsule(py, None)?)?;
    m.add("CoreError", py.get_type::<error::CoreError>())?;
    m.add("CoreFailed", py.get_type::<error::CoreFailed>())?;
    m.add_class::<core::Core>()?;
    m.add_class::<load::Load>()?;
    m.add_function(wrap_pyfunction!(build_stamp, m)?)?;
    m.add_function(wrap_pyfunction!(core::option_names, m)?)?;
    m.add_function(wrap_pyfunction!(core::fsck, m)?)?;
    Ok(())
}
