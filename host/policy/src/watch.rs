//! When a file changed and lies still. One thread looks at the directory for all kinds: woken by its events, and by the
//! clock where a file system sends none. What an event says is ignored; the file's own metadata counts, through links.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use sluice_core::policy::PolicyKind;
use tokio::sync::broadcast;

use crate::config::PolicyConfig;
use crate::error::StartError;
use crate::reload::Wish;
use crate::status::PolicyEvent;

/// What changes when a file does, whatever way it was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of the file that the path leads to; `None` where it leads nowhere.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        Some(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

/// A file, and whom to tell.
pub(crate) struct Watched {
    pub(crate) kind: PolicyKind,
    /// Of the shadow: nobody serves from it.
    pub(crate) shadow: bool,
    pub(crate) path: PathBuf,
    /// As it was when it was read.
    pub(crate) stamp: Option<Stamp>,
    pub(crate) changes: Arc<AtomicU64>,
    pub(crate) wishes: SyncSender<Wish>,
}

/// How to end the watching thread.
pub(crate) struct Watcher {
    stopped: Arc<AtomicBool>,
    nudge: SyncSender<()>,
    /// Ends its thread when dropped; `None` where the system gave no watch.
    _events: Option<RecommendedWatcher>,
}

impl Watcher {
    pub(crate) fn start(
        config: &PolicyConfig,
        watched: Vec<Watched>,
        events: broadcast::Sender<PolicyEvent>,
    ) -> Result<Self, StartError> {
        // One nudge is as good as many.
        let (nudge, nudges) = sync_channel(1);
        let stopped = Arc::new(AtomicBool::new(false));
        let round = Round {
            files: watched.into_iter().map(Lying::new).collect(),
            debounce: config.debounce,
            poll: config.poll_interval,
            events,
            stopped: stopped.clone(),
        };
        let watch = watch(&config.dir, nudge.clone());
        thread::Builder::new()
            .name("policy-watch".to_owned())
            .spawn(move || round.run(&nudges))
            .map_err(|error| StartError::Thread(error.to_string()))?;
        Ok(Self { stopped, nudge, _events: watch })
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        // Full: it is about to wake anyway.
        let _ = self.nudge.try_send(());
    }
}

fn watch(dir: &Path, nudge: SyncSender<()>) -> Option<RecommendedWatcher> {
    let on_event = move |_| {
        let _ = nudge.try_send(());
    };
    let mut watcher = notify::recommended_watcher(on_event)
        .inspect_err(|error| tracing::warn!(%error, "no file events: the policies are polled"))
        .ok()?;
    match watcher.watch(dir, RecursiveMode::NonRecursive) {
        Ok(()) => Some(watcher),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "no file events: the policies are polled");
            None
        }
    }
}

/// A file and how long it has lain still.
struct Lying {
    watched: Watched,
    seen: Option<Stamp>,
    since: Instant,
    told: Option<Stamp>,
}

impl Lying {
    fn new(watched: Watched) -> Self {
        let stamp = watched.stamp;
        Self { watched, seen: stamp, since: Instant::now(), told: stamp }
    }

    /// Looks again; whether it is still moving.
    fn look(&mut self, now: Instant, debounce: Duration, events: &broadcast::Sender<PolicyEvent>) -> bool {
        let stamp = Stamp::of(&self.watched.path);
        if stamp != self.seen {
            self.seen = stamp;
            self.since = now;
        }
        if self.seen == self.told {
            return false;
        }
        if now.duration_since(self.since) < debounce {
            return true;
        }
        self.told = self.seen;
        if self.seen.is_some() {
            self.tell();
        } else {
            self.gone(events);
        }
        false
    }

    fn tell(&self) {
        self.watched.changes.fetch_add(1, Ordering::AcqRel);
        // Full: the keeper is awake and looks at the count.
        let _ = self.watched.wishes.try_send(Wish::Look);
    }

    fn gone(&self, events: &broadcast::Sender<PolicyEvent>) {
        if self.watched.shadow {
            return;
        }
        let kind = self.watched.kind;
        let file = self.watched.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let event = PolicyEvent::FileGone { kind, file };
        tracing::warn!(%kind, "{event}");
        let _ = events.send(event);
    }
}

/// The thread's state.
struct Round {
    files: Vec<Lying>,
    debounce: Duration,
    poll: Duration,
    events: broadcast::Sender<PolicyEvent>,
    stopped: Arc<AtomicBool>,
}

impl Round {
    fn run(mut self, nudges: &Receiver<()>) {
        let mut moving = false;
        // A moving file is looked at again within the debounce, whatever events come.
        let pace = (self.debounce / 4).max(Duration::from_millis(1));
        while !self.stopped.load(Ordering::Acquire) {
            if moving {
                thread::sleep(pace);
            } else if let Err(RecvTimeoutError::Disconnected) = nudges.recv_timeout(self.poll) {
                return;
            }
            let now = Instant::now();
            moving = false;
            for file in &mut self.files {
                moving |= file.look(now, self.debounce, &self.events);
            }
        }
    }
}
