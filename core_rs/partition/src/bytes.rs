//! Bytes of rows and records: LEB128 varints, and byte strings behind their length.
//!
//! Canonical: a value has one encoding, and a reader refuses any other (a varint with a needless last byte, a flag above 1).

/// Why bytes are not what they should be. Never "absent": what is there and cannot be read is kept and reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes end too early.
    Short,
    /// More bytes follow than there should be.
    Trailing,
    /// A value that is out of its range, or not in its canonical form.
    Value(&'static str),
    /// A row or record of a version or kind that this build does not know: a later build wrote it.
    Unknown {
        /// Of what.
        what: &'static str,
        /// The version or kind that was found.
        found: u8,
    },
}

/// The result of reading.
pub type Read<T> = Result<T, Malformed>;

/// Appends a varint.
pub fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends bytes behind their length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a flag.
pub fn put_flag(out: &mut Vec<u8>, flag: bool) {
    out.push(u8::from(flag));
}

/// Reads what the functions above wrote.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Over all of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Checks that nothing follows.
    pub fn end(&self) -> Read<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }

    /// One byte.
    pub fn u8(&mut self) -> Read<u8> {
        let (&first, rest) = self.rest.split_first().ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(first)
    }

    /// Two bytes, the lower first.
    pub fn fixed16(&mut self) -> Read<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// So many bytes.
    pub fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(*head)
    }

    /// A varint.
    pub fn u64(&mut self) -> Read<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return Err(Malformed::Value("a varint above 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 {
                    Err(Malformed::Value("a varint with a needless byte"))
                } else {
                    Ok(value)
                };
            }
        }
        Err(Malformed::Value("a varint above 64 bits"))
    }

    /// A varint of at most 32 bits.
    pub fn u32(&mut self) -> Read<u32> {
        self.u64()?.try_into().map_err(|_| Malformed::Value("a number above 32 bits"))
    }

    /// A varint of at most 16 bits.
    pub fn u16(&mut self) -> Read<u16> {
        self.u64()?.try_into().map_err(|_| Malformed::Value("a number above 16 bits"))
    }

    /// How many items follow, each at least one byte long.
    pub fn count(&mut self) -> Read<usize> {
        let count = self.u64()?;
        if count > self.rest.len() as u64 { Err(Malformed::Short) } else { Ok(count as usize) }
    }

    /// Bytes behind their length.
    pub fn bytes(&mut self) -> Read<&'a [u8]> {
        let len = self.count()?;
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(head)
    }

    /// UTF-8 behind its length.
    pub fn str(&mut self) -> Read<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::Value("a text that is not UTF-8"))
    }

    /// A flag.
    pub fn flag(&mut self) -> Read<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Value("a flag above 1")),
        }
    }
}
