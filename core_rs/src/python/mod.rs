//! The extension module `pyrouter._core`.
//!
//! Rules: PyO3 appears in this folder only; nothing here decides anything, it converts and forwards.

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
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add_function(wrap_pyfunction!(build_stamp, m)?)?;
    Ok(())
}
