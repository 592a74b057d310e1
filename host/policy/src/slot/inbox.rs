//! What waits for a slot's thread.

use std::sync::mpsc::{Receiver, TryRecvError};

use super::{DRAIN, Kind, Message};

/// How often the thread lets others run before it sleeps. Waking a sleeper costs both sides microseconds; while
/// questions come in a stream, letting the askers go on gathers more of them instead.
const PATIENCE: usize = 4;

/// The next message; `None` when everybody who could send one is gone.
pub(super) fn next<K: Kind>(inbox: &Receiver<Message<K>>) -> Option<Message<K>> {
    for _ in 0..PATIENCE {
        match inbox.try_recv() {
            Ok(message) => return Some(message),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => std::thread::yield_now(),
        }
    }
    inbox.recv().ok()
}

/// Takes what waits, up to a message that is no job.
pub(super) fn gather<K: Kind>(
    first: Message<K>,
    inbox: &Receiver<Message<K>>,
    jobs: &mut Vec<K::Job>,
) -> Option<Message<K>> {
    let mut next = Ok(first);
    loop {
        match next {
            Ok(Message::Job(job)) => jobs.push(job),
            Ok(Message::Wake) => {}
            Ok(other) => return Some(other),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => return None,
        }
        if jobs.len() >= DRAIN {
            return None;
        }
        next = inbox.try_recv();
    }
}
