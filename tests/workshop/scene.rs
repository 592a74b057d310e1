//! A running pool whose policy of one kind is replaced by an author's.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bitcoin::hashes::{Hash, sha256};
use serde_json::Value;
use sluice_tests::http;
use sluice_tests::pool::{Pool, Setup};

use crate::author::Author;

/// Debounce, compile (the largest components take half a minute of two cores), try.
const RELOAD: Duration = Duration::from_secs(300);

pub(crate) struct Scene {
    pub(crate) pool: Pool,
    /// The shipped policy whose place is taken.
    file: &'static str,
}

impl Scene {
    /// With the shipped policies, and patience with miners that are silent while their author builds.
    pub(crate) async fn open(mut setup: Setup, file: &'static str) -> Result<Self> {
        setup.stratum_v1 += "\nidle_timeout_s = 3600";
        if let Some(stratum_v2) = &mut setup.stratum_v2 {
            stratum_v2.lines += "\nidle_timeout_s = 3600";
        }
        Ok(Self { pool: Pool::ready(setup).await?, file })
    }

    /// Puts a component in the place of what serves, and waits until it does.
    pub(crate) async fn load(&self, author: &Author, component: &[u8]) -> Result<()> {
        let began = Instant::now();
        self.put(component)?;
        self.serving(author, component, began).await
    }

    /// The same, of a component that wants other settings: both are taken together.
    pub(crate) async fn load_with(
        &self,
        author: &Author,
        component: &[u8],
        (old, new): (&str, &str),
    ) -> Result<()> {
        let began = Instant::now();
        self.put(component)?;
        let config = fs::read_to_string(self.pool.config())?;
        ensure!(config.contains(old), "no {old} in {config}");
        fs::write(self.pool.config(), config.replace(old, new))?;
        self.serving(author, component, began).await
    }

    fn put(&self, component: &[u8]) -> Result<()> {
        self.pool.plugins.replace(self.file, component)
    }

    async fn serving(&self, author: &Author, component: &[u8], began: Instant) -> Result<()> {
        let hash = sha256::Hash::hash(component).to_string();
        let (kind, name) = (author.cell.kind.label(), author.cell.kind.starter());
        let serves = |policies: &Value| {
            let policy = policies.as_array()?.iter().find(|policy| policy["kind"] == kind)?;
            let is = policy["hash"] == *hash && policy["name"] == name && policy["state"] == "active";
            is.then(|| policy["generation"].clone())
        };
        let generation = http::json_until(self.pool.http, "/api/v1/policies", RELOAD, serves).await?;
        let seconds = began.elapsed().as_secs_f64();
        author.tell(&format!("serves as generation {generation}, {seconds:.1} s after the file"));
        Ok(())
    }
}
