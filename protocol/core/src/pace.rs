//! The arithmetic of a bandwidth cap (`spec/wire.md#pacing`).
//!
//! Owns `Schedule`, which says when the next bytes may pass. Invariant: over any second, at most the rate plus 3 % passes,
//! if each of `user_count` users has at most one piece of `piece_len` granted and not yet passed; time comes in as
//! nanoseconds of any monotonic clock.
//!
//! Does not wait: `protocol/quic` does.

/// Rates below this are raised to it, so that a piece is never smaller than a few bytes.
const RATE_MIN: u64 = 64 << 10;
/// Largest piece that passes at once.
const PIECE_MAX: usize = 32 << 10;
/// Bytes of payload for which one byte of packet headers is counted.
const PAYLOAD_PER_OVERHEAD: u64 = 24;
/// Time for which unused rate is kept.
const CREDIT_NS: u64 = 10_000_000;
/// The pieces of all users together take at most one of so many parts of a second.
const PIECES_PER_S: u64 = 128;
const NS_PER_S: u64 = 1_000_000_000;

/// When bytes may pass under a cap that may change at any time.
#[derive(Debug, Clone)]
pub struct Schedule {
    rate_bytes_per_s: Option<u64>,
    free_at_ns: u64,
}

impl Schedule {
    /// Starts with the given cap; `None` lets everything pass.
    pub fn new(rate_bytes_per_s: Option<u64>) -> Self {
        Self { rate_bytes_per_s: rate_bytes_per_s.map(|rate| rate.max(RATE_MIN)), free_at_ns: 0 }
    }

    /// Changes the cap; bytes that were already granted keep their time.
    pub fn set_rate(&mut self, rate_bytes_per_s: Option<u64>) {
        self.rate_bytes_per_s = rate_bytes_per_s.map(|rate| rate.max(RATE_MIN));
    }

    /// Returns the cap.
    pub const fn rate(&self) -> Option<u64> {
        self.rate_bytes_per_s
    }

    /// Returns the largest number of bytes that one of `user_count` users should take at once.
    pub fn piece_len(&self, user_count: usize) -> usize {
        match self.rate_bytes_per_s {
            None => PIECE_MAX,
            Some(rate) => {
                let piece_len = rate / PIECES_PER_S / (user_count as u64).max(1);
                usize::try_from(piece_len).unwrap_or(PIECE_MAX).clamp(1, PIECE_MAX)
            }
        }
    }

    /// Grants `len` bytes and returns the time at which they may pass.
    ///
    /// Grants are in the order of the calls. Packet headers are counted in, so that the cap holds on the link.
    pub fn take(&mut self, now_ns: u64, len: usize) -> u64 {
        let Some(rate) = self.rate_bytes_per_s else { return now_ns };
        let len = len as u64;
        let cost = u128::from(len + len / PAYLOAD_PER_OVERHEAD);
        let duration_ns = u64::try_from(cost * u128::from(NS_PER_S) / u128::from(rate)).unwrap_or(u64::MAX);
        let start_ns = self.free_at_ns.max(now_ns.saturating_sub(CREDIT_NS));
        self.free_at_ns = start_ns.saturating_add(duration_ns);
        self.free_at_ns.max(now_ns)
    }
}
