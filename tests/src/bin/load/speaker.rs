//! A miner's side of a conversation, without its socket: the engine moves the bytes.

use anyhow::Result;

/// What all connections have in common.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The name to work under.
    pub(crate) login: String,
    /// For SV2: extended channels instead of standard ones.
    pub(crate) extended: bool,
    /// For SV2: without encryption.
    pub(crate) clear: bool,
}

/// What came of the bytes that were read.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Whether submissions go on, so that the newest job is of use.
    pub(crate) busy: bool,
    /// There is work: said with the first job, and may be said again.
    pub(crate) ready: bool,
    pub(crate) accepted: u32,
    /// Refused because they miss their target.
    pub(crate) missed: u32,
    /// Refused for any other reason.
    pub(crate) other: u32,
    /// One of the others.
    pub(crate) sample: Option<String>,
    /// Jobs on another tip.
    pub(crate) tips: u32,
    /// Bytes of such a job; 0 if there was none.
    pub(crate) job_bytes: usize,
    /// Room to work in.
    pub(crate) scratch: Vec<u8>,
}

impl News {
    /// Forgets all but the room.
    pub(crate) fn reset(&mut self, busy: bool) {
        let scratch = std::mem::take(&mut self.scratch);
        *self = Self { busy, scratch, ..Self::default() };
    }

    pub(crate) fn answers(&self) -> u32 {
        self.accepted + self.missed + self.other
    }
}

/// One connection's protocol.
pub(crate) trait Speaker: Sized {
    /// Made ahead of the connection: what it says first is put into `out`.
    ///
    /// # Errors
    /// The system has no randomness.
    fn new(plan: &Plan, out: &mut Vec<u8>) -> Result<Self>;

    /// Takes what came, and puts what it leads to into `out`.
    ///
    /// # Errors
    /// The pool refuses, or says what no pool does.
    fn take_in(&mut self, plan: &Plan, bytes: &[u8], out: &mut Vec<u8>, news: &mut News) -> Result<()>;

    /// Puts `count` submissions into `out`, each another one.
    ///
    /// # Errors
    /// There is no job.
    fn submit(&mut self, count: u32, out: &mut Vec<u8>) -> Result<()>;
}
