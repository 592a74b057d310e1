//! `sluice run`, and the deeper looks of `check` and `plugin inspect`.

use std::path::Path;
use std::time::{Duration, SystemTime};

use sluice_core::policy::PolicyKind;
use sluice_core::units::Timestamp;
use sluice_policy::{Loader, Policies, ReloadOutcome, ShadowConfig, SlotConfig};

use crate::app::{self, Pool};
use crate::clock;
use crate::commands::plugin::{CheckResult, Code, Import, Inspection, read_component};
use crate::config::Config;
use crate::console::say;
use crate::identity::{self, Endpoint};

/// How often the configuration file is looked at for changed policy settings.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the pool until interrupted.
///
/// # Errors
/// What could not be started.
pub async fn run(file: &Path, config: Config, interrupted: impl Future<Output = ()>) -> anyhow::Result<()> {
    let pool = Pool::start(&config).await?;
    for listener in &pool.listeners {
        let scheme = if listener.tls { "stratum+ssl" } else { "stratum+tcp" };
        say(&format!("sv1      {scheme}://{}  ({})", listener.address, listener.name));
    }
    if let Some(endpoint) = &pool.stratum_v2 {
        tell_stratum_v2(endpoint);
    }
    say(&format!("http     http://{}/", pool.http));
    tokio::select! {
        () = follow_settings(file, config, &pool.policies) => {}
        () = interrupted => {}
    }
    tracing::info!("stopping");
    pool.stop().await;
    Ok(())
}

/// Tells where SV2 miners connect (N-40).
pub fn tell_stratum_v2(endpoint: &Endpoint) {
    say(&format!("sv2      {endpoint}"));
    if let Some(address) = endpoint.plain_text {
        say(&format!("sv2      tcp://{address}  (plain text, for labs)"));
    }
}

/// Hands changed policy settings to the policies while they run. Every other change waits for a restart, and says so.
async fn follow_settings(file: &Path, mut config: Config, policies: &Policies) {
    let modified =
        |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut seen = modified(file);
    let mut interval = tokio::time::interval(LOOK_INTERVAL);
    loop {
        interval.tick().await;
        let now = modified(file);
        if now == seen {
            continue;
        }
        seen = now;
        let changed = match Config::load(file) {
            Ok(changed) => changed,
            Err(errors) => {
                tracing::error!(%errors, "the changed configuration is refused; the present one stays");
                continue;
            }
        };
        let mut rest = changed.clone();
        for kind in PolicyKind::ALL {
            let (new, old) = (&changed.policy.of(kind).settings, &config.policy.of(kind).settings);
            if new != old {
                match policies.reconfigure(kind, new.clone()).await {
                    ReloadOutcome::Rejected { why } => {
                        tracing::error!(%kind, why, "changed settings refused");
                    }
                    outcome => tracing::info!(%kind, ?outcome, "changed settings"),
                }
            }
            rest.policy.of_mut(kind).settings.clone_from(old);
        }
        if rest != config {
            tracing::warn!("the configuration changed beyond policy settings; that takes a restart");
        }
        for kind in PolicyKind::ALL {
            config.policy.of_mut(kind).settings.clone_from(&changed.policy.of(kind).settings);
        }
    }
}

/// What `check` finds beyond the file itself: plugins that do not load, files that cannot be read,
/// certificates that are not valid.
pub fn deeper_problems(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    if let Err(error) = app::check_data_dir(&config.data_dir) {
        problems.push(format!("data_dir: {error:#}"));
    }
    for listener in &config.stratum_v1.listeners {
        if let Some(tls) = &listener.tls
            && let Err(error) = crate::net::tls::Certificate::load(tls.clone())
        {
            problems.push(format!("stratum_v1.listener {}: {error:#}", listener.name));
        }
    }
    problems.extend(identity_problem(config, clock::wall()));
    if let Err(error) = app::outside(&config.policy.lookup) {
        problems.push(format!("{error:#}"));
    }
    problems.extend(PolicyKind::ALL.into_iter().flat_map(|kind| policy_problems(config, kind)));
    problems
}

/// Of a policy and its shadow. A pool may be running on the same data: nothing of it is touched.
fn policy_problems(config: &Config, kind: PolicyKind) -> Vec<String> {
    let slot = app::slot_config(config, kind);
    let shadow = slot.shadow.clone().map(|ShadowConfig { file, settings }| SlotConfig {
        file,
        settings,
        shadow: None,
        ..slot.clone()
    });
    let problem = |key: &str, slot: &SlotConfig| {
        load(config, kind, slot).err().map(|why| format!("policy.{kind}{key}: {why:#}"))
    };
    let of_shadow = shadow.and_then(|shadow| problem(".shadow", &shadow));
    problem("", &slot).into_iter().chain(of_shadow).collect()
}

/// Why SV2 could not begin at `now`: a key file that cannot be used, a certificate that is not valid.
fn identity_problem(config: &Config, now: Timestamp) -> Option<String> {
    let v2 = config.stratum_v2.as_ref()?;
    let error = identity::start(&v2.identity, now).err()?;
    Some(format!("stratum_v2: {error:#}"))
}

fn load(config: &Config, kind: PolicyKind, slot: &SlotConfig) -> anyhow::Result<()> {
    let bytes = read_component(&config.policy.dir.join(&slot.file))?;
    let code = Code::of(&bytes);
    let loader = Loader::new(code.dir(), app::compiler()?, config.network)?;
    match kind {
        PolicyKind::Auth => drop(loader.auth(&bytes, slot)?),
        PolicyKind::Vardiff => drop(loader.vardiff(&bytes, slot)?),
        PolicyKind::Payout => drop(loader.payout(&bytes, slot)?),
    }
    Ok(())
}

/// Looks at a plugin file.
///
/// # Errors
/// The file cannot be read.
pub fn inspect(file: &Path) -> anyhow::Result<Inspection> {
    let bytes = read_component(file)?;
    let code = Code::of(&bytes);
    let loader = Loader::new(code.dir(), app::compiler()?, bitcoin::Network::Regtest)?;
    let found = sluice_policy::inspect(&bytes, &loader);
    let failed = |problem: &String| CheckResult { name: "load".into(), error: Some(problem.clone()) };
    let mut checks: Vec<CheckResult> = found.problems.iter().map(failed).collect();
    if checks.is_empty() {
        let name = found.wants_settings.as_ref().map_or_else(
            || "load".to_owned(),
            |why| format!("load, as far as it goes without settings ({why})"),
        );
        checks.push(CheckResult { name, error: None });
    }
    Ok(Inspection {
        file: file.display().to_string(),
        bytes: u64::try_from(found.size).unwrap_or(u64::MAX),
        hash: found.sha256,
        kind: found.kinds.first().copied(),
        wit: found.wit_version,
        imports: found
            .imports
            .into_iter()
            .map(|import| Import {
                name: import.name,
                granted: import.granted,
                hint: import.advice.map(str::to_owned),
            })
            .collect(),
        exports: found.exports,
        descriptor: found.descriptor,
        checks,
    })
}

#[cfg(test)]
mod tests;
