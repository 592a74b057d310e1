//! SV1: the few lines that are spoken, built once and patched.

use anyhow::{Context, Result, ensure};
use memchr::memmem;

use crate::speaker::{News, Plan, Speaker};

/// A connection.
pub(crate) struct Sv1 {
    /// Replies of the handshake that are still to come.
    greetings: u8,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    extranonce2_size: usize,
    submit: Option<SubmitLine>,
    nonce: u32,
}

impl Speaker for Sv1 {
    fn new(plan: &Plan, out: &mut Vec<u8>) -> Result<Self> {
        out.extend_from_slice(&handshake(&plan.login));
        Ok(Self { greetings: 2, partial: Vec::new(), extranonce2_size: 8, submit: None, nonce: 0 })
    }

    fn take_in(&mut self, plan: &Plan, bytes: &[u8], _: &mut Vec<u8>, news: &mut News) -> Result<()> {
        let mut bytes = bytes;
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            if self.partial.is_empty() {
                self.line(plan, line, news)?;
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(plan, &whole, news)?;
            }
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    fn submit(&mut self, count: u32, out: &mut Vec<u8>) -> Result<()> {
        let line = self.submit.as_ref().context("a job that is none")?;
        for _ in 0..count {
            line.write(self.nonce, out);
            self.nonce = self.nonce.wrapping_add(1);
        }
        Ok(())
    }
}

impl Sv1 {
    fn line(&mut self, plan: &Plan, line: &[u8], news: &mut News) -> Result<()> {
        if is_notification(line) {
            if is_notify(line) {
                self.notified(plan, line, news);
            }
            return Ok(());
        }
        if self.greetings > 0 {
            return self.greeted(line);
        }
        if is_yes(line) {
            news.accepted += 1;
        } else if is_miss(line) {
            news.missed += 1;
        } else {
            news.other += 1;
            news.sample = Some(String::from_utf8_lossy(line).into_owned());
        }
        Ok(())
    }

    fn greeted(&mut self, line: &[u8]) -> Result<()> {
        ensure!(is_yes(line), "the pool refuses: {}", String::from_utf8_lossy(line));
        if self.greetings == 2 {
            self.extranonce2_size = extranonce2_size(line).context("a subscription without a size")?;
        }
        self.greetings -= 1;
        Ok(())
    }

    fn notified(&mut self, plan: &Plan, line: &[u8], news: &mut News) {
        news.ready = true;
        news.tips += u32::from(is_clean(line));
        news.job_bytes = line.len() + 1;
        // Only when submitting is this line needed; the first job always may be.
        if news.busy || self.submit.is_none() {
            let extranonce2 = "0".repeat(2 * self.extranonce2_size);
            self.submit = SubmitLine::new(line, &plan.login, &extranonce2);
        }
    }
}

/// Subscribe and authorize, pipelined as ESP-Miner does (V1-21).
fn handshake(login: &str) -> Vec<u8> {
    format!(
        "{{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"sluice-load/1\"]}}\n\
         {{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"{login}\",\"x\"]}}\n"
    )
    .into_bytes()
}

fn is_notification(line: &[u8]) -> bool {
    line.starts_with(b"{\"id\":null") || line.starts_with(b"{\"method\"") || line.starts_with(b"{\"params\"")
}

fn is_notify(line: &[u8]) -> bool {
    memmem::find(&line[..line.len().min(64)], b"mining.notify").is_some()
        || line.ends_with(b"\"mining.notify\"}")
}

/// Whether a notify says `clean_jobs`: its last parameter.
fn is_clean(notify: &[u8]) -> bool {
    notify.ends_with(b"true]}")
}

/// Whether a reply says yes: it ends with `"error":null}`.
fn is_yes(reply: &[u8]) -> bool {
    reply.ends_with(b"null}")
}

/// Whether a reply says that the share misses its target (23, V1-11).
fn is_miss(reply: &[u8]) -> bool {
    memchr::memchr(b'[', reply).is_some_and(|at| reply[at..].starts_with(b"[23,"))
}

/// The size of extranonce2 in the reply to a subscribe: the last element of its result.
fn extranonce2_size(reply: &[u8]) -> Option<usize> {
    let reply: serde_json::Value = serde_json::from_slice(reply).ok()?;
    usize::try_from(reply["result"][2].as_u64()?).ok()
}

/// A `mining.submit` with a place for the nonce.
#[derive(Clone, Debug)]
struct SubmitLine {
    bytes: Vec<u8>,
    nonce_at: usize,
}

/// Eight digits that occur nowhere else.
const NONCE: &str = "NNNNNNNN";

impl SubmitLine {
    /// For the job of a notify line; `None` if the line is not of V1-49.
    fn new(notify: &[u8], login: &str, extranonce2: &str) -> Option<Self> {
        let start = memmem::find(notify, b"\"params\":[\"")? + b"\"params\":[\"".len();
        let id = &notify[start..start + memchr::memchr(b'"', &notify[start..])?];
        let end = memchr::memrchr(b'"', notify)?;
        let ntime = notify.get(end.checked_sub(8)?..end)?;
        let (id, ntime) = (str::from_utf8(id).ok()?, str::from_utf8(ntime).ok()?);
        let bytes = format!(
            "{{\"id\":5,\"method\":\"mining.submit\",\
             \"params\":[\"{login}\",\"{id}\",\"{extranonce2}\",\"{ntime}\",\"{NONCE}\"]}}\n"
        )
        .into_bytes();
        let nonce_at = memmem::find(&bytes, NONCE.as_bytes())?;
        Some(Self { bytes, nonce_at })
    }

    /// Appends one line.
    fn write(&self, nonce: u32, out: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let at = out.len() + self.nonce_at;
        out.extend_from_slice(&self.bytes);
        for (index, byte) in nonce.to_be_bytes().into_iter().enumerate() {
            out[at + 2 * index] = DIGITS[usize::from(byte >> 4)];
            out[at + 2 * index + 1] = DIGITS[usize::from(byte & 15)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTIFY: &[u8] = br#"{"id":null,"method":"mining.notify","params":["1f","00ff","aa","bb",["cc"],"20000000","1d00ffff","6553a1b2",true]}"#;

    #[test]
    fn a_submit_line_names_job_time_and_nonce() {
        assert!(is_notification(NOTIFY) && is_notify(NOTIFY) && is_clean(NOTIFY));
        let line = SubmitLine::new(NOTIFY, "me", "0000000000000001").unwrap();
        let mut out = b"before".to_vec();
        line.write(0xdead_beef, &mut out);
        let value: serde_json::Value = serde_json::from_slice(&out[6..]).unwrap();
        let expected = serde_json::json!(["me", "1f", "0000000000000001", "6553a1b2", "deadbeef"]);
        assert_eq!(value["params"], expected);
    }

    #[test]
    fn replies_are_told_apart() {
        assert!(is_yes(br#"{"id":5,"result":true,"error":null}"#));
        let miss = br#"{"id":5,"result":null,"error":[23,"Low difficulty share",null]}"#;
        assert!(!is_yes(miss) && is_miss(miss) && !is_notification(miss));
        assert_eq!(
            extranonce2_size(br#"{"id":1,"result":[[["mining.notify","a"]],"0a",8],"error":null}"#),
            Some(8)
        );
    }
}
