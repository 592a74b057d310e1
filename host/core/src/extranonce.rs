//! Who may use which part of the search space (V1-15, V1-76).
//!
//! A prefix belongs to one live channel. It is kept back after the connection ends, so that work still in flight
//! cannot be credited to somebody else, and so that the same miner can come back to it with its session token.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::{Deref, Range};
use std::time::Duration;

use crate::channel::SentJobs;
use crate::coinbase::EXTRANONCE_LIMIT;
use crate::job::Job;
use crate::merkle::Node;
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

/// A channel's place in the coinbase: the pool's prefix, and what stands behind it. Both together are as long as the
/// jobs' coinbases say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extranonce {
    prefix: ExtranoncePrefix,
    behind: Behind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    /// So many bytes that the miner chooses.
    Rolled(u8),
    /// So many zeros: the coinbase is fixed, and with it the merkle root.
    Zeros(u8),
}

impl Extranonce {
    /// The most bytes behind the prefix.
    pub const BEHIND_LIMIT: usize = EXTRANONCE_LIMIT - ExtranoncePrefix::LENGTH;

    /// The miner rolls `length` bytes, at most [`Extranonce::BEHIND_LIMIT`] (SV1, SV2 extended channels).
    pub fn rolled(prefix: ExtranoncePrefix, length: usize) -> Self {
        Self { prefix, behind: Behind::Rolled(bounded(length)) }
    }

    /// The miner rolls nothing of the coinbase (SV2 standard channels, M-18).
    pub fn fixed(prefix: ExtranoncePrefix, length: usize) -> Self {
        Self { prefix, behind: Behind::Zeros(bounded(length)) }
    }

    pub fn prefix(&self) -> ExtranoncePrefix {
        self.prefix
    }

    /// Bytes that the miner chooses.
    pub fn rolled_length(&self) -> usize {
        match self.behind {
            Behind::Rolled(length) => length.into(),
            Behind::Zeros(_) => 0,
        }
    }

    /// Both parts together.
    pub fn length(&self) -> usize {
        let (Behind::Rolled(behind) | Behind::Zeros(behind)) = self.behind;
        ExtranoncePrefix::LENGTH + usize::from(behind)
    }

    /// What the pool chose of it: the prefix, or all.
    pub fn chosen(&self) -> ExtranonceBytes {
        let mut bytes =
            ExtranonceBytes { bytes: [0; EXTRANONCE_LIMIT], length: self.length() - self.rolled_length() };
        bytes.bytes[..ExtranoncePrefix::LENGTH].copy_from_slice(&self.prefix.0);
        bytes
    }

    /// The whole extranonce with the miner's part; `None` where that has the wrong length.
    pub fn with(&self, rolled: &[u8]) -> Option<ExtranonceBytes> {
        let mut whole = self.chosen();
        let place = whole.bytes.get_mut(whole.length..whole.length + self.rolled_length())?;
        if place.len() != rolled.len() {
            return None;
        }
        place.copy_from_slice(rolled);
        whole.length += rolled.len();
        Some(whole)
    }

    /// The merkle root where the coinbase is fixed.
    pub(crate) fn root(&self, job: &Job) -> Option<Node> {
        matches!(self.behind, Behind::Zeros(_)).then(|| job.root(&self.chosen()))
    }
}

fn bounded(length: usize) -> u8 {
    u8::try_from(length.min(Extranonce::BEHIND_LIMIT)).unwrap_or(0)
}

/// Up to [`EXTRANONCE_LIMIT`] bytes.
#[derive(Clone, Copy, Debug)]
pub struct ExtranonceBytes {
    bytes: [u8; EXTRANONCE_LIMIT],
    length: usize,
}

impl Deref for ExtranonceBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
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
    /// `None`: nobody can take it up again.
    pub resume: Option<(ResumeToken, SentJobs)>,
    /// Whether work was sent with it: then shares may be in flight.
    pub used: bool,
}

/// How long a prefix is kept back.
pub const QUARANTINE: Duration = Duration::from_secs(600);
/// The most connections remembered for a resume; beyond it the oldest gives up its token (its prefix stays back).
pub const PARKED_LIMIT: usize = 65_536;
/// Prefixes of one server: 24 bits.
pub const SPACE: u32 = 1 << 24;

/// Gives out prefixes, each to one live channel. Those that are kept back count too: there are never more of both than
/// it has numbers, and what it remembers is bounded by that.
#[derive(Debug)]
pub struct Extranonces {
    server: u8,
    /// Numbers that were never given out.
    fresh: Range<u32>,
    live: usize,
    parked: HashMap<ResumeToken, (ExtranoncePrefix, SentJobs)>,
    /// Tokens in the order in which they were parked; some may have been taken up since.
    order: VecDeque<ResumeToken>,
    /// Prefixes kept back, oldest first.
    quarantine: VecDeque<(Moment, Option<ResumeToken>, ExtranoncePrefix)>,
    free: VecDeque<ExtranoncePrefix>,
}

