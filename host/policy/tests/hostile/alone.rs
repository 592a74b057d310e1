//! Tests that look at the whole process run in one of their own, where nobody else takes memory, threads and files.

use std::fs;
use std::process::Command;

const MARK: &str = "SLUICE_TEST_ALONE";

/// `true` in the process of its own. Elsewhere the test named `name` is run there, and has to pass.
pub(crate) fn alone(name: &str) -> bool {
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success() && said[0].contains("1 passed"), "{name}:\n{}", said.concat());
    false
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holdings {
    /// Resident memory, in bytes.
    /// Resident memory, in bytes.
    pub(crate) memory: u64,
    /// The most that it was.
    pub(crate) peak: u64,
    pub(crate) threads: usize,
    pub(crate) files: usize,
    /// Mapped regions.
    pub(crate) maps: usize,
}

impl Holdings {
    pub(crate) fn now() -> Self {
        let count = |dir: &str| fs::read_dir(dir).unwrap().count();
        let statm = fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        Self {
            memory: pages * 4096,
            peak: peak(),
            threads: count("/proc/self/task"),
            files: count("/proc/self/fd"),
            maps: fs::read_to_string("/proc/self/maps").unwrap().lines().count(),
        }
    }
}

fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
}
