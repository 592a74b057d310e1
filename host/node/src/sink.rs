//! Where found blocks go.

use crate::rpc::RpcError;

/// What a node says about a block (BIP22), interpreted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitAnswer {
    /// `null`: it is the node's new tip. `duplicate`: the node has had it, and it is valid.
    Accepted,
    /// `inconclusive`, `duplicate-inconclusive`: the node keeps it, yet not as its tip. It lost a race so far.
    Inconclusive,
    /// Anything else, in the node's words.
    Rejected(String),
}

impl SubmitAnswer {
    /// From the result of `submitblock`; `None` is `null`.
    pub fn interpret(result: Option<&str>) -> Self {
        match result {
            None | Some("duplicate") => Self::Accepted,
            Some("inconclusive" | "duplicate-inconclusive") => Self::Inconclusive,
            Some(reason) => Self::Rejected(crate::rpc::bounded(reason.to_owned())),
        }
    }
}

/// One node that takes blocks. Called from a thread of its own, one block at a time.
pub trait BlockSink: Send + Sync {
    /// `HOST:PORT`, or `simulated`.
    fn name(&self) -> String;

    /// Hands in a consensus-serialised block and waits for the verdict. Blocks.
    ///
    /// # Errors
    /// The node gave no verdict: try again later.
    fn submit(&self, block: &[u8]) -> Result<SubmitAnswer, RpcError>;

    /// Ends a call of [`BlockSink::submit`] in flight, from another thread.
    fn interrupt(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_of_bip22() {
        let rejected = |text: &str| SubmitAnswer::Rejected(text.to_owned());
        for (result, answer) in [
            (None, SubmitAnswer::Accepted),
            (Some("duplicate"), SubmitAnswer::Accepted),
            (Some("inconclusive"), SubmitAnswer::Inconclusive),
            (Some("duplicate-inconclusive"), SubmitAnswer::Inconclusive),
            (Some("duplicate-invalid"), rejected("duplicate-invalid")),
            (Some("high-hash"), rejected("high-hash")),
            (Some("rejected"), rejected("rejected")),
        ] {
            assert_eq!(SubmitAnswer::interpret(result), answer);
        }
        assert_eq!(SubmitAnswer::interpret(Some("a\nb")), rejected("a b"));
    }
}
