//! `sluice payouts psbt`: coins, a transaction, a file.

use std::collections::BTreeSet;
use std::io::Write;

use anyhow::{anyhow, bail, ensure};
use bitcoin::{OutPoint, ScriptBuf};
use sluice_core::base64;
use sluice_core::coinbase::parse_address;
use sluice_ledger::payouts::{BATCHES_LIMIT, Batch, BatchState, Coin, OwnCoinbase};
use sluice_node::Mempool;

use super::track::{self, Verdict};
use super::{Office, sats, write_new};
use crate::cli::{DraftPsbt, PsbtVersion, exit};
use crate::payouts::chain::Chain;
use crate::payouts::coins::{self, Holdings, Purse};
use crate::payouts::draft::{Draft, DraftError, Input, Order};
use crate::payouts::proof;
use crate::payouts::psbt::{self, Format};
use crate::payouts::size::Spend;

impl Office<'_> {
    pub(super) fn psbt(&mut self, args: &DraftPsbt) -> anyhow::Result<u8> {
        if let Some(path) = args.out.as_deref().filter(|path| path.exists()) {
            bail!("{} exists; choose another name", path.display());
        }
        let nodes = self.nodes()?;
        self.psbt_by(args, &nodes)
    }

    pub(super) fn psbt_by(&mut self, args: &DraftPsbt, chain: &dyn Chain) -> anyhow::Result<u8> {
        let draft = self.draft(args, chain)?;
        let coins: Vec<Coin> = draft.inputs.iter().map(|input| input.coin).collect();
        // Before anybody can sign it.
        self.desk.reserve(args.batch, &coins)?;
        self.write(args, &draft)?;
        self.describe(args, &draft)?;
        Ok(exit::OK)
    }

    fn draft(&mut self, args: &DraftPsbt, chain: &dyn Chain) -> anyhow::Result<Draft> {
        let batch = self.desk.batch(args.batch)?;
        let order = self.order(args, &batch)?;
        let mut inputs = Vec::new();
        for coin in self.desk.must_spend(batch.id)? {
            inputs.push(self.required(chain, &batch, coin)?);
        }
        add_named(args, chain, &mut inputs)?;
        let mut purse = None;
        loop {
            let shortage = match Draft::new(&order, inputs.clone()) {
                Ok(draft) => return Ok(draft),
                Err(error @ DraftError::NotEnough { .. }) => error,
                Err(error) => return Err(error.into()),
            };
            let purse = match &mut purse {
                Some(purse) => purse,
                None => purse.insert(self.purse(&batch, chain, &inputs)?),
            };
            match purse.take()?.filter(|input| is_worth_it(&order, input)) {
                Some(input) => inputs.push(input),
                None => return Err(short(&shortage, purse.is_exhausted())),
            }
        }
    }

    fn order(&self, args: &DraftPsbt, batch: &Batch) -> anyhow::Result<Order> {
        let network = self.config.network;
        let change = match &args.change {
            Some(text) => parse_address(text, network).map_err(|why| anyhow!("--change: {why}"))?,
            None => self.config.pool.address.clone(),
        };
        let lines = proof::outputs(&batch.lines, network)?;
        for (line, output) in batch.lines.iter().zip(&lines) {
            let dust = output.script_pubkey.minimal_non_dust();
            ensure!(
                line.amount >= dust,
                "{} to {} is dust; cancel the batch",
                sats(line.amount),
                line.address
            );
        }
        Ok(Order {
            lines,
            change: change.script_pubkey(),
            rate: args.fee_rate,
            version: args.tx_version,
            input_vsize: args.input_vsize,
            forced: args.force,
        })
    }

    fn purse<'c>(
        &mut self,
        batch: &Batch,
        chain: &'c dyn Chain,
        inputs: &[Input],
    ) -> anyhow::Result<Purse<'c>> {
        let coinbases = self.desk.own_coinbases()?;
        let own = self.own_scripts(&coinbases);
        let mut taken: BTreeSet<OutPoint> = self.desk.reserved_by_others(batch.id)?;
        taken.extend(inputs.iter().map(|input| input.coin.outpoint));
        let is_confirmed = |state: &BatchState| matches!(state, BatchState::Confirmed { .. });
        let batches = self.batches_that(is_confirmed, coins::CHANGES_LIMIT)?;
        let network = self.config.network;
        Ok(Purse::new(chain, Holdings { network, coinbases, batches: &batches, own: &own, taken })?)
    }

    /// Where the pool has its own money: its address, and those that its blocks paid.
    pub(super) fn own_scripts(&self, coinbases: &[OwnCoinbase]) -> Vec<ScriptBuf> {
        let mut addresses: BTreeSet<String> =
            coinbases.iter().map(|coinbase| coinbase.address.clone()).collect();
        addresses.insert(self.config.pool.address.to_string());
        let script =
            |text: &String| parse_address(text, self.config.network).ok().map(|it| it.script_pubkey());
        addresses.iter().filter_map(script).collect()
    }

    /// A coin that the draft has to spend. That it is spent already means that something else may have paid.
    fn required(&mut self, chain: &dyn Chain, batch: &Batch, coin: Coin) -> anyhow::Result<Input> {
        let owner = if batch.coins.contains(&coin) {
            batch.clone()
        } else {
            let is_cancelled = |state: &BatchState| matches!(state, BatchState::Cancelled { .. });
            let cancelled = self.batches_that(is_cancelled, BATCHES_LIMIT)?;
            cancelled.into_iter().find(|it| it.coins.contains(&coin)).unwrap_or_else(|| batch.clone())
        };
        // This batch's own transaction may wait in a mempool: the new draft replaces it. Another batch's must not be there.
        let mempool = if owner.id == batch.id { Mempool::Ignored } else { Mempool::Counts };
        if let Some(input) = coins::input(chain, coin.outpoint, mempool)? {
            return Ok(input);
        }
        let verdict = track::look(self, chain, &owner, &[coin.outpoint])?;
        let which = if owner.id == batch.id { "this batch" } else { "a cancelled batch" };
        Err(anyhow!(
            "the coin {} of {which} cannot be spent; {}",
            coin.outpoint,
            advice(&owner, batch, &verdict)
        ))
    }

    fn write(&mut self, args: &DraftPsbt, draft: &Draft) -> anyhow::Result<()> {
        let format = match args.psbt_version {
            PsbtVersion::V0 => Format::V0,
            PsbtVersion::V2 => Format::V2,
        };
        let bytes = psbt::encode(draft, format);
        match &args.out {
            Some(path) if args.base64 => write_new(path, base64::encode(&bytes).as_bytes())?,
            Some(path) => write_new(path, &bytes)?,
            None => writeln!(self.out, "{}", base64::encode(&bytes))?,
        }
        Ok(())
    }

    fn describe(&mut self, args: &DraftPsbt, draft: &Draft) -> anyhow::Result<()> {
        let (notes, id) = (&mut self.notes, args.batch);
        let there = coins::total(&draft.inputs);
        writeln!(notes, "batch    {id}")?;
        writeln!(notes, "spends   {} in {} coins", sats(there), draft.inputs.len())?;
        match draft.change {
            Some(change) => writeln!(notes, "change   {}", sats(change))?,
            None => writeln!(notes, "change   none: it would be dust")?,
        }
        writeln!(
            notes,
            "fee      {}, {} at an estimated {} vB",
            sats(draft.fee),
            args.fee_rate,
            draft.vsize
        )?;
        if draft.inputs.iter().any(|input| input.previous.is_none()) {
            writeln!(
                notes,
                "note     no node has the whole transactions of all coins; some hardware wallets want them"
            )?;
        }
        let txid = draft.transaction().compute_txid().to_string();
        let (name, hint) =
            if draft.keeps_its_id() { (txid.as_str(), "") } else { ("TXID", " (its id once signed)") };
        writeln!(notes, "next     sign and broadcast it, then: sluice payouts sent {id} {name}{hint}")?;
        Ok(())
    }
}

