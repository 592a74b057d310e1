//! A policy's question and answer as they were written down, whatever they are about.

use rusqlite::Connection;
use serde::de::DeserializeOwned;

use super::PolicyRecord;

/// `I` was asked, `A` answered.
pub(crate) struct Recorded<I, A> {
    pub(crate) policy: PolicyRecord,
    pub(crate) input: I,
    pub(crate) answer: A,
}

/// Where the records of a kind are, and the key that tells them apart.
#[derive(Clone, Copy)]
pub(crate) enum Records {
    Rounds,
    Accruals,
}

impl Records {
    /// The record of this number; the inner error: it is not the JSON that was written.
    pub(crate) fn read<I: DeserializeOwned, A: DeserializeOwned>(
        self,
        connection: &Connection,
        id: i64,
    ) -> rusqlite::Result<Result<Recorded<I, A>, serde_json::Error>> {
        let from = match self {
            Self::Rounds => "rounds WHERE block",
            Self::Accruals => "accruals WHERE id",
        };
        let text = format!(
            "SELECT policy_name, policy_version, policy_hash, settings, input, answer FROM {from} = ?"
        );
        connection.prepare_cached(&text)?.query_row([id], |row| {
            let policy = PolicyRecord {
                name: row.get(0)?,
                version: row.get(1)?,
                hash: row.get(2)?,
                settings: row.get(3)?,
            };
            let (input, answer): (String, String) = (row.get(4)?, row.get(5)?);
            let parsed =
                serde_json::from_str(&input).and_then(|input| Ok((input, serde_json::from_str(&answer)?)));
            Ok(parsed.map(|(input, answer)| Recorded { policy, input, answer }))
        })
    }
}
