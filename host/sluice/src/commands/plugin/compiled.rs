//! Machine code of what was built last: `build` compiles its result to look at it, and `inspect` and `test` need not again.
//! A Python or JavaScript component takes a quarter of a minute.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, process};

use bitcoin::hashes::{Hash as _, sha256};

/// Components whose code is kept, some 60 MB for the largest; those built longest ago go first.
const KEPT: usize = 8;

/// Where the machine code of a component lies: kept for the next command, or for this one alone.
#[derive(Debug)]
pub(crate) struct Code {
    dir: PathBuf,
    is_kept: bool,
}

impl Code {
    /// Of a component that was just built: kept where the user has a cache directory.
    pub(crate) fn of_built(component: &[u8]) -> Self {
        let kept = user_cache().and_then(|cache| {
            let shelf = cache.join("compiled");
            let dir = shelf.join(name(component));
            DirBuilder::new().recursive(true).mode(0o700).create(&dir).ok()?;
            prune(&shelf);
            Some(dir)
        });
        kept.map_or_else(Self::alone, |dir| Self { dir, is_kept: true })
    }

    /// Of any component: what `build` has left, or nothing yet.
    pub(crate) fn of(component: &[u8]) -> Self {
        let kept = user_cache().map(|cache| cache.join("compiled").join(name(component)));
        let kept = kept.filter(|dir| is_mine(dir));
        kept.map_or_else(Self::alone, |dir| Self { dir, is_kept: true })
    }

    fn alone() -> Self {
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        Self { dir: env::temp_dir().join(format!("sluice-code-{}-{nanos}", process::id())), is_kept: false }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        if !self.is_kept {
            // What cannot be removed is the system's to clean.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// `$XDG_CACHE_HOME/sluice`, else `~/.cache/sluice`; `None` where there is neither.
pub(super) fn user_cache() -> Option<PathBuf> {
    let of = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")))?;
    Some(cache.join("sluice"))
}

/// A directory of this user's; what `sudo` left there is not, and the host runs code from private directories only.
fn is_mine(dir: &Path) -> bool {
    let mine = rustix::process::getuid().as_raw();
    fs::symlink_metadata(dir).is_ok_and(|found| found.is_dir() && found.uid() == mine)
}

fn name(component: &[u8]) -> String {
    sha256::Hash::hash(component).to_string()
}

fn prune(shelf: &Path) {
    let Ok(entries) = fs::read_dir(shelf) else { return };
    let mut dirs: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    dirs.sort_by(|a, b| b.cmp(a));
    for (_, dir) in dirs.into_iter().skip(KEPT) {
        // Gone already, or for the next time.
        let _ = fs::remove_dir_all(dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_code_of_the_latest_components_stays() {
        let shelf = tempfile::tempdir().unwrap();
        for number in 0..KEPT + 3 {
            let dir = shelf.path().join(format!("{number}"));
            fs::create_dir(&dir).unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number as u64);
            fs::File::open(&dir).unwrap().set_modified(time).unwrap();
        }
        prune(shelf.path());
        let left: Vec<PathBuf> =
            fs::read_dir(shelf.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left.len(), KEPT);
        assert!(!left.contains(&shelf.path().join("2")) && left.contains(&shelf.path().join("3")));
    }

    #[test]
    fn code_for_one_command_goes_with_it() {
        let code = Code::alone();
        let dir = code.dir().to_path_buf();
        fs::create_dir(&dir).unwrap();
        drop(code);
        assert!(!dir.exists());
    }
}
