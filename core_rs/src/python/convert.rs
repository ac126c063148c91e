//! Values of the core as Python objects and back. Nothing here decides.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyList, PyString, PyTuple};

use super::error::CoreError;
use crate::engine::{Key, Request, Stats};
use crate::log::{Finding, FindingKind, FsckReport, SegmentInfo};
use crate::runtime::options::Value;
use crate::runtime::{Options, Recovery, StoreFound};

/// Options from a dict of names.
pub fn options_from(given: Option<&Bound<'_, PyDict>>) -> PyResult<Options> {
    let mut options = Options::default();
    let Some(given) = given else { return Ok(options) };
    // Some options only make sense after others: they are set in the order in which they are listed.
    for (name, _) in options.list() {
        if let Some(value) = given.get_item(name)? {
            set(&mut options, name, &value)?;
        }
    }
    for name in given.keys() {
        let name: String = name.extract()?;
        if !options.list().iter().any(|(known, _)| *known == name) {
            set(&mut options, &name, &given.as_any().get_item(&name)?)?;
        }
    }
    Ok(options)
}

fn set(options: &mut Options, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let value = if let Ok(flag) = value.cast::<PyBool>() {
        Value::Flag(flag.is_true())
    } else if let Ok(text) = value.cast::<PyString>() {
        Value::Text(text.to_string())
    } else {
        let number = value.extract();
        Value::Number(number.map_err(|_| CoreError::new_err(format!("option {name}: {value} is no number from 0 on")))?)
    };
    options.set(name, &value).map_err(|error| CoreError::new_err(error.to_string()))
}

/// Every option with its default.
pub fn option_defaults<'py>(py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
    let all = PyDict::new(py);
    for (name, value) in Options::default().list() {
        match value {
            Value::Number(number) => all.set_item(name, number)?,
            Value::Flag(flag) => all.set_item(name, flag)?,
            Value::Text(text) => all.set_item(name, text)?,
        }
    }
    Ok(all)
}

/// What was found beside the log, in a word, or the identity that it has.
pub fn store_from(found: &str) -> PyResult<StoreFound> {
    Ok(match found {
        "missing" => StoreFound::Missing,
        "empty" => StoreFound::Empty,
        "unowned" => StoreFound::Unowned,
        id => StoreFound::Of(u32::from_str_radix(id, 16).map_err(|_| {
            CoreError::new_err(format!("store {id:?}: \"missing\", \"empty\", \"unowned\" or a log's id in hex"))
        })?),
    })
}

/// A key from its kind and bytes.
pub fn key_from(kind: &str, key: &[u8]) -> PyResult<Key> {
    match kind {
        "user" => {
            let name = std::str::from_utf8(key).map_err(|_| CoreError::new_err("a user's key is its name in UTF-8"))?;
            Ok(Key::User(name.into()))
        }
        "conversation" => {
            let id = key.try_into().map_err(|_| CoreError::new_err("a conversation's key is its 16 bytes"))?;
            Ok(Key::Conversation(id))
        }
        other => Err(CoreError::new_err(format!("key kind {other:?}: \"user\" or \"conversation\""))),
    }
}

fn key_to<'py>(py: Python<'py>, key: &Key) -> (&'static str, Bound<'py, PyBytes>) {
    match key {
        Key::User(name) => ("user", PyBytes::new(py, name.as_bytes())),
        Key::Conversation(id) => ("conversation", PyBytes::new(py, id)),
    }
}

/// A request as a tuple that begins with its name; `None` for one that the runtime answers itself.
pub fn request_to<'py>(py: Python<'py>, request: Request) -> PyResult<Option<Bound<'py, PyTuple>>> {
    Ok(Some(match request {
        Request::Authenticate { conn, token } => ("authenticate", conn.0, token).into_pyobject(py)?,
        Request::Authorize { conn, ticket, user, device, conversation, peer, action } => {
            let conversation = PyBytes::new(py, &conversation);
            ("authorize", conn.0, ticket, user, device, conversation, peer, action).into_pyobject(py)?
        }
        Request::Load(key) => {
            let (kind, key) = key_to(py, &key);
            ("load", kind, key).into_pyobject(py)?
        }
        Request::Store { key, version, blob } => {
            let (kind, key) = key_to(py, &key);
            ("store", kind, key, version, PyBytes::new(py, &blob)).into_pyobject(py)?
        }
        Request::Alarm { code, message } => ("alarm", code, message).into_pyobject(py)?,
        Request::Read { .. } | Request::Scan(_) | Request::Unlink(_) => return Ok(None),
    }))
}

