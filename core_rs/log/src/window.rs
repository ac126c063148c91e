//! Reads a segment's file from front to back in big pieces, and hands out what is asked for without copying it again.
//!
//! No mmap: a page that cannot be read would be a signal instead of an error, and a fault instead of a big read.

use super::disk::{DiskFile, read_full};
use super::format::{BATCH_HEADER, BatchHeader, MAGIC};
use std::io;

/// One read, bytes.
const CHUNK: usize = 1 << 20;
/// How far ahead the kernel is asked to read.
const AHEAD: u64 = 8 << 20;
/// What is given up at once where the disk cannot read.
pub(super) const PAGE: usize = 4096;

/// A file with a piece of it in memory.
pub(super) struct Window<F> {
    file: F,
    len: u64,
    buffer: Vec<u8>,
    /// Where the buffer's first byte stands in the file.
    start: u64,
    /// How far the kernel was asked to read.
    asked: u64,
    /// Offsets of pages that the disk could not read; they are zeros here.
    pub unreadable: Vec<u64>,
}

impl<F: DiskFile> Window<F> {
    /// A window on `file`; `buffer` is one from an earlier window, or empty.
    pub fn new(file: F, mut buffer: Vec<u8>) -> io::Result<Self> {
        // Places have 32 bits.
        let len = file.len()?.min(u64::from(u32::MAX));
        buffer.clear();
        Ok(Window { file, len, buffer, start: 0, asked: 0, unreadable: Vec::new() })
    }

    /// Gives the buffer back for another window.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// The file's length.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The bytes from `offset` on: as many as asked for, and fewer only at the end of the file.
    pub fn get(&mut self, offset: u64, want: usize) -> io::Result<&[u8]> {
        let want = (self.len.saturating_sub(offset)).min(want as u64) as usize;
        let held = self.start..self.start + self.buffer.len() as u64;
        if offset < held.start || offset + want as u64 > held.end {
            self.fill(offset, want)?;
        }
        let from = (offset - self.start) as usize;
        Ok(self.buffer.get(from..from + want).unwrap_or_default())
    }

    /// Moves the window to `offset`, keeping what it already holds of it.
    fn fill(&mut self, offset: u64, want: usize) -> io::Result<()> {
        let end = self.start + self.buffer.len() as u64;
        if (self.start..end).contains(&offset) {
            self.buffer.drain(..(offset - self.start) as usize);
        } else {
            self.buffer.clear();
        }
        self.start = offset;
        let have = self.buffer.len();
        let target = (self.len - offset.min(self.len)).min(want.max(CHUNK) as u64) as usize;
        let from = offset + have as u64;
        if from + CHUNK as u64 > self.asked || from + AHEAD < self.asked {
            self.file.will_read(from, AHEAD);
            self.asked = from + AHEAD;
        }
        self.buffer.resize(target.max(have), 0);
        let into = self.buffer.get_mut(have..).unwrap_or_default();
        match read_full(&self.file, into, from) {
            Ok(_) => Ok(()),
            Err(error) if is_media_error(&error) => self.fill_by_page(have, from),
            Err(error) => Err(error),
        }
    }

    /// As `fill`, page by page, with zeros where the disk has lost a page.
    fn fill_by_page(&mut self, have: usize, from: u64) -> io::Result<()> {
        let mut at = from;
        for page in self.buffer.get_mut(have..).unwrap_or_default().chunks_mut(PAGE) {
            let refused = |error: &io::Error| is_media_error(error);
            // What failed in a long read may succeed alone, and at the second try.
            match read_full(&self.file, page, at).or_else(|error| match refused(&error) {
                true => read_full(&self.file, page, at),
                false => Err(error),
            }) {
                Ok(_) => {}
                Err(error) if is_media_error(&error) => {
                    page.fill(0);
                    if !self.unreadable.contains(&at) {
                        self.unreadable.push(at);
                    }
                }
                Err(error) => return Err(error),
            }
            at += page.len() as u64;
        }
        Ok(())
    }

    /// The batch header at `offset`.
    pub fn header(&mut self, segment: u32, offset: u64) -> io::Result<Option<BatchHeader>> {
        let Ok(place) = u32::try_from(offset) else { return Ok(None) };
        let bytes = self.get(offset, BATCH_HEADER)?;
        Ok(BatchHeader::decode(bytes, segment, place))
    }

    /// Looks for a batch header from `offset` on that `accept` takes. Tells where it stands, if anywhere, and where the
    /// last byte that is not zero ends before it.
    pub fn find_header(
        &mut self,
        segment: u32,
        offset: u64,
        mut accept: impl FnMut(&BatchHeader) -> bool,
    ) -> io::Result<(Option<(u64, BatchHeader)>, u64)> {
        let mut at = offset;
        let mut data_end = offset;
        while at < self.len {
            let bytes = self.get(at, PAGE + BATCH_HEADER)?;
            let page = bytes.get(..PAGE).unwrap_or(bytes);
            // Summing instead of searching: the compiler makes vector code of it.
            if page.iter().fold(0, |all, byte| all | byte) != 0 {
                for (place, byte) in (at..).zip(page).filter(|(_, byte)| **byte != 0) {
                    if *byte == MAGIC[0] {
                        let here = bytes.get((place - at) as usize..).unwrap_or_default();
                        let header = BatchHeader::decode(here, segment, u32::try_from(place).unwrap_or(u32::MAX));
                        if let Some(header) = header.filter(&mut accept) {
                            return Ok((Some((place, header)), data_end));
                        }
                    }
                    data_end = place + 1;
                }
            }
            at += page.len() as u64;
        }
        Ok((None, data_end))
    }
}

fn is_media_error(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}
