//! The control socket: how `sluice policy` reaches the pool that runs on a data directory.
//!
//! A Unix domain socket in the data directory, for its owner (and root) alone: no password, nothing that a network could
//! reach, and the kernel says who asks. One JSON object a line, one line of answer for each.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sluice_core::policy::PolicyKind;
use sluice_policy::{By, Command, Order, Policies};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Its name in the data directory.
pub const FILE: &str = "control.sock";
/// The longest line of a request, in bytes; a longer one ends the connection.
const LINE_LIMIT: u64 = 16 << 10;
/// The longest answer, in bytes; whoever asks reads no more.
pub const ANSWER_LIMIT: u64 = 4 << 20;
/// Connections at a time; one more is told so and closed at once.
const CONNECTIONS: usize = 4;
/// Requests of one connection.
const REQUESTS: usize = 64;
/// How long a connection may be silent, or not take its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an order may take: a component may have to be compiled.
pub const ORDER_LIMIT: Duration = Duration::from_secs(150);
/// Changes that are told of each kind.
const HISTORY: usize = 20;

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Every kind: what serves, its shadow, its history.
    Status,
    Promote {
        kind: PolicyKind,
        #[serde(default)]
        reason: String,
    },
    Rollback {
        kind: PolicyKind,
        /// A content hash or its beginning; without it, what served before.
        #[serde(default)]
        to: Option<String>,
        #[serde(default)]
        reason: String,
    },
    Pin {
        kind: PolicyKind,
        #[serde(default)]
        reason: String,
    },
    Unpin {
        kind: PolicyKind,
        #[serde(default)]
        reason: String,
    },
}

/// An answer: one of the two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Ok(Value),
    Error(String),
}

/// The socket, open. Its file goes with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    owner: u32,
}

impl ControlSocket {
    /// Takes the place of what a pool that died left there: the ledger's lock sees to it that there is no other pool.
    ///
    /// # Errors
    /// It cannot be made, such as where the path is longer than sockets allow (107 bytes).
    pub fn open(data_dir: &Path) -> anyhow::Result<Self> {
        let path = data_dir.join(FILE);
        let failed = || format!("failed to open the control socket {}", path.display());
        // It is made under a shorter name, which may fit where its own does not.
        SocketAddr::from_pathname(&path).with_context(failed)?;
        // Aside, so that nobody finds it before its mode is set.
        let aside = data_dir.join(".ctl");
        match std::fs::remove_file(&aside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(failed);
            }
            _ => {}
        }
        let listener = UnixListener::bind(&aside).with_context(failed)?;
        std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o600)).with_context(failed)?;
        let owner = std::fs::metadata(&aside).with_context(failed)?.uid();
        std::fs::rename(&aside, &path).with_context(failed)?;
        Ok(Self { listener, path, owner })
    }

    /// Serves until it is dropped.
    pub async fn serve(self, policies: Policies) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the control socket refused a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Some(uid) = self.allowed(&stream) else { continue };
            let Ok(place) = places.clone().try_acquire_owned() else {
                turn_away(stream);
                continue;
            };
            let policies = policies.clone();
            connections.spawn(async move {
                let _place = place;
                if let Err(error) = converse(stream, uid, &policies).await {
                    tracing::debug!(%error, uid, "a control connection ended");
                }
            });
        }
    }

    /// The user at the other end, where that is the owner or root.
    fn allowed(&self, stream: &UnixStream) -> Option<u32> {
        let uid = stream.peer_cred().ok()?.uid();
        let allowed = uid == self.owner || uid == 0;
        if !allowed {
            tracing::warn!(uid, "the control socket refused a user");
        }
        allowed.then_some(uid)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // What cannot be removed is replaced at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn converse(stream: UnixStream, uid: u32, policies: &Policies) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut reader = BufReader::new(read);
    let mut line = Vec::new();
    for _ in 0..REQUESTS {
        line.clear();
        let mut limited = (&mut reader).take(LINE_LIMIT);
        timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await??;
        if line.is_empty() {
            return Ok(());
        }
        let whole = line.ends_with(b"\n");
        let answer = if whole { answer(&line, uid, policies).await } else { too_long() };
        let mut bytes = serde_json::to_vec(&answer)?;
        bytes.push(b'\n');
        timeout(PATIENCE, write.write_all(&bytes)).await??;
        if !whole {
            return Ok(());
        }
    }
    Ok(())
}

/// Waits for nothing: a short line fits into a socket that nothing was written to.
fn turn_away(stream: UnixStream) {
    let answer = Answer::Error(format!("{CONNECTIONS} connections are open already; try again"));
    let mut line = serde_json::to_vec(&answer).unwrap_or_default();
    line.push(b'\n');
    // Whoever does not wait for it need not know.
    let _ = stream.into_std().and_then(|mut stream| stream.write(&line));
}

fn too_long() -> Answer {
    Answer::Error(format!("no whole line; one of at most {LINE_LIMIT} bytes is allowed"))
}

async fn answer(line: &[u8], uid: u32, policies: &Policies) -> Answer {
    let request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => return Answer::Error(format!("no request: {error}")),
    };
    let (kind, order, why) = match request {
        Request::Status => return Answer::Ok(status(policies)),
        Request::Promote { kind, reason } => (kind, Order::Promote, reason),
        Request::Rollback { kind, to, reason } => (kind, Order::RollBack { to }, reason),
        Request::Pin { kind, reason } => (kind, Order::Pin, reason),
        Request::Unpin { kind, reason } => (kind, Order::Unpin, reason),
    };
    tracing::info!(%kind, ?order, uid, why, "an order by the control socket");
    let command = Command { order, by: By::Uid(uid), why };
    match timeout(ORDER_LIMIT, policies.order(kind, command)).await {
        Ok(Ok(done)) => Answer::Ok(json!(done)),
        Ok(Err(error)) => Answer::Error(error.to_string()),
        Err(_) => Answer::Error(format!(
            "it goes on after {ORDER_LIMIT:?}; `sluice policy status` tells how it ends"
        )),
    }
}

fn status(policies: &Policies) -> Value {
    let slots = policies.status().into_iter().map(|status| {
        let history = policies.history(status.kind, HISTORY);
        json!({"kind": status.kind, "policy": status, "history": history})
    });
    Value::Array(slots.collect())
}

#[cfg(test)]
mod tests;
