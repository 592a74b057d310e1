//! Disks that are full and databases that are not what they were.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluice_tests::miner::{Miner, address};
use sluice_tests::pool::{Pool, Setup};
use sluice_tests::stress::{Load, Protocols, Stress};
use sluice_tests::{POLL, SOON, binary, http, ledger};
use tempfile::TempDir;

/// Of every ledger.
const PAGE: u64 = 4096;
const LOAD: Load = Load { connections: 4, accounts: 2, in_flight: 16, protocols: Protocols::Sv1 };

#[tokio::test]
async fn a_damaged_ledger_is_not_started_with() -> Result<()> {
    let mut pool = Pool::ready(Setup::without_blocks(2.4e-10)).await?;
    let mut stress = Stress::start(&pool, LOAD).await?;
    stress.acknowledged(2_000).await?;
    stress.finish().await?;
    ensure!(pool.stop().await?.success());
    // What the write-ahead log holds would repair the file.
    ledger::checkpoint(&pool.data())?;
    let file = ledger::file(&pool.data())?;
    let pages = fs::metadata(&file)?.len() / PAGE;
    ensure!(pages > 32, "the ledger has {pages} pages: too few for a log of 2,000 shares");
    // The newest shares; then all but the file's first pages, and with them the names of what is hit.
    for (from, named) in [(pages - 16, "table shares"), (2, "malformed")] {
        overwrite(&file, from..pages - 1)?;
        pool.respawn()?;
        let status = pool.exit().await?;
        let said = pool.output().tail();
        ensure!(!status.success(), "it ran on a damaged ledger");
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        ensure!(said.contains(name), "the file is not named:\n{said}");
        ensure!(said.contains(named) && said.contains("sluice ledger check"), "{said}");
        ensure!(!said.contains("panicked"), "{said}");
    }
    Ok(())
}

fn sluice_ledger(command: &str, data: &Path, rest: &[&str]) -> Result<Output> {
    let mut sluice = Command::new(binary::sluice()?);
    Ok(sluice.args(["ledger", command, "--data"]).arg(data).args(rest).output()?)
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// The page on which the share log's 1000th row is, as SQLite's own check would name it.
fn page_of_shares(data: &Path) -> Result<u64> {
    let connection = rusqlite::Connection::open(ledger::file(data)?)?;
    let root: u64 = connection
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'shares'", [], |row| {
            row.get::<_, i64>(0)
        })?
        .try_into()?;
    let mut file = fs::File::open(ledger::file(data)?)?;
    let mut page = [0; PAGE as usize];
    file.seek(SeekFrom::Start((root - 1) * PAGE))?;
    file.read_exact(&mut page)?;
    ensure!(page[0] == 5, "the log of {root} fits on one page");
    // The sixth child of the root.
    let cell = usize::from(u16::from_be_bytes([page[12 + 10], page[12 + 11]]));
    Ok(u64::from(u32::from_be_bytes(page[cell..cell + 4].try_into()?)))
}

