//! A tool at work: in a process group of its own, so that whatever it starts ends with it, and with us.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::exit;

/// How often a tool is looked at.
const POLL: Duration = Duration::from_millis(30);

/// The group of the tool at work; tools run one after the other. A signal that ends this program has to end it too: it is
/// in no terminal's foreground group.
static AT_WORK: Mutex<Option<Pid>> = Mutex::new(None);

fn at_work() -> MutexGuard<'static, Option<Pid>> {
    AT_WORK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end(group: Pid) {
    // It may have ended by itself.
    let _ = kill_process_group(group, Signal::KILL);
}

/// From here on a signal that ends this program ends the tool at work first.
///
/// # Errors
/// The system has no thread or no signals for it.
pub(super) fn end_tools_with_us() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("failed to wait for signals")?;
    let watch = {
        let _entered = runtime.enter();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        let [interrupt, terminate, hangup] = kinds;
        (interrupt?, terminate?, hangup?)
    };
    let wait = async move {
        let (mut interrupt, mut terminate, mut hangup) = watch;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        // Kept locked: no other tool begins.
        let group = at_work();
        group.iter().copied().for_each(end);
        eprintln!("interrupted; what was built before stays");
        std::process::exit(exit::FAILED.into());
    };
    thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(wait))?;
    Ok(())
}

/// Why a tool was ended.
#[derive(Debug)]
pub(super) enum Stopped {
    /// It took longer than it may.
    Late,
    /// The system does not say what became of it.
    Lost(io::Error),
}

/// A tool that has begun.
pub(super) struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Running {
    pub(super) fn start(command: &mut Command) -> io::Result<Self> {
        let mut at_work = at_work();
        let child = command.stdin(Stdio::null()).process_group(0).spawn()?;
        let group = Pid::from_child(&child);
        *at_work = Some(group);
        Ok(Self { child, group: Some(group) })
    }

    /// Waits until it ends by itself. `look` is called now and then with the time so far.
    pub(super) fn wait(
        &mut self,
        limit: Duration,
        mut look: impl FnMut(Duration) -> io::Result<()>,
    ) -> Result<ExitStatus, Stopped> {
        let began = Instant::now();
        loop {
            if self.has_ended().map_err(Stopped::Lost)? {
                return self.clear_up().map_err(Stopped::Lost);
            }
            if began.elapsed() >= limit {
                return Err(Stopped::Late);
            }
            look(began.elapsed()).map_err(Stopped::Lost)?;
            thread::sleep(POLL);
        }
    }

    /// Its number stays its own until [`Running::clear_up`] has asked for its status.
    fn has_ended(&self) -> io::Result<bool> {
        let Some(pid) = self.group else { return Ok(true) };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(pid), options)?.is_some())
    }

    /// Ends it, if it has not yet, and what it has left behind.
    fn clear_up(&mut self) -> io::Result<ExitStatus> {
        if let Some(group) = self.group.take() {
            end(group);
            *at_work() = None;
        }
        self.child.wait()
    }

    /// What it has printed, where that was asked for.
    pub(super) fn printed(mut self) -> io::Result<Output> {
        let stdout = read(self.child.stdout.take())?;
        let stderr = read(self.child.stderr.take())?;
        Ok(Output { status: self.clear_up()?, stdout, stderr })
    }
}

/// The most that is read of a tool's words, in bytes.
const WORDS: u64 = 64 << 10;

fn read(pipe: Option<impl io::Read>) -> io::Result<Vec<u8>> {
    let mut words = Vec::new();
    if let Some(pipe) = pipe {
        io::Read::read_to_end(&mut io::Read::take(pipe, WORDS), &mut words)?;
    }
    Ok(words)
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.clear_up();
    }
}
