//! Disks that are full and databases that are not what they were.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use sluice_tests::miner::{Miner, address};
use sluice_tests::pool::{Pool, Setup};
use sluice_tests::stress::{Load, Protocols, Stress};
use sluice_tests::{POLL, SOON, http, ledger};
use tempfile::TempDir;

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
    overwrite_middle(&file)?;
    pool.respawn()?;
    let status = pool.exit().await?;
    let said = pool.output().tail();
    ensure!(!status.success(), "it ran on a damaged ledger");
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ensure!(said.contains(name), "the file is not named:\n{said}");
    ensure!(!said.contains("panicked"), "{said}");
    Ok(())
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

/// Writes noise over the pages from the second to the last.
fn overwrite_middle(file: &Path) -> Result<()> {
    const PAGE: u64 = 4096;
    let length = fs::metadata(file)?.len();
    ensure!(length > 8 * PAGE, "the ledger has {length} bytes: too few to damage its middle");
    let mut file = OpenOptions::new().write(true).open(file)?;
    file.seek(SeekFrom::Start(2 * PAGE))?;
    file.write_all(&vec![0xa5; usize::try_from(length - 3 * PAGE)?])?;
    Ok(())
}

/// A file system of its own, so small that it can be filled. Unmounted when dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None`, and a line that says why, where this user may not mount.
    fn mount(test: &str) -> Result<Option<Self>> {
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

    /// Takes all the space that is left.
    fn fill(&self) -> Result<()> {
        let mut file = fs::File::create(self.0.path().join("ballast"))?;
        while file.write_all(&[0; 4096]).is_ok() {}
        Ok(())
    }

    fn make_room(&self) -> Result<()> {
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