impl Extranonces {
    /// All prefixes of a server. `server` tells processes apart that share a payout: two of them never give out the same
    /// prefix.
    pub fn new(server: u8) -> Self {
        Self::within(server, 0..SPACE)
    }

    /// Those with these numbers, of which only those below [`SPACE`] are any: who has other numbers has other prefixes.
    pub fn within(server: u8, numbers: Range<u32>) -> Self {
        Self {
            server,
            fresh: numbers.start..numbers.end.min(SPACE),
            live: 0,
            parked: HashMap::new(),
            order: VecDeque::new(),
            quarantine: VecDeque::new(),
            free: VecDeque::new(),
        }
    }

    /// The prefix that `resume` stands for if its connection has ended within [`QUARANTINE`], else a new one with the
    /// token `fresh`. `None`: all are in use or kept back.
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

    /// Takes a prefix back when its channel ends. One that was never sent work is free at once: no share can be in flight.
    pub fn park(&mut self, Parked { prefix, resume, used }: Parked, now: Moment) {
        self.live = self.live.saturating_sub(1);
        if !used {
            return self.free.push_back(prefix);
        }
        self.quarantine.push_back((now, resume.as_ref().map(|(token, _)| *token), prefix));
        let Some((token, jobs)) = resume else { return };
        while self.parked.len() >= PARKED_LIMIT {
            let Some(oldest) = self.order.pop_front() else { break };
            self.parked.remove(&oldest);
        }
        self.order.push_back(token);
        self.parked.insert(token, (prefix, jobs));
    }

    /// Prefixes that live channels hold.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Free ones first: no more are remembered than there were at any one time.
    fn take(&mut self) -> Option<ExtranoncePrefix> {
        self.free.pop_front().or_else(|| {
            let [_, a, b, c] = self.fresh.next()?.to_be_bytes();
            Some(ExtranoncePrefix([self.server, a, b, c]))
        })
    }

    fn release_expired(&mut self, now: Moment) {
        while let Some((since, token, prefix)) = self.quarantine.front().copied() {
            if now.since(since) < QUARANTINE {
                break;
            }
            self.quarantine.pop_front();
            if let Some(token) = token {
                self.parked.remove(&token);
                if self.order.front() == Some(&token) {
                    self.order.pop_front();
                }
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
        pool.park(Parked { prefix, resume: Some((token, SentJobs::default())), used: true }, Moment(at));
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
        let mut pool = Extranonces::within(0, 5..6);
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
    fn a_closed_channel_leaves_its_prefix_and_nothing_else() {
        // M-63
        let mut pool = Extranonces::within(0, 5..6);
        let last = pool.reserve(None, token(1), Moment(0)).unwrap();
        pool.park(Parked { prefix: last.prefix, resume: None, used: true }, Moment(1_000));
        assert_eq!(pool.live(), 0);
        assert!(pool.reserve(Some(token(1)), token(2), Moment(600_999)).is_none(), "nothing to resume");
        assert_eq!(pool.reserve(None, token(2), Moment(601_000)).unwrap().prefix, last.prefix);
    }

    #[test]
    fn a_prefix_without_work_is_free_at_once() {
        let mut pool = Extranonces::within(0, 5..6);
        for round in 0..100 {
            let only = pool.reserve(None, token(1), Moment(round)).unwrap();
            assert!(pool.reserve(None, token(2), Moment(round)).is_none());
            pool.park(Parked { prefix: only.prefix, resume: None, used: false }, Moment(round));
        }
        assert_eq!((pool.live(), pool.free.len()), (0, 1));
    }

    #[test]
    fn other_numbers_are_other_prefixes() {
        let prefixes = |numbers: Range<u32>| {
            let mut pool = Extranonces::within(7, numbers);
            let reserve = move || Some(pool.reserve(None, token(1), Moment(0))?.prefix.0);
            std::iter::from_fn(reserve).collect::<Vec<_>>()
        };
        assert_eq!(prefixes(254..257), [[7, 0, 0, 254], [7, 0, 0, 255], [7, 0, 1, 0]]);
        assert_eq!(prefixes(SPACE - 1..SPACE + 9), [[7, 255, 255, 255]], "no more than there are");
    }

    #[test]
    fn tokens_print_and_parse() {
        let token = ResumeToken([0xab; 16]);
        assert_eq!(ResumeToken::parse(&token.to_string()), Some(token));
        assert_eq!(ResumeToken::parse("+bababababababababababababababab"), None);
        assert_eq!(ResumeToken::parse("ab"), None);
    }
}
