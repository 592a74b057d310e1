//! `sluice payouts`: from balances to a confirmed batch, on the ledger's own file and beside a running pool.

mod draft;
mod show;
mod track;

use std::io::Write;
use std::path::Path;

use anyhow::bail;
use bitcoin::{Amount, Network};
use sluice_core::coinbase::parse_address;
use sluice_ledger::payouts::{BATCHES_LIMIT, Batch, BatchState, Desk, Head, Rules, Unpayable};
use sluice_node::Lookup;

use super::printable;
use super::ticker::grouped;
use crate::chain;
use crate::cli::{Cancel, Hold, Minimum, OwnMinimum, Payouts, PayoutsCommand, Release, exit};
use crate::config::{Chain, Config};
use crate::{figures, files};

/// Does what `args` ask for. What is data goes to `out`, what is said about it to `notes`.
///
/// # Errors
/// The ledger, a node or a file refuses. Nothing is changed then.
pub fn run(args: &Payouts, out: &mut dyn Write, notes: &mut dyn Write) -> anyhow::Result<u8> {
    let listing = args.list.as_ref();
    let file = match (&args.command, listing) {
        (Some(command), _) => command.config(),
        (None, Some(listing)) => &listing.config,
        (None, None) => bail!("--config FILE is needed"),
    };
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(errors) => {
            writeln!(notes, "{errors}")?;
            return Ok(exit::USAGE);
        }
    };
    let desk = Desk::open(&files::database(&config.data_dir))?;
    let mut office = Office { config, desk, out, notes };
    match &args.command {
        None => office.list(listing.is_some_and(|listing| listing.json)),
        Some(command) => office.run(command),
    }
}

/// One command at work.
struct Office<'a> {
    config: Config,
    desk: Desk,
    out: &'a mut dyn Write,
    notes: &'a mut dyn Write,
}