/// Coins that the operator names, if they are not there yet.
fn add_named(args: &DraftPsbt, chain: &dyn Chain, inputs: &mut Vec<Input>) -> anyhow::Result<()> {
    for outpoint in &args.coin {
        if inputs.iter().all(|input| input.coin.outpoint != *outpoint) {
            let input = coins::input(chain, *outpoint, Mempool::Counts)?;
            let gone =
                || anyhow!("the coin {outpoint} is spent, is not mature, or is not known to the nodes");
            inputs.push(input.ok_or_else(gone)?);
        }
    }
    Ok(())
}

/// A coin that costs more than it brings is left alone; so are the smaller ones after it.
fn is_worth_it(order: &Order, input: &Input) -> bool {
    let vsize = Spend::of(&input.script, order.input_vsize).map_or(0, Spend::vsize);
    input.coin.amount > order.rate.fee(vsize)
}

fn short(shortage: &DraftError, exhausted: bool) -> anyhow::Error {
    let more = if exhausted {
        format!("the search ended after {} coins", coins::SEARCH_LIMIT)
    } else {
        "there are no others that are mature and unspent".to_owned()
    };
    anyhow!(
        "{shortage}; {more}. Coins of the pool that its books do not know are named with --coin TXID:VOUT"
    )
}

/// What to do about a coin that is gone.
fn advice(owner: &Batch, batch: &Batch, verdict: &Verdict) -> String {
    let id = owner.id;
    match verdict {
        Verdict::Pays(sighting) if id == batch.id => {
            let replaces = match batch.state {
                BatchState::Sent { txid } if txid != sighting.txid => format!(" --replaces {txid}"),
                _ => String::new(),
            };
            let what = track::place(sighting);
            format!(
                "{what} pays the batch. Write it down: sluice payouts sent {id} {}{replaces}",
                sighting.txid
            )
        }
        Verdict::Pays(sighting) => format!(
            "batch {id} was cancelled, and {} pays it after all. Cancel batch {}, then: sluice payouts sent {id} {}",
            track::place(sighting),
            batch.id,
            sighting.txid
        ),
        Verdict::Differs { sighting, mismatch } => format!(
            "{} spends it and does not pay batch {id}: {mismatch}. Once it is confirmed: sluice payouts cancel {id}",
            track::place(sighting)
        ),
        Verdict::Nothing { searched } => {
            format!("what spends it was not found in {searched}; ask again later")
        }
    }
}
