//! What the standard library cannot ask of the system: cores, open files, another process's memory.
#![allow(
    unsafe_code,
    reason = "four calls of libc that have no safe form; each is given a value on the stack"
)]

use std::fs;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};

/// Keeps this thread, and what it starts from now on, on one core.
///
/// # Errors
/// There is no such core.
pub(crate) fn pin(core: usize) -> Result<()> {
    // SAFETY: a cpu_set_t is plain bits for which zero is valid; CPU_SET writes only inside it; the call reads it.
    let status = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(core % libc::CPU_SETSIZE as usize, &mut set);
        libc::sched_setaffinity(0, mem::size_of::<libc::cpu_set_t>(), &raw const set)
    };
    checked(status).with_context(|| format!("this process cannot be kept on core {core}"))
}

/// Allows as many open files as the system lets this user have; children inherit it.
///
/// # Errors
/// The system refuses.
pub(crate) fn raise_open_files() -> Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls are given a valid rlimit that lives longer than they do.
    checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_cur)
}

/// A bound address without a port: `connect` finds one faster than `bind`.
///
/// # Errors
/// The system refuses.
pub(crate) fn leave_the_port_to_connect(socket: &socket2::Socket) -> Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(mem::size_of::<libc::c_int>())?;
    // SAFETY: the option takes a c_int, and is given one that lives longer than the call.
    checked(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            length,
        )
    })
}

fn checked(status: libc::c_int) -> Result<()> {
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error().into()) }
}

/// Resident memory of a process, in bytes.
///
/// # Errors
/// It is gone, or this is not Linux.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).context("the pool's memory cannot be read")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}

/// Seconds of processor time a process has used.
///
/// # Errors
/// It is gone, or this is not Linux.
pub(crate) fn processor_seconds(pid: u32) -> Result<f64> {
    /// USER_HZ, fixed by the Linux interface.
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the pool's times cannot be read")?;
    // The name before may hold anything but ends with the last parenthesis.
    let (_, fields) = stat.rsplit_once(") ").context("no fields")?;
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / TICKS)
}