impl Office<'_> {
    fn run(&mut self, command: &PayoutsCommand) -> anyhow::Result<u8> {
        match command {
            PayoutsCommand::List(args) => self.list(args.listing.json),
            PayoutsCommand::Prepare(_) => self.prepare(),
            PayoutsCommand::Show(args) => self.show(args.batch, args.listing.json),
            PayoutsCommand::Batches(args) => self.batches(args.listing.json),
            PayoutsCommand::Csv(args) => self.csv(args.batch, args.out.as_deref()),
            PayoutsCommand::Psbt(args) => self.psbt(args),
            PayoutsCommand::Sent(args) => self.sent(args),
            PayoutsCommand::Confirm(args) => self.confirm(args),
            PayoutsCommand::Cancel(args) => self.cancel(args),
            PayoutsCommand::Hold(args) => self.hold(args),
            PayoutsCommand::Release(args) => self.release(args),
            PayoutsCommand::Minimum(args) => self.minimum(args),
        }
    }

    /// The nodes of the configuration.
    fn nodes(&self) -> anyhow::Result<Lookup> {
        match &self.config.chain {
            Chain::Nodes(nodes) => Ok(Lookup::new(chain::nodes(self.config.network, nodes)?)),
            Chain::Simulated(_) => bail!(
                "the chain is simulated: it lives in the pool's process and cannot be asked, and nothing on it can be \
                 paid. list, prepare, show, batches, csv and cancel of a prepared batch work"
            ),
        }
    }

    fn prepare(&mut self) -> anyhow::Result<u8> {
        let payable = payable(self.config.network);
        let made = self.desk.prepare(&rules(&self.config, &payable))?;
        let Some((batch, new)) = made else {
            writeln!(self.out, "nothing is payable; `sluice payouts list` says why")?;
            return Ok(exit::OK);
        };
        let what = if new { "prepared" } else { "was prepared before and waits for its transaction" };
        writeln!(self.out, "batch {} {what}", batch.id)?;
        self.table(&batch)?;
        let id = batch.id;
        writeln!(self.notes, "next: sluice payouts psbt {id} --fee-rate SAT_PER_VB --out batch-{id}.psbt")?;
        Ok(exit::OK)
    }

    fn cancel(&mut self, args: &Cancel) -> anyhow::Result<u8> {
        let batch = self.desk.batch(args.batch)?;
        if self.conflicts_to_be_seen(&batch) {
            return self.cancel_conflicted(&batch);
        }
        let new = self.desk.cancel(batch.id)?;
        let before = if new { "" } else { " before" };
        writeln!(self.out, "batch {} cancelled{before}; what it paid is due again", batch.id)?;
        if !batch.coins.is_empty() {
            writeln!(
                self.notes,
                "a PSBT was made for it: do not sign or broadcast that one any more. The next batch's spends one of its \
                 coins, so that only one of the two can confirm"
            )?;
        }
        Ok(exit::OK)
    }

    fn hold(&mut self, args: &Hold) -> anyhow::Result<u8> {
        let new = self.desk.hold(&args.account, &args.reason)?;
        let word = if new { "is held" } else { "was held for that reason already" };
        writeln!(self.out, "{} {word}", printable(&args.account))?;
        let paid_by = |batch: &&Batch| batch.lines.iter().any(|line| line.account == args.account);
        let waiting = self.prepared()?;
        if let Some(batch) = waiting.as_ref().filter(paid_by) {
            writeln!(self.notes, "batch {} still pays it: cancel that one to leave it out", batch.id)?;
        }
        Ok(exit::OK)
    }

    fn release(&mut self, args: &Release) -> anyhow::Result<u8> {
        let new = self.desk.release(&args.account)?;
        let word = if new { "is released" } else { "was not held" };
        writeln!(self.out, "{} {word}", printable(&args.account))?;
        Ok(exit::OK)
    }

    fn minimum(&mut self, args: &Minimum) -> anyhow::Result<u8> {
        let amount = match args.amount {
            OwnMinimum::Default => None,
            OwnMinimum::From(amount) => Some(amount),
        };
        self.desk.minimum(&args.account, amount)?;
        let from = amount.unwrap_or(self.config.payouts.minimum);
        let whose = if amount.is_some() { "its own" } else { "the pool's" };
        writeln!(self.out, "{} is paid from {} on ({whose} minimum)", printable(&args.account), sats(from))?;
        Ok(exit::OK)
    }

    fn prepared(&mut self) -> anyhow::Result<Option<Batch>> {
        // The newest: none can be made while it waits.
        let newest = self.desk.heads(1)?.into_iter().next();
        let prepared = newest.filter(|head| head.state == BatchState::Prepared);
        prepared.map(|head| Ok(self.desk.batch(head.id)?)).transpose()
    }

    /// Batches in one of these states, the newest first, at most `limit`. Only theirs are read with lines and coins.
    fn batches_that(
        &mut self,
        are: impl Fn(&BatchState) -> bool,
        limit: usize,
    ) -> anyhow::Result<Vec<Batch>> {
        let heads: Vec<Head> = self.desk.heads(BATCHES_LIMIT)?;
        let wanted = heads.iter().filter(|head| are(&head.state)).take(limit);
        wanted.map(|head| Ok(self.desk.batch(head.id)?)).collect()
    }
}

/// Whether an address of `network` can be paid so much.
fn payable(network: Network) -> impl Fn(&str, Amount) -> Result<(), Unpayable> {
    move |address, amount| {
        let address = parse_address(address, network).map_err(Unpayable::Address)?;
        if amount < address.script_pubkey().minimal_non_dust() { Err(Unpayable::Dust) } else { Ok(()) }
    }
}

/// What a batch may have.
fn rules<'a>(config: &Config, payable: &'a dyn Fn(&str, Amount) -> Result<(), Unpayable>) -> Rules<'a> {
    Rules { minimum: config.payouts.minimum, max_lines: config.payouts.max_lines, payable }
}

/// As people read it.
fn sats(amount: Amount) -> String {
    format!("{} sat", grouped(amount.to_sat()))
}

/// A file for everybody's eyes, never over one that is there.
fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    files::write_new(path, bytes, 0o666, "; choose another name")
}

/// With all eight decimals.
fn bitcoins(amount: Amount) -> String {
    figures::bitcoins(amount.to_sat())
}

#[cfg(test)]
mod tests;