#[tokio::test]
async fn a_damaged_page_is_named_and_the_pool_goes_on_with_what_is_salvaged() -> Result<()> {
    let mut pool = Pool::ready(Setup::without_blocks(2.4e-10)).await?;
    let mut stress = Stress::start(&pool, LOAD).await?;
    stress.acknowledged(3_000).await?;
    stress.finish().await?;
    let data = pool.data();
    let running = sluice_ledger("check", &data, &[])?;
    ensure!(running.status.success() && text(&running).contains("whole"), "{}", text(&running));
    ensure!(pool.stop().await?.success());
    ledger::checkpoint(&data)?;
    let (file, page) = (ledger::file(&data)?, page_of_shares(&data)?);
    let before = ledger::shares(&data)?.len();
    let mut bytes = OpenOptions::new().write(true).open(&file)?;
    bytes.seek(SeekFrom::Start((page - 1) * PAGE))?;
    bytes.write_all(&[0xa5; PAGE as usize])?;
    drop(bytes);

    let check = sluice_ledger("check", &data, &[])?;
    let said = text(&check);
    ensure!(
        check.status.code() == Some(1) && said.contains(&format!("table shares (page {page})")),
        "{said}"
    );
    let json: Value = serde_json::from_slice(&sluice_ledger("check", &data, &["--json"])?.stdout)?;
    ensure!(json["whole"] == false && json["damage"]["parts"][0]["table"] == "shares", "{json:#}");
    let out = TempDir::new()?;
    let copy = out.path().join("salvaged.db");
    let name = copy.to_str().context("a path")?;
    let salvage = sluice_ledger("salvage", &data, &[name])?;
    ensure!(salvage.status.success() && text(&salvage).contains("lost     shares"), "{}", text(&salvage));
    let again = sluice_ledger("salvage", &data, &[name])?;
    ensure!(again.status.code() == Some(1) && text(&again).contains("exists already"), "{}", text(&again));

    for ending in ["", "-wal", "-shm"] {
        let mut path = file.clone().into_os_string();
        path.push(ending);
        // What is not there need not be moved.
        let _ = fs::remove_file(path);
    }
    fs::copy(&copy, &file)?;
    pool.restart().await?;
    let left = ledger::shares(&data)?.len();
    ensure!(left < before && before - left < 300, "{left} of {before} shares are left");
    let mut miner = Miner::working(pool.sv1, &format!("{}.a", address(1))).await?;
    let job = miner.job().await?;
    let share = miner.mine(&job)?;
    miner.submit_good(&share).await
}

#[tokio::test]
async fn what_is_no_database_is_not_started_with() -> Result<()> {
    let mut pool = Pool::ready(Setup::without_blocks(1.0)).await?;
    ensure!(pool.stop().await?.success());
    // What the write-ahead log holds would repair the file.
    ledger::checkpoint(&pool.data())?;
    let file = ledger::file(&pool.data())?;
    fs::write(&file, "this was a ledger once".repeat(400))?;
    pool.respawn()?;
    let status = pool.exit().await?;
    ensure!(!status.success(), "it ran on a text file");
    ensure!(!pool.output().tail().contains("panicked"));
    Ok(())
}

/// Writes noise over `pages`, counted from 0.
fn overwrite(file: &Path, pages: Range<u64>) -> Result<()> {
    let mut file = OpenOptions::new().write(true).open(file)?;
    file.seek(SeekFrom::Start(pages.start * PAGE))?;
    file.write_all(&vec![0xa5; usize::try_from((pages.end - pages.start) * PAGE)?])?;
    Ok(())
}

