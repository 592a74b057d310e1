//! `sluice payouts sent`, `confirm` and the end of a batch that cannot be paid: what the nodes see.

use std::collections::HashSet;

use anyhow::{Context, bail, ensure};
use bitcoin::{Amount, OutPoint, ScriptBuf, Txid};
use sluice_ledger::payouts::{BATCHES_LIMIT, Batch, BatchId, BatchState};

use super::{Office, sats};
use crate::cli::{Confirm, Sent, exit};
use crate::commands::ticker::Ticker;
use crate::payouts::chain::Chain;
use crate::payouts::proof::{self, Mismatch};
use crate::payouts::trace::{self, Found, Sighting};

/// What became of a batch, as far as the nodes tell.
pub(super) enum Verdict {
    /// This transaction pays it, whatever was written down.
    Pays(Sighting),
    /// This one was written down, or spends its coins, and does not pay it.
    Differs { sighting: Sighting, mismatch: Mismatch },
    /// No transaction was seen, in what was searched.
    Nothing { searched: String },
}

/// Looks for the batch's transaction, or what spends `coins`.
pub(super) fn look(
    office: &mut Office<'_>,
    chain: &dyn Chain,
    batch: &Batch,
    coins: &[OutPoint],
) -> anyhow::Result<Verdict> {
    look_for(office, chain, batch, transaction_of(&batch.state), coins)
}

fn look_for(
    office: &mut Office<'_>,
    chain: &dyn Chain,
    batch: &Batch,
    txid: Option<Txid>,
    coins: &[OutPoint],
) -> anyhow::Result<Verdict> {
    let mut ticker = Ticker::new();
    let mut progress = |blocks: u32| ticker.tick("blocks", blocks.into(), trace::WALK_LIMIT.into());
    let found = trace::find(chain, txid, coins, batch.at, &mut progress)?;
    drop(ticker);
    let sighting = match found {
        Found::Seen(sighting) => sighting,
        Found::Nothing { blocks, whole: true } => {
            return Ok(Verdict::Nothing {
                searched: format!("the mempool and all {blocks} blocks since it was made"),
            });
        }
        Found::Nothing { blocks, whole: false } => {
            let searched =
                format!("the mempool and the last {blocks} blocks; older ones take a node with txindex=1");
            return Ok(Verdict::Nothing { searched });
        }
    };
    let own = office.desk.own_coinbases()?;
    let own = office.own_scripts(&own);
    Ok(match proof::check(&sighting.transaction, &batch.lines, office.config.network, &own) {
        Ok(_) => Verdict::Pays(sighting),
        Err(mismatch) => Verdict::Differs { sighting, mismatch },
    })
}

fn transaction_of(state: &BatchState) -> Option<Txid> {
    match state {
        BatchState::Sent { txid } | BatchState::Confirmed { txid, .. } => Some(*txid),
        BatchState::Prepared | BatchState::Cancelled { .. } => None,
    }
}

fn outpoints(batch: &Batch) -> Vec<OutPoint> {
    batch.coins.iter().map(|coin| coin.outpoint).collect()
}

/// A transaction and where it is.
pub(super) fn place(sighting: &Sighting) -> String {
    match &sighting.block {
        None => format!("{} in the mempool", sighting.txid),
        Some(block) => {
            let confirmations = block.confirmations.unwrap_or(0);
            format!("{} in block {} ({confirmations} confirmations)", sighting.txid, block.height)
        }
    }
}

fn confirmations(sighting: &Sighting) -> u32 {
    sighting.block.as_ref().and_then(|block| block.confirmations).unwrap_or(0)
}

/// How another transaction is entered in the place of the one that was.
fn correction(id: BatchId, state: &BatchState) -> String {
    transaction_of(state).map_or_else(String::new, |recorded| {
        format!("If another one pays it: sluice payouts sent {id} TXID --replaces {recorded}. ")
    })
}

