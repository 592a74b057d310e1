//! Who may use which part of the search space (V1-15, V1-76).
//!
//! A prefix belongs to one live channel. It is kept back after the connection ends, so that work still in flight
//! cannot be credited to somebody else, and so that the same miner can come back to it with its session token.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use crate::channel::SentJobs;
use crate::units::Moment;

/// The pool's part of the extranonce: 4 bytes, the first of them the server's own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExtranoncePrefix(pub [u8; 4]);

impl ExtranoncePrefix {
    pub const LENGTH: usize = 4;
}

/// Lower-case hex.
impl fmt::Display for ExtranoncePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// What a miner shows to get its prefix back. Sixteen bytes that nobody can guess.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResumeToken(pub [u8; 16]);

impl ResumeToken {
    /// Reads the 32 hex digits that [`fmt::Display`] prints.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = u128::from_str_radix(text, 16).ok().filter(|_| well_formed)?;
        Some(Self(value.to_be_bytes()))
    }
}

impl fmt::Display for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeToken(..)")
    }
}

/// A prefix given out.
#[derive(Debug)]
pub struct Reservation {
    pub prefix: ExtranoncePrefix,
    pub token: ResumeToken,
    /// What the earlier connection had been sent, with the shares seen (V1-71).
    pub resumed: Option<SentJobs>,
}

/// What an ended connection leaves behind.
#[derive(Debug)]
pub struct Parked {
    pub prefix: ExtranoncePrefix,
    pub token: ResumeToken,
    pub jobs: SentJobs,
}

/// How long a prefix is kept back.
pub const QUARANTINE: Duration = Duration::from_secs(600);
/// The most connections remembered for a resume; beyond it the oldest gives up its token (its prefix stays back).
pub const PARKED_LIMIT: usize = 65_536;
/// Prefixes of one server: 24 bits.
const SPACE: u32 = 1 << 24;

/// Gives out prefixes. One for the process.
#[derive(Debug)]
pub struct Extranonces {
    server: u8,
    next: u32,
    live: usize,
    parked: HashMap<ResumeToken, (ExtranoncePrefix, SentJobs)>,
    /// Tokens in the order in which they were parked; some may have been taken up since.
    order: VecDeque<ResumeToken>,
    /// Prefixes kept back, oldest first.
    quarantine: VecDeque<(Moment, ResumeToken, ExtranoncePrefix)>,
    free: VecDeque<ExtranoncePrefix>,
}

impl Extranonces {
    /// `server` tells processes apart that share a payout: two of them never give out the same prefix.
    pub fn new(server: u8) -> Self {
        Self {
            server,
            next: 0,
            live: 0,
            parked: HashMap::new(),
            order: VecDeque::new(),
            quarantine: VecDeque::new(),
            free: VecDeque::new(),
        }
    }

    /// The prefix that `resume` stands for if its connection has ended within [`QUARANTINE`], else a new one with the
    /// token `fresh`. `None`: all are in use.
    pub fn reserve(
        &mut self,
        resume: Option<ResumeToken>,
        fresh: ResumeToken,
        now: Moment,
    ) -> Option<Reservation> {
        self.release_expired(now);
        if let Some((token, (prefix, jobs))) =
            resume.and_then(|token| Some((token, self.parked.remove(&token)?)))
        {
            self.quarantine.retain(|(_, _, kept)| *kept != prefix);
            self.live += 1;
            return Some(Reservation { prefix, token, resumed: Some(jobs) });
        }
        let prefix = self.take()?;
        self.live += 1;
        Some(Reservation { prefix, token: fresh, resumed: None })
    }

    /// Takes a prefix back when its connection ends.
    pub fn park(&mut self, parked: Parked, now: Moment) {
        self.live = self.live.saturating_sub(1);
        while self.parked.len() >= PARKED_LIMIT {
            let Some(oldest) = self.order.pop_front() else { break };
            self.parked.remove(&oldest);
        }
        self.order.push_back(parked.token);
        self.quarantine.push_back((now, parked.token, parked.prefix));
        self.parked.insert(parked.token, (parked.prefix, parked.jobs));
    }

    /// Prefixes that live connections hold.
    pub fn live(&self) -> usize {
        self.live
    }

    fn take(&mut self) -> Option<ExtranoncePrefix> {
        if self.next < SPACE {
            let [_, a, b, c] = self.next.to_be_bytes();
            self.next += 1;
            return Some(ExtranoncePrefix([self.server, a, b, c]));
        }
        self.free.pop_front()
    }

    fn release_expired(&mut self, now: Moment) {
        while let Some((since, token, prefix)) = self.quarantine.front().copied() {
            if now.since(since) < QUARANTINE {
                break;
            }
            self.quarantine.pop_front();
            self.parked.remove(&token);
            if self.order.front() == Some(&token) {
                self.order.pop_front();
            }
            self.free.push_back(prefix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(byte: u8) -> ResumeToken {
        ResumeToken([byte; 16])
    }

    fn park(pool: &mut Extranonces, reservation: &Reservation, at: u64) {
        let Reservation { prefix, token, .. } = *reservation;
        pool.park(Parked { prefix, token, jobs: SentJobs::default() }, Moment(at));
    }

    #[test]
    fn resumes_within_ten_minutes_and_only_once() {
        // V1-76
        let mut pool = Extranonces::new(3);
        let first = pool.reserve(None, token(1), Moment(0)).unwrap();
        let prefix = first.prefix;
        assert_eq!(prefix.0[0], 3);
        let early = pool.reserve(Some(token(1)), token(2), Moment(1)).unwrap();
        assert_ne!(early.prefix, prefix, "the first connection still lives");
        park(&mut pool, &first, 10);
        let back = pool.reserve(Some(token(1)), token(3), Moment(599_000)).unwrap();
        assert_eq!((back.prefix, back.token), (prefix, token(1)));
        let again = pool.reserve(Some(token(1)), token(4), Moment(599_001)).unwrap();
        assert_ne!(again.prefix, prefix);
    }

    #[test]
    fn a_prefix_is_not_given_out_again_within_the_quarantine() {
        let mut pool = Extranonces::new(0);
        pool.next = SPACE - 1;
        let last = pool.reserve(None, token(1), Moment(0)).unwrap();
        let prefix = last.prefix;
        assert!(pool.reserve(None, token(2), Moment(0)).is_none());
        park(&mut pool, &last, 1_000);
        assert!(pool.reserve(None, token(2), Moment(600_999)).is_none());
        let reused = pool.reserve(Some(token(1)), token(2), Moment(601_000)).unwrap();
        assert_eq!(reused.prefix, prefix);
        assert!(reused.resumed.is_none(), "too late to resume");
    }

    #[test]
    fn tokens_print_and_parse() {
        let token = ResumeToken([0xab; 16]);
        assert_eq!(ResumeToken::parse(&token.to_string()), Some(token));
        assert_eq!(ResumeToken::parse("+bababababababababababababababab"), None);
        assert_eq!(ResumeToken::parse("ab"), None);
    }
}
