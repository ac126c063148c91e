//! Every setting of node and log by its name, for a driver that has them as text: a configuration file, keywords.

use std::fmt;

use log::{Durability, LogOptions};

use crate::config::Config;

/// How often a log in `interval` mode syncs unless told otherwise, ms.
const INTERVAL_MS: u64 = 100;

/// Settings of a [`Runtime`](super::Runtime).
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Of the node.
    pub node: Config,
    /// Of the log.
    pub log: LogOptions,
}

/// A setting's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A count, or an amount in the unit that the setting's name ends with.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// A choice by name.
    Text(String),
}

/// A setting that cannot be.
#[derive(Debug, PartialEq, Eq)]
pub struct OptionError(String);

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OptionError {}

/// The numbers and flags of [`Config`] under their own names.
macro_rules! node_options {
    (numbers: $($number:ident),* ; flags: $($flag:ident),*) => {
        fn set_node(config: &mut Config, name: &str, value: &Value) -> Result<bool, OptionError> {
            match name {
                $(stringify!($number) => config.$number = number(name, value)?,)*
                $(stringify!($flag) => config.$flag = flag(name, value)?,)*
                _ => return Ok(false),
            }
            Ok(true)
        }

        fn list_node(config: &Config) -> Vec<(&'static str, Value)> {
            vec![
                $((stringify!($number), Value::Number(u64::try_from(config.$number).unwrap_or(u64::MAX))),)*
                $((stringify!($flag), Value::Flag(config.$flag)),)*
            ]
        }
    };
}

node_options!(
    numbers: body_bytes, frame_bytes, window_messages, window_bytes, unaccepted_messages, unaccepted_bytes,
        unaccepted_total, devices, idle_ms, idle_grace_ms, hello_ms, hold_ms, conversation_messages,
        conversation_bytes, group_members, body_cache_bytes, quiet_ms, rows_soft, rows_hard, out_bytes, early_bytes,
        user_bytes, segment_bytes;
    flags: create_unknown, authorize
);

impl Options {
    /// Sets one option.
    ///
    /// # Errors
    /// There is none of that name, or the value is not of its kind or range.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<(), OptionError> {
        match name {
            "durability" => self.log.durability = durability(value, self.interval_ms())?,
            "interval_ms" => {
                let every = Durability::Interval(number(name, value)?);
                match self.log.durability {
                    Durability::Interval(_) => self.log.durability = every,
                    _ => return Err(OptionError(format!("option {name}: only with durability = \"interval\""))),
                }
            }
            "batch_bytes" => self.log.batch_bytes = number(name, value)?,
            _ if set_node(&mut self.node, name, value)? => self.log.segment_bytes = self.node.segment_bytes,
            _ => return Err(OptionError(format!("option {name}: there is none of that name"))),
        }
        Ok(())
    }

    /// Every option with its value, in the order in which they are to be set.
    pub fn list(&self) -> Vec<(&'static str, Value)> {
        let durability = match self.log.durability {
            Durability::Fsync => "fsync",
            Durability::Interval(_) => "interval",
            Durability::None => "none",
        };
        let mut all = vec![
            ("durability", Value::Text(durability.to_owned())),
            ("interval_ms", Value::Number(self.interval_ms())),
            ("batch_bytes", Value::Number(u64::from(self.log.batch_bytes))),
        ];
        all.extend(list_node(&self.node));
        all
    }

    fn interval_ms(&self) -> u64 {
        match self.log.durability {
            Durability::Interval(every) => every,
            _ => INTERVAL_MS,
        }
    }
}

fn durability(value: &Value, interval_ms: u64) -> Result<Durability, OptionError> {
    match value {
        Value::Text(text) if text == "fsync" => Ok(Durability::Fsync),
        Value::Text(text) if text == "interval" => Ok(Durability::Interval(interval_ms)),
        Value::Text(text) if text == "none" => Ok(Durability::None),
        _ => Err(OptionError("option durability: \"fsync\", \"interval\" or \"none\"".to_owned())),
    }
}

fn number<N: TryFrom<u64>>(name: &str, value: &Value) -> Result<N, OptionError> {
    let Value::Number(number) = value else {
        return Err(OptionError(format!("option {name}: a number is wanted")));
    };
    N::try_from(*number).map_err(|_| OptionError(format!("option {name}: {number} is too large")))
}

fn flag(name: &str, value: &Value) -> Result<bool, OptionError> {
    match value {
        Value::Flag(flag) => Ok(*flag),
        _ => Err(OptionError(format!("option {name}: true or false is wanted"))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_option_can_be_set_to_what_it_is() {
        let mut options = Options::default();
        options.set("durability", &Value::Text("interval".into())).unwrap();
        for (name, value) in options.list() {
            options.set(name, &value).unwrap();
        }
        assert_eq!(options.log.durability, Durability::Interval(INTERVAL_MS));
    }

    #[test]
    fn a_segment_is_as_long_for_the_node_as_for_the_log() {
        let mut options = Options::default();
        options.set("segment_bytes", &Value::Number(8192)).unwrap();
        assert_eq!((options.node.segment_bytes, options.log.segment_bytes), (8192, 8192));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let mut options = Options::default();
        for (name, value) in [
            ("nonsense", Value::Number(1)),
            ("devices", Value::Text("ten".into())),
            ("devices", Value::Number(1 << 40)),
            ("authorize", Value::Number(1)),
            ("durability", Value::Text("maybe".into())),
            ("interval_ms", Value::Number(5)),
        ] {
            let error = options.set(name, &value).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