impl Office<'_> {
    pub(super) fn sent(&mut self, args: &Sent) -> anyhow::Result<u8> {
        let nodes = self.nodes()?;
        self.sent_by(args, &nodes)
    }

    pub(super) fn sent_by(&mut self, args: &Sent, chain: &dyn Chain) -> anyhow::Result<u8> {
        let batch = self.desk.batch(args.batch)?;
        let (id, txid) = (batch.id, args.txid);
        let verdict = look_for(self, chain, &batch, Some(txid), &[])?;
        if let Verdict::Differs { mismatch, .. } = &verdict {
            bail!("{txid} does not pay batch {id}: {mismatch}");
        }
        let cancelled = matches!(batch.state, BatchState::Cancelled { .. });
        let new = match &verdict {
            Verdict::Pays(_) if cancelled => self.desk.revive(id, txid)?,
            _ if cancelled => {
                bail!("batch {id} was cancelled, and no node knows {txid}: nothing is written down")
            }
            _ => self.desk.sent(id, txid, args.replaces)?,
        };
        let before = if new { "" } else { " (as was written down before)" };
        writeln!(self.out, "batch {id} is sent as {txid}{before}")?;
        if cancelled {
            writeln!(self.notes, "it was cancelled: its accounts are debited again, below zero if need be")?;
        }
        self.note_on_sent(&batch, &verdict)?;
        Ok(exit::OK)
    }

    fn note_on_sent(&mut self, batch: &Batch, verdict: &Verdict) -> anyhow::Result<()> {
        let Verdict::Pays(sighting) = verdict else {
            writeln!(
                self.notes,
                "no node knows it, so that nothing was checked. Broadcast it; `sluice payouts confirm` compares it"
            )?;
            return Ok(());
        };
        writeln!(self.notes, "it pays each line of the batch; {}", place(sighting))?;
        let coins = outpoints(batch);
        let shares = sighting.transaction.input.iter().any(|input| coins.contains(&input.previous_output));
        if !shares && !coins.is_empty() {
            writeln!(
                self.notes,
                "warning: it spends no coin of the batch's PSBTs. Destroy those: signed and broadcast, they pay again"
            )?;
        }
        Ok(())
    }

    pub(super) fn confirm(&mut self, args: &Confirm) -> anyhow::Result<u8> {
        let nodes = self.nodes()?;
        self.confirm_by(args, &nodes)
    }

    pub(super) fn confirm_by(&mut self, args: &Confirm, chain: &dyn Chain) -> anyhow::Result<u8> {
        let is_sent = |state: &BatchState| matches!(state, BatchState::Sent { .. });
        let mut batches = match args.batch {
            Some(id) => vec![self.desk.batch(id)?],
            None => self.batches_that(is_sent, BATCHES_LIMIT)?,
        };
        batches.reverse();
        if batches.is_empty() {
            writeln!(self.out, "no batch waits for a confirmation")?;
        }
        let mut code = exit::OK;
        for batch in &batches {
            code = code.max(self.confirm_one(batch, args.fee, chain)?);
        }
        Ok(code)
    }

    fn confirm_one(&mut self, batch: &Batch, fee: Option<Amount>, chain: &dyn Chain) -> anyhow::Result<u8> {
        let id = batch.id;
        let verdict = look(self, chain, batch, &outpoints(batch))?;
        match (&batch.state, verdict) {
            (BatchState::Sent { txid }, Verdict::Pays(sighting)) if sighting.txid == *txid => {
                return self.settle(batch, &sighting, fee, chain);
            }
            (BatchState::Sent { txid }, Verdict::Pays(sighting)) => writeln!(
                self.out,
                "batch {id}: {} pays it in the place of {txid}. Write it down: sluice payouts sent {id} {} --replaces \
                 {txid}",
                place(&sighting),
                sighting.txid
            )?,
            (BatchState::Confirmed { txid, .. }, Verdict::Pays(sighting)) if sighting.txid == *txid => {
                writeln!(self.out, "batch {id}: confirmed before; {}", place(&sighting))?;
                return Ok(if sighting.block.is_some() { exit::OK } else { exit::FAILED });
            }
            (BatchState::Confirmed { txid, height, .. }, _) => writeln!(
                self.out,
                "batch {id}: was confirmed in block {height} as {txid}, and the nodes do not have it in the chain now. It can \
                 confirm again: if it is in no mempool, broadcast it again. The books keep the batch as paid"
            )?,
            (_, Verdict::Pays(sighting)) => writeln!(
                self.out,
                "batch {id}: {} pays it. Write it down: sluice payouts sent {id} {}",
                place(&sighting),
                sighting.txid
            )?,
            (state, Verdict::Differs { sighting, mismatch }) => writeln!(
                self.out,
                "batch {id}: {} spends its coins or was written down for it, and does not pay it: {mismatch}. {}Once it has {} \
                 confirmations: sluice payouts cancel {id}",
                place(&sighting),
                correction(id, state),
                self.config.payouts.confirmations
            )?,
            (_, Verdict::Nothing { searched }) => {
                let what = if matches!(batch.state, BatchState::Sent { .. }) {
                    "not seen yet"
                } else {
                    batch.state.label()
                };
                writeln!(self.out, "batch {id}: {what}; no transaction of it in {searched}")?;
                return Ok(exit::OK);
            }
        }
        Ok(exit::FAILED)
    }

    /// Books a transaction that pays its batch, if it is deep enough.
    fn settle(
        &mut self,
        batch: &Batch,
        sighting: &Sighting,
        told: Option<Amount>,
        chain: &dyn Chain,
    ) -> anyhow::Result<u8> {
        let (id, enough) = (batch.id, self.config.payouts.confirmations);
        let Some(block) = sighting.block.as_ref().filter(|_| confirmations(sighting) >= enough) else {
            writeln!(self.out, "batch {id}: {} of {enough} wanted", place(sighting))?;
            return Ok(exit::OK);
        };
        let known = trace::fee(chain, &sighting.transaction, &batch.coins)?;
        if let (Some(known), Some(told)) = (known, told) {
            ensure!(known == told, "the fee is {}, not {}", sats(known), sats(told));
        }
        let fee = known.or(told).with_context(|| {
            format!(
                "batch {id} is paid by {}, but it spends coins whose amounts no node can tell: say what it paid the \
                 miners with --fee SAT",
                place(sighting)
            )
        })?;
        self.desk.confirmed(id, sighting.txid, block.height, fee)?;
        writeln!(self.out, "batch {id}: confirmed, fee {}; {}", sats(fee), place(sighting))?;
        Ok(exit::OK)
    }

    /// Whether only the nodes can say that a batch is over: it was sent, or what it paid was given back and its drafts may
    /// be about.
    pub(super) fn conflicts_to_be_seen(&self, batch: &Batch) -> bool {
        match batch.state {
            BatchState::Sent { .. } => true,
            BatchState::Cancelled { conflict: None } => {
                !batch.coins.is_empty() && matches!(self.config.chain, crate::config::Chain::Nodes(_))
            }
            _ => false,
        }
    }

    /// Cancels a batch whose coins another transaction has spent for good.
    pub(super) fn cancel_conflicted(&mut self, batch: &Batch) -> anyhow::Result<u8> {
        let nodes = self.nodes()?;
        self.cancel_by(batch, &nodes)
    }

    pub(super) fn cancel_by(&mut self, batch: &Batch, chain: &dyn Chain) -> anyhow::Result<u8> {
        let (id, enough) = (batch.id, self.config.payouts.confirmations);
        let sent = matches!(batch.state, BatchState::Sent { .. });
        // All drafts spend the first coin; the others rule out what was sent, and no earlier draft.
        let mut coins = outpoints(batch);
        coins.truncate(if sent { coins.len() } else { 1 });
        let (sighting, mismatch) = match look(self, chain, batch, &coins)? {
            Verdict::Differs { sighting, mismatch } => (sighting, mismatch),
            Verdict::Pays(sighting) => {
                bail!("batch {id} is paid by {}; it is not cancelled", place(&sighting))
            }
            Verdict::Nothing { .. } if !sent => {
                writeln!(self.out, "batch {id} cancelled before; what it paid is due again")?;
                return Ok(exit::OK);
            }
            Verdict::Nothing { searched } => bail!(
                "batch {id} was sent, and nothing has spent its coins in {searched}: its transaction may still confirm. \
                 Replace it with a higher fee, or spend one of its coins, then cancel"
            ),
        };
        ensure!(
            confirmations(&sighting) >= enough,
            "{} does not pay batch {id} ({mismatch}); it is cancelled once that has {enough} confirmations",
            place(&sighting)
        );
        if let Some(account) = self.paid_in_part(batch, &sighting)? {
            bail!(
                "{} pays {account} and not the whole batch {id} ({mismatch}). Cancelled, {account} would be paid again; \
                 the books cannot tell half a batch. Pay the rest of `sluice payouts csv {id}` by hand and leave the batch as it \
                 is: its accounts are debited",
                place(&sighting)
            );
        }
        let spent = |coin: &OutPoint| sighting.transaction.input.iter().any(|it| it.previous_output == *coin);
        let Some(coin) = outpoints(batch).into_iter().find(spent) else {
            bail!(
                "{} does not pay batch {id} ({mismatch}), but spends none of its coins: that rules nothing out",
                place(&sighting)
            );
        };
        self.desk.conflicted(id, sighting.txid, coin)?;
        let ruled_out = matches!(self.desk.batch(id)?.state, BatchState::Cancelled { conflict: Some(_) });
        let what = if ruled_out {
            "it can never be paid"
        } else {
            "the next batch's PSBT spends its first coin, so that no earlier PSBT of it is paid"
        };
        writeln!(self.out, "batch {id} cancelled: {} spends a coin of it; {what}", place(&sighting))?;
        Ok(exit::OK)
    }

    /// An account of the batch that the transaction pays.
    fn paid_in_part(&self, batch: &Batch, sighting: &Sighting) -> anyhow::Result<Option<String>> {
        let wanted = proof::outputs(&batch.lines, self.config.network)?;
        let pool = self.config.pool.address.script_pubkey();
        let paid: HashSet<&ScriptBuf> =
            sighting.transaction.output.iter().map(|output| &output.script_pubkey).collect();
        let hit = |(_, output): &(_, &bitcoin::TxOut)| {
            output.script_pubkey != pool && paid.contains(&output.script_pubkey)
        };
        Ok(batch.lines.iter().zip(&wanted).find(hit).map(|(line, _)| line.account.clone()))
    }
}