/// Counters and gauges by name.
macro_rules! stats_by_name {
    ($($name:ident),* $(,)?) => {
        /// Counters and gauges by name.
        pub fn stats_to<'py>(py: Python<'py>, stats: Stats) -> PyResult<Bound<'py, PyDict>> {
            let Stats { $($name),* } = stats;
            let all = PyDict::new(py);
            $(all.set_item(stringify!($name), $name)?;)*
            Ok(all)
        }
    };
}

stats_by_name!(
    connections,
    sessions,
    users_in_memory,
    conversations_in_memory,
    messages_pending,
    bytes_pending,
    hot_bytes,
    unaccepted_bytes,
    accepted_total,
    repeated_total,
    refused_total,
    delivered_total,
    acks_total,
    expired_total,
    lost_total,
    errors_total,
    replaced_total,
    devices_dropped_total,
    held_bytes,
    turn_bytes_most,
    loads_total,
    resumed_total,
    log_segments,
    log_bytes_total,
    log_message_bytes_total,
    carried_total,
    storage_ok,
    clock_trusted,
);

/// What opening found.
pub fn recovery_to<'py>(py: Python<'py>, recovery: &Recovery) -> PyResult<Bound<'py, PyDict>> {
    let all = PyDict::new(py);
    all.set_item("segments", segments_to(py, &recovery.segments)?)?;
    all.set_item("findings", findings_to(py, &recovery.findings)?)?;
    all.set_item("last_time_ms", recovery.last_time_ms)?;
    all.set_item("took_ms", recovery.took_ms)?;
    all.set_item("log_id", format!("{:08x}", recovery.log_id))?;
    Ok(all)
}

/// What a check found, to be read by people: numbers, and a sentence for each finding.
pub fn report_to<'py>(py: Python<'py>, report: &FsckReport) -> PyResult<Bound<'py, PyDict>> {
    let damaged = report.findings.iter().filter(|finding| finding.kind != FindingKind::TornEnd).count();
    let findings = report.findings.iter().map(ToString::to_string);
    let refused = report.refusals.iter().map(|reason| format!("a start is refused: {reason}"));
    let sentences: Vec<String> = findings.chain(refused).collect();
    let all = PyDict::new(py);
    all.set_item("segments", report.segments.len())?;
    all.set_item("bytes", report.segments.iter().map(|segment| segment.bytes).sum::<u64>())?;
    all.set_item("batches", report.batches)?;
    all.set_item("records", report.records)?;
    all.set_item("last_batch", report.last_batch)?;
    all.set_item("last_time_ms", report.last_time_ms)?;
    all.set_item("set_aside", &report.set_aside)?;
    all.set_item("damaged", damaged + report.refusals.len())?;
    all.set_item("findings", sentences)?;
    Ok(all)
}

fn segments_to<'py>(py: Python<'py>, segments: &[SegmentInfo]) -> PyResult<Bound<'py, PyList>> {
    let all = PyList::empty(py);
    for segment in segments {
        let one = PyDict::new(py);
        one.set_item("id", segment.id)?;
        one.set_item("bytes", segment.bytes)?;
        one.set_item("records", segment.records)?;
        all.append(one)?;
    }
    Ok(all)
}

fn findings_to<'py>(py: Python<'py>, findings: &[Finding]) -> PyResult<Bound<'py, PyList>> {
    let all = PyList::empty(py);
    for finding in findings {
        let one = PyDict::new(py);
        one.set_item("kind", if finding.kind == FindingKind::TornEnd { "torn_end" } else { "damaged" })?;
        one.set_item("segment", finding.segment)?;
        one.set_item("offset", finding.offset)?;
        one.set_item("bytes", finding.bytes)?;
        one.set_item("message", finding.to_string())?;
        one.set_item("kept_as", finding.kept_as.as_deref())?;
        all.append(one)?;
    }
    Ok(all)
}
