//! What a program prints, line by line, while it runs.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::watch;

/// The most lines that are kept; later ones are dropped. A test that needs more has gone wrong.
const LINES_LIMIT: usize = 200_000;
/// So many of the last lines are shown when a wait fails.
const SHOWN: usize = 40;

/// Both streams of a process. Ends by itself when the process does.
#[derive(Clone)]
pub struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    count: watch::Receiver<usize>,
}

impl Output {
    /// Reads all `streams` to their ends on threads of their own.
    pub fn capture(streams: Vec<Box<dyn Read + Send>>) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (sender, count) = watch::channel(0);
        for stream in streams {
            let (lines, sender) = (Arc::clone(&lines), sender.clone());
            std::thread::spawn(move || drain(stream, &lines, &sender));
        }
        Self { lines, count }
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        locked(&self.lines).clone()
    }

    /// The last lines, for a message.
    pub fn tail(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    }

    /// What `pick` finds in the first line, present or future, that it likes.
    ///
    /// # Errors
    /// No such line within `limit`, or the process ended without one.
    pub async fn find<T>(&self, limit: Duration, pick: impl Fn(&str) -> Option<T>) -> Result<T> {
        let mut count = self.count.clone();
        let search = async {
            let mut seen = 0;
            loop {
                let found = {
                    let lines = locked(&self.lines);
                    let found = lines[seen..].iter().find_map(|line| pick(line));
                    seen = lines.len();
                    found
                };
                if found.is_some() {
                    return found;
                }
                if count.wait_for(|count| *count > seen).await.is_err() {
                    return locked(&self.lines)[seen..].iter().find_map(|line| pick(line));
                }
            }
        };
        match tokio::time::timeout(limit, search).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => bail!("the program ended without the line waited for; it said:\n{}", self.tail()),
            Err(_) => bail!("no such line within {limit:?}; the program said:\n{}", self.tail()),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn drain(stream: Box<dyn Read + Send>, lines: &Mutex<Vec<String>>, count: &watch::Sender<usize>) {
    for line in BufReader::new(stream).split(b'\n') {
        let Ok(line) = line else { return };
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let mut lines = locked(lines);
        if lines.len() < LINES_LIMIT {
            lines.push(line);
        }
        let length = lines.len();
        drop(lines);
        count.send_replace(length);
    }
}
