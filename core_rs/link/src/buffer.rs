//! How an incomplete frame is held: room for what has arrived, doubling, never beyond what was announced.

/// Appends `chunk`. `announced` is how long the whole will be, at least as long as what is there with `chunk`.
///
/// A peer that announces much and sends little costs what it sent, at most doubled; a large frame is not copied more often
/// than a growing `Vec` is.
pub(super) fn append(buffer: &mut Vec<u8>, chunk: &[u8], announced: usize) {
    let needed = buffer.len().saturating_add(chunk.len());
    if needed > buffer.capacity() {
        let target = buffer.capacity().saturating_mul(2).min(announced).max(needed);
        buffer.reserve_exact(target.saturating_sub(buffer.len()));
    }
    buffer.extend_from_slice(chunk);
}

#[cfg(test)]
mod tests {
    use super::append;

    #[test]
    fn an_announcement_alone_reserves_nothing_i6() {
        let mut buffer = Vec::new();
        append(&mut buffer, b"a", 1 << 20);
        assert!(buffer.capacity() <= 8, "{}", buffer.capacity());
    }

    #[test]
    fn capacity_stays_within_twice_the_arrived_and_within_the_announced_i6() {
        let mut buffer = Vec::new();
        for arrived in 1..=1000 {
            append(&mut buffer, b"x", 1000);
            assert!(buffer.capacity() <= (2 * arrived).clamp(8, 1000), "{arrived}: {}", buffer.capacity());
        }
    }
}
