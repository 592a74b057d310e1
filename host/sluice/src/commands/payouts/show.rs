//! What there is to see: what is due, and batches.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};
use sluice_core::bitcoin::Amount;
use sluice_ledger::payouts::{BATCHES_LIMIT, Batch, BatchId, BatchState, Due, Standing};

use super::{Office, bitcoins, payable, rules, sats, write_new};
use crate::cli::exit;
use crate::commands::printable;

/// What `list --json` prints.
#[derive(Serialize)]
struct Overview<'a> {
    due: &'a [Due],
    /// What the next batch would pay, if it had room for all.
    payable_sat: u64,
    payable_accounts: usize,
    /// What is due, payable or not.
    due_sat: u64,
    /// Prepared and sent.
    open: &'a [Batch],
}

impl Office<'_> {
    pub(super) fn list(&mut self, json: bool) -> anyhow::Result<u8> {
        let payable = payable(self.config.network);
        let due = self.desk.due(&rules(&self.config, &payable))?;
        let is_open = |state: &BatchState| matches!(state, BatchState::Prepared | BatchState::Sent { .. });
        let open = self.batches_that(is_open, BATCHES_LIMIT)?;
        let payable = || due.iter().filter(|due| due.standing == Standing::Payable);
        let overview = Overview {
            due: &due,
            payable_sat: payable().map(|due| due.amount.to_sat()).sum(),
            payable_accounts: payable().count(),
            due_sat: due.iter().map(|due| due.amount.to_sat()).sum(),
            open: &open,
        };
        if json {
            writeln!(self.out, "{}", serde_json::to_string_pretty(&overview)?)?;
        } else {
            overview.render(self.out)?;
        }
        Ok(exit::OK)
    }

    pub(super) fn show(&mut self, id: BatchId, json: bool) -> anyhow::Result<u8> {
        let batch = self.desk.batch(id)?;
        if json {
            writeln!(self.out, "{}", serde_json::to_string_pretty(&batch)?)?;
            return Ok(exit::OK);
        }
        writeln!(self.out, "batch {} {}", batch.id, standing_of(&batch.state))?;
        self.table(&batch)?;
        for coin in &batch.coins {
            writeln!(self.out, "coin  {}  {}", coin.outpoint, sats(coin.amount))?;
        }
        Ok(exit::OK)
    }

    pub(super) fn batches(&mut self, json: bool) -> anyhow::Result<u8> {
        let heads = self.desk.heads(BATCHES_LIMIT)?;
        if json {
            // One at a time: together they may hold millions of lines.
            let mut json = serde_json::Serializer::pretty(&mut self.out);
            let mut list = json.serialize_seq(None)?;
            for head in &heads {
                list.serialize_element(&self.desk.batch(head.id)?)?;
            }
            list.end()?;
            writeln!(self.out)?;
            return Ok(exit::OK);
        }
        for head in &heads {
            let (lines, total) = (head.lines, sats(head.total));
            writeln!(
                self.out,
                "{:>5}  {lines:>5} accounts  {total:>20}  {}",
                head.id.0,
                standing_of(&head.state)
            )?;
        }
        if heads.is_empty() {
            writeln!(self.out, "no batch was ever made")?;
        }
        Ok(exit::OK)
    }

    /// A batch's lines and their sum.
    pub(super) fn table(&mut self, batch: &Batch) -> anyhow::Result<()> {
        for line in &batch.lines {
            let (account, address) = (printable(&line.account), printable(&line.address));
            writeln!(self.out, "{:>20}  {address}  {account}", sats(line.amount))?;
        }
        writeln!(self.out, "{:>20}  to {} accounts", sats(batch.total()), batch.lines.len())?;
        Ok(())
    }

    pub(super) fn csv(&mut self, id: BatchId, out: Option<&Path>) -> anyhow::Result<u8> {
        self.desk.check_unpaid(id)?;
        let text = csv(&self.desk.batch(id)?);
        match out {
            Some(path) => {
                write_new(path, text.as_bytes())?;
                writeln!(self.notes, "{} written", path.display())?;
            }
            None => self.out.write_all(text.as_bytes())?,
        }
        Ok(exit::OK)
    }
}

impl Overview<'_> {
    fn render(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        for due in self.due {
            let (account, why) = (printable(&due.account), printable(&why(due)));
            writeln!(out, "{:>20}  {account}  {why}", sats(due.amount))?;
        }
        let (payable, all) = (Amount::from_sat(self.payable_sat), Amount::from_sat(self.due_sat));
        writeln!(out, "{:>20}  payable to {} accounts", sats(payable), self.payable_accounts)?;
        writeln!(out, "{:>20}  due in all to {} accounts with a balance", sats(all), self.due.len())?;
        for batch in self.open {
            writeln!(out, "batch {} {}: {}", batch.id, standing_of(&batch.state), sats(batch.total()))?;
        }
        Ok(())
    }
}

fn why(due: &Due) -> String {
    match &due.standing {
        Standing::Payable => "payable".to_owned(),
        Standing::BelowMinimum => format!("below its minimum of {}", sats(due.minimum)),
        Standing::Held { reason } => format!("held: {reason}"),
        Standing::NoAddress => "gave no address".to_owned(),
        Standing::BadAddress { problem } => format!("cannot be paid: {problem}"),
        Standing::Nothing if due.balance_sat < 0 => format!("owes {} sat", due.balance_sat.unsigned_abs()),
        Standing::Nothing => "its balance is not final yet".to_owned(),
    }
}

fn standing_of(state: &BatchState) -> String {
    match state {
        BatchState::Prepared => "prepared, waits for its transaction".to_owned(),
        BatchState::Sent { txid } => format!("sent as {txid}"),
        BatchState::Confirmed { txid, height, fee } => {
            format!("confirmed in block {height} as {txid}, fee {}", sats(*fee))
        }
        BatchState::Cancelled { conflict: None } => "cancelled".to_owned(),
        BatchState::Cancelled { conflict: Some(by) } => format!("cancelled, its coins were spent by {by}"),
    }
}

fn csv(batch: &Batch) -> String {
    let mut text = String::from("batch,account,address,amount_sat,amount_btc\n");
    for line in &batch.lines {
        let (account, address) = (field(&line.account), field(&line.address));
        let (sat, btc) = (line.amount.to_sat(), bitcoins(line.amount));
        text.push_str(&format!("{},{account},{address},{sat},{btc}\n", batch.id));
    }
    text
}

/// Quoted where RFC 4180 wants it.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
