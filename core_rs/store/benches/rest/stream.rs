//! The stream: messages over many conversations, which rows are active, and what the log gets beside the messages.
//!
//! Without I/O and without a clock: a turn is one millisecond of the offered load.

use std::collections::VecDeque;

/// Bytes of a message's record with a body of 160 bytes, of a row's image and of a `stored` record, framing included.
pub const MESSAGE: u64 = 221;
pub const IMAGE: u64 = 158;
pub const STORED: u64 = 38;
/// Bytes of a row: key, position, checksum, value.
pub const ROW: u64 = 17 + 8 + 4 + VALUE as u64;
pub const VALUE: usize = 150;
/// Messages of a turn: 50,000 a second.
pub const TURN: usize = 50;
const SEGMENT: u64 = 64 << 20;
/// Rows imaged anew in a turn, so that no turn is long.
const IMAGED_A_TURN: usize = 1024;

/// xorshift64*.
#[derive(Clone)]
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Which conversation a message is for.
#[derive(Clone)]
pub enum Choice {
    Uniform,
    /// The generator of Gray et al., "Quickly generating billion-record synthetic databases", 1994.
    Zipf {
        theta: f64,
        zeta: f64,
        eta: f64,
    },
}

impl Choice {
    pub fn zipf(rows: usize, theta: f64) -> Choice {
        let zeta = (1..=rows).map(|rank| (rank as f64).powf(-theta)).sum::<f64>();
        let two = 1.0 + 0.5_f64.powf(theta);
        let eta = (1.0 - (2.0 / rows as f64).powf(1.0 - theta)) / (1.0 - two / zeta);
        Choice::Zipf { theta, zeta, eta }
    }

    fn pick(&self, chance: &mut Chance, rows: usize) -> usize {
        match *self {
            Choice::Uniform => (chance.next() >> 16) as usize % rows,
            Choice::Zipf { theta, zeta, eta } => {
                let at = chance.unit();
                let scaled = at * zeta;
                if scaled < 1.0 {
                    return 0;
                }
                if scaled < 1.0 + 0.5_f64.powf(theta) {
                    return 1;
                }
                let rank = rows as f64 * (eta * at - eta + 1.0).powf(1.0 / (1.0 - theta));
                (rank as usize).min(rows - 1)
            }
        }
    }
}

/// When a row comes to rest.
#[derive(Clone, Copy)]
pub enum Bound {
    /// When so many newer ones are active.
    Rows(usize),
    /// When nothing touched it for so many messages.
    Idle(u32),
}

#[derive(Clone, Copy, Default)]
struct Row {
    active: bool,
    /// The segment of its last image.
    imaged: u32,
    /// The message that touched it last.
    touched: u32,
}

/// What the log got, in bytes, and how many rows came to rest.
#[derive(Clone, Copy, Default)]
pub struct Written {
    pub messages: u64,
    /// Images of rows that became active.
    pub first: u64,
    /// Images of rows whose last image was about to go.
    pub again: u64,
    pub rested: u64,
}

impl Written {
    pub fn message_bytes(&self) -> u64 {
        self.messages * MESSAGE
    }
}

#[derive(Clone)]
pub struct Stream {
    rows: Vec<Row>,
    choice: Choice,
    chance: Chance,
    bound: Bound,
    /// Rows by their last touch; an entry counts if the row has not been touched since.
    order: VecDeque<(u32, u32)>,
    pub active: usize,
    now: u32,
    log_bytes: u64,
    /// The owners of each segment's images, from the oldest segment on.
    segments: VecDeque<Vec<u32>>,
    oldest: u32,
    retained: usize,
    to_image: VecDeque<u32>,
    /// Whether rows that come to rest are logged.
    log_rest: bool,
    pub written: Written,
}

impl Stream {
    /// `retained`: segments of 64 MiB that the log keeps before it lets the oldest go.
    pub fn new(rows: usize, choice: Choice, bound: Bound, retained: usize, log_rest: bool) -> Stream {
        Stream {
            rows: vec![Row::default(); rows],
            choice,
            chance: Chance(0x5EED),
            bound,
            order: VecDeque::new(),
            active: 0,
            now: 0,
            log_bytes: 0,
            segments: VecDeque::from([Vec::new()]),
            oldest: 0,
            retained,
            to_image: VecDeque::new(),
            log_rest,
            written: Written::default(),
        }
    }

    /// One turn's messages. The bytes that the log gets for it.
    pub fn turn(&mut self) -> u64 {
        let before = self.log_bytes;
        for _ in 0..TURN {
            let row = self.choice.pick(&mut self.chance, self.rows.len());
            self.touch(row);
        }
        for _ in 0..IMAGED_A_TURN {
            let Some(row) = self.to_image.pop_front() else { break };
            if self.rows[row as usize].active && self.rows[row as usize].imaged < self.oldest {
                self.written.again += 1;
                self.image(row as usize);
            }
        }
        self.log_bytes - before
    }

    fn touch(&mut self, row: usize) {
        self.now += 1;
        if !self.rows[row].active {
            self.rows[row].active = true;
            self.active += 1;
            self.written.first += 1;
            self.image(row);
        }
        self.rows[row].touched = self.now;
        self.order.push_back((row as u32, self.now));
        self.written.messages += 1;
        self.append(MESSAGE);
    }

    fn image(&mut self, row: usize) {
        self.rows[row].imaged = self.oldest + self.segments.len() as u32 - 1;
        if let Some(segment) = self.segments.back_mut() {
            segment.push(row as u32);
        }
        self.append(IMAGE);
    }

    fn append(&mut self, bytes: u64) {
        self.log_bytes += bytes;
        if self.log_bytes / SEGMENT > u64::from(self.oldest) + self.segments.len() as u64 - 1 {
            self.segments.push_back(Vec::new());
            if self.segments.len() > self.retained {
                self.to_image.extend(self.segments.pop_front().unwrap());
                self.oldest += 1;
            }
        }
    }

    /// The next row that may come to rest. It is at rest then.
    pub fn rest(&mut self) -> Option<u32> {
        loop {
            let &(row, touched) = self.order.front()?;
            let stale = !self.rows[row as usize].active || self.rows[row as usize].touched != touched;
            let due = match self.bound {
                Bound::Rows(most) => self.active > most,
                Bound::Idle(messages) => self.now - touched > messages,
            };
            if !stale && !due {
                return None;
            }
            self.order.pop_front();
            if !stale {
                self.rows[row as usize].active = false;
                self.active -= 1;
                self.written.rested += 1;
                if self.log_rest {
                    self.append(STORED);
                }
                return Some(row);
            }
        }
    }

    /// Runs so many turns without a store that could be too slow.
    pub fn run(&mut self, turns: usize) {
        for _ in 0..turns {
            self.turn();
            while self.rest().is_some() {}
        }
    }
}