/// A file system of its own, so small that it can be filled. Unmounted when dropped.
pub(crate) struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None`, and a line that says why, where this user may not mount.
    pub(crate) fn mount(test: &str) -> Result<Option<Self>> {
        let place = TempDir::with_prefix("sluice-disk-")?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"])
            .arg(place.path())
            .output()
            .is_ok_and(|output| output.status.success());
        if mounted {
            return Ok(Some(Self(place)));
        }
        ensure!(std::env::var_os("CI").is_none(), "{test} mounts a tmpfs: run as root");
        println!("skipped: {test}: mounting a tmpfs needs root");
        Ok(None)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the space that is left.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut file = fs::File::create(self.0.path().join("ballast"))?;
        while file.write_all(&[0; 4096]).is_ok() {}
        Ok(())
    }

    /// For a disk that nobody writes to.
    fn make_read_only(&self) -> Result<()> {
        let done = Command::new("mount").args(["-o", "remount,ro"]).arg(self.0.path()).status()?;
        ensure!(done.success(), "the disk does not become read-only");
        Ok(())
    }

    pub(crate) fn make_room(&self) -> Result<()> {
        Ok(fs::remove_file(self.0.path().join("ballast"))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the pool may still have its files open.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_acknowledges_nothing_raises_an_alarm_and_recovers() -> Result<()> {
    let Some(disk) = SmallDisk::mount("a full disk")? else { return Ok(()) };
    let setup = Setup { data: Some(disk.0.path().join("data")), ..Setup::without_blocks(2.4e-10) };
    let pool = Pool::ready(setup).await?;
    let mut miner = Miner::working(pool.sv1, &format!("{}.a", address(1))).await?;
    let job = miner.job().await?;
    let first = miner.mine(&job)?;
    miner.submit_good(&first).await?;
    disk.fill()?;
    // The log may have some room left in pages it already has: submit until the alarm is raised.
    let (mut sent, mut last) = (vec![first.key()], 0);
    let alarm = async {
        loop {
            let share = miner.mine(&job)?;
            let params = share.params(miner.user());
            last = miner.send("mining.submit", params).await?;
            sent.push(share.key());
            let ready = http::get(pool.http, "/readyz").await?;
            if ready.status == 503 {
                return anyhow::Ok(ready.body);
            }
            tokio::time::sleep(POLL / 10).await;
        }
    };
    let reason = tokio::time::timeout(2 * SOON, alarm).await??;
    ensure!(reason.contains("ledger"), "{reason}");
    let mut acknowledged = 1;
    while let Ok(Some(line)) = miner.line_within(Duration::from_secs(2)).await {
        acknowledged += u64::from(line["result"] == true);
        ensure!(
            line["id"] != last || line["result"] != true,
            "the last share was acknowledged on a full disk"
        );
    }
    ensure!(acknowledged < sent.len() as u64, "everything was acknowledged on a full disk");
    disk.make_room()?;
    pool.wait_ready().await?;
    // The connection may have been given up; what was acknowledged is in the log either way.
    let mut miner = Miner::working(pool.sv1, &format!("{}.a", address(1))).await?;
    let job = miner.job().await?;
    let share = miner.mine(&job)?;
    miner.submit_good(&share).await?;
    let log = ledger::shares(&pool.data())?;
    ensure!(log.get(&share.key()) == Some(&1) && log.get(&first.key()) == Some(&1));
    ensure!(log.values().all(|count| *count == 1));
    Ok(())
}

#[tokio::test]
async fn a_read_only_disk_is_refused_at_the_start() -> Result<()> {
    let Some(disk) = SmallDisk::mount("a read-only disk")? else { return Ok(()) };
    let data = disk.0.path().join("data");
    let setup = Setup { data: Some(data.clone()), ..Setup::without_blocks(1.0) };
    let mut pool = Pool::ready(setup).await?;
    ensure!(pool.stop().await?.success());
    disk.make_read_only()?;
    pool.respawn()?;
    let status = pool.exit().await?;
    let said = pool.output().tail();
    ensure!(!status.success() && !said.contains("panicked"), "{said}");
    ensure!(
        said.contains(&data.display().to_string()) && said.to_lowercase().contains("read-only"),
        "{said}"
    );
    Ok(())
}

/// A file that cannot be written, though its directory can: mounted over itself. Undone when dropped.
struct ReadOnlyFile(PathBuf);

impl ReadOnlyFile {
    fn mount(file: &Path) -> Result<Self> {
        let run = |args: &[&str]| Command::new("mount").args(args).arg(file).status();
        let bound = Command::new("mount").arg("--bind").arg(file).arg(file).status()?;
        ensure!(bound.success() && run(&["-o", "remount,bind,ro"])?.success(), "the file stays writable");
        Ok(Self(file.to_owned()))
    }
}

impl Drop for ReadOnlyFile {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_read_only_ledger_is_refused_at_the_start() -> Result<()> {
    let Some(disk) = SmallDisk::mount("a read-only ledger")? else { return Ok(()) };
    let setup = Setup { data: Some(disk.0.path().join("data")), ..Setup::without_blocks(1.0) };
    let mut pool = Pool::ready(setup).await?;
    ensure!(pool.stop().await?.success());
    let file = ledger::file(&pool.data())?;
    let mounted = ReadOnlyFile::mount(&file)?;
    pool.respawn()?;
    let status = pool.exit().await?;
    let said = pool.output().tail();
    ensure!(!status.success() && said.contains("ledger.db cannot be written"), "{said}");
    drop(mounted);
    pool.restart().await
}
