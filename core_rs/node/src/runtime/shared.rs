//! A runtime as foreign callers reach it: one at a time, and nobody once it failed.
//!
//! Rules: a panic of the core is caught here and nowhere else, and is final (I10): the state may be half changed, so it
//! is never entered again, only closed. Whoever is inside must not wait for anything, least of all for another caller.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::LogError;

use super::Runtime;

/// See the module.
pub struct Shared {
    state: Mutex<State>,
}

struct State {
    /// `None` once closed.
    runtime: Option<Runtime>,
    /// Why the runtime is not entered any more.
    panicked: Option<String>,
    /// Whether somebody was told that it failed.
    told: bool,
    /// What was lent out by address; valid until the next call.
    lent: Vec<u8>,
}

/// Why a call was refused.
pub enum Refusal {
    /// It was closed.
    Closed,
    /// It failed; why.
    Failed(String),
}

impl Shared {
    /// Around a runtime that was just opened.
    pub fn new(runtime: Runtime) -> Self {
        let state = State { runtime: Some(runtime), panicked: None, told: false, lent: Vec::new() };
        Self { state: Mutex::new(state) }
    }

    /// Calls `f` with the runtime.
    ///
    /// # Errors
    /// The runtime was closed, or panicked: now or before.
    pub fn enter<R>(&self, f: impl FnOnce(&mut Runtime) -> R) -> Result<R, Refusal> {
        self.enter_lending(|runtime, _| f(runtime))
    }

    /// The same, with room for bytes that outlive the call: until the next one.
    ///
    /// # Errors
    /// As [`Shared::enter`].
    pub fn enter_lending<R>(&self, f: impl FnOnce(&mut Runtime, &mut Vec<u8>) -> R) -> Result<R, Refusal> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(reason) = &state.panicked {
            return Err(Refusal::Failed(reason.clone()));
        }
        let Some(runtime) = &mut state.runtime else { return Err(Refusal::Closed) };
        match catch_unwind(AssertUnwindSafe(|| f(runtime, &mut state.lent))) {
            Ok(answer) => Ok(answer),
            Err(panic) => {
                let reason = format!("the core stopped at a bug of its own: {}", words_of(&*panic));
                state.panicked = Some(reason.clone());
                Err(Refusal::Failed(reason))
            }
        }
    }

    /// Why everything is refused, if it is.
    pub fn failed(&self) -> Option<String> {
        let state = self.lock();
        let of_runtime = || state.runtime.as_ref()?.failed().map(str::to_owned);
        state.panicked.clone().or_else(of_runtime)
    }

    /// The same, once: to whoever asks first.
    pub fn tell_failed(&self) -> Option<String> {
        let reason = self.failed()?;
        let told = std::mem::replace(&mut self.lock().told, true);
        (!told).then_some(reason)
    }

    /// Takes the runtime out and closes it: writes and syncs what is left, ends its threads. After a panic, what was not
    /// submitted yet is dropped. Harmless when repeated.
    ///
    /// # Errors
    /// The log could not be written to its end. One that had failed before is closed without a word.
    pub fn close(&self) -> Result<(), LogError> {
        let failed = self.failed().is_some();
        let mut state = self.lock();
        let panicked = state.panicked.is_some();
        let Some(runtime) = state.runtime.take() else { return Ok(()) };
        drop(state);
        match catch_unwind(AssertUnwindSafe(|| if panicked { runtime.abandon() } else { runtime.close() })) {
            Ok(done) if !failed => done,
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Poisoned is no news: a panic under the lock is caught, and remembered, in `enter`.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words")
}
