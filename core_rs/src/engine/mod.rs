//! The state machine: connections, sessions and users around the two halves of a partition.
