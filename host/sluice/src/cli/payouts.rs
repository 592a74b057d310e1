//! What can be asked about paying.

use std::path::{Path, PathBuf};

use bitcoin::{Amount, OutPoint, Txid};
use clap::{Args, Subcommand, ValueEnum};
use sluice_ledger::payouts::BatchId;

use crate::payouts::size::FeeRate;

/// Pays what the pool owes: batches, transactions to sign, confirmations.
///
/// Without a command it lists what is due. The pool may run or not. Every step can be repeated: what was done is not
/// done again. No key is ever needed here; docs/payouts.md goes through all of it.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true,
    after_help = example!("sluice payouts --config config/regtest.toml", "sluice payouts prepare --config config/regtest.toml",
    "sluice payouts psbt 1 --fee-rate 2.5 --out batch-1.psbt --config config/regtest.toml",
    "sluice payouts confirm --config config/regtest.toml"))]
pub struct Payouts {
    #[command(subcommand)]
    pub command: Option<PayoutsCommand>,
    #[command(flatten)]
    pub list: Option<Listing>,
}

#[derive(Clone, Debug, Subcommand)]
pub enum PayoutsCommand {
    List(List),
    Prepare(Prepare),
    Show(Show),
    Batches(Batches),
    Csv(Csv),
    Psbt(DraftPsbt),
    Sent(Sent),
    Confirm(Confirm),
    Cancel(Cancel),
    Hold(Hold),
    Release(Release),
    Minimum(Minimum),
}

impl PayoutsCommand {
    pub fn config(&self) -> &Path {
        let file = match self {
            Self::List(args) => return &args.listing.config,
            Self::Show(args) => return &args.listing.config,
            Self::Batches(args) => return &args.listing.config,
            Self::Prepare(args) => &args.file,
            Self::Csv(args) => &args.file,
            Self::Psbt(args) => &args.file,
            Self::Sent(args) => &args.file,
            Self::Confirm(args) => &args.file,
            Self::Cancel(args) => &args.file,
            Self::Hold(args) => &args.file,
            Self::Release(args) => &args.file,
            Self::Minimum(args) => &args.file,
        };
        &file.config
    }
}

/// Which pool.
#[derive(Clone, Debug, Args)]
pub struct ConfigFile {
    /// The pool's configuration, as in config/sluice.toml.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Which pool, and how to print.
#[derive(Clone, Debug, Args)]
pub struct Listing {
    /// The pool's configuration, as in config/sluice.toml.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Lists what is due to whom, why what is not paid is not, and the batches under way.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice payouts list --config config/regtest.toml --json"))]
pub struct List {
    #[command(flatten)]
    pub listing: Listing,
}

/// Makes a batch of all that is payable, or shows the one that waits for its transaction.
///
/// What the batch pays is taken from the accounts at once, so that nothing is due twice.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice payouts prepare --config config/regtest.toml"))]
pub struct Prepare {
    #[command(flatten)]
    pub file: ConfigFile,
}

/// Shows a batch: its state, its lines and the coins that its drafts spend.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice payouts show 1 --config config/regtest.toml"))]
pub struct Show {
    /// The batch's number, as `prepare` and `batches` print it.
    #[arg(value_name = "BATCH", value_parser = batch)]
    pub batch: BatchId,
    #[command(flatten)]
    pub listing: Listing,
}

/// Lists batches, the newest first.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice payouts batches --config config/regtest.toml"))]
pub struct Batches {
    #[command(flatten)]
    pub listing: Listing,
}

/// Writes a batch's lines as CSV: batch, account, address, amount_sat, amount_btc.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice payouts csv 1 --out batch-1.csv --config config/regtest.toml"))]
pub struct Csv {
    /// The batch's number, as `prepare` and `batches` print it.
    #[arg(value_name = "BATCH", value_parser = batch)]
    pub batch: BatchId,
    /// The file to write; never over an existing one [default: standard output].
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub file: ConfigFile,
}

/// Writes the transaction that pays a batch, to be signed elsewhere.
///
/// It spends the pool's coins: outputs of its mature coinbases to itself, and the change of confirmed batches. Their
/// use is written down before the PSBT is; run again, the same fee rate gives the same transaction, and another one a
/// transaction that conflicts with it, so that at most one of them is ever paid.
#[derive(Clone, Debug, Args)]
#[command(name = "psbt",
    after_help = example!("sluice payouts psbt 1 --fee-rate 2.5 --out batch-1.psbt --config config/regtest.toml"))]
pub struct DraftPsbt {
    /// The batch's number, as `prepare` and `batches` print it.
    #[arg(value_name = "BATCH", value_parser = batch)]
    pub batch: BatchId,
    /// What to pay the miners, in satoshis a virtual byte.
    #[arg(long, value_name = "SAT_PER_VB")]
    pub fee_rate: FeeRate,
    /// 0: BIP 174, which every wallet reads; 2: BIP 370.
    #[arg(long, value_name = "VERSION", default_value = "0")]
    pub psbt_version: PsbtVersion,
    /// The version of the transaction.
    #[arg(long, value_name = "VERSION", default_value_t = 2, value_parser = clap::value_parser!(i32).range(1..=2))]
    pub tx_version: i32,
    /// Where the rest goes [default: pool.address]. Change that goes elsewhere is not found again.
    #[arg(long, value_name = "ADDRESS")]
    pub change: Option<String>,
    /// A coin of the pool that its books do not know, to be spent as well; can be repeated.
    #[arg(long, value_name = "TXID:VOUT", value_parser = coin)]
    pub coin: Vec<OutPoint>,
    /// Virtual bytes of an input, where the coin's script does not tell (P2WSH, P2SH other than P2SH-P2WPKH).
    #[arg(long, value_name = "VBYTES", value_parser = clap::value_parser!(u32).range(41..=10_000))]
    pub input_vsize: Option<u32>,
    /// Pay a fee of more than a tenth of what is paid.
    #[arg(long)]
    pub force: bool,
    /// The file to write, in binary; never over an existing one [default: base64 on standard output].
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write base64 to the file.
    #[arg(long, requires = "out")]
    pub base64: bool,
    #[command(flatten)]
    pub file: ConfigFile,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PsbtVersion {
    #[value(name = "0")]
    V0,
    #[value(name = "2")]
    V2,
}

/// Writes down which transaction pays a batch, before or after it is broadcast.
///
/// Where a node knows the transaction, it has to pay each line of the batch. A batch that was cancelled, and whose
/// transaction turns up after all, is taken from the accounts again.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!(
    "sluice payouts sent 1 4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b --config config/regtest.toml"))]
pub struct Sent {
    /// The batch's number, as `prepare` and `batches` print it.
    #[arg(value_name = "BATCH", value_parser = batch)]
    pub batch: BatchId,
    /// The transaction that pays it.
    #[arg(value_name = "TXID")]
    pub txid: Txid,
    /// The transaction that was written down before and is replaced by this one.
    #[arg(long, value_name = "TXID")]
    pub replaces: Option<Txid>,
    #[command(flatten)]
    pub file: ConfigFile,
}

/// Looks for the transactions of batches that were sent, and books those that have enough confirmations.
///
/// Without an index (txindex=1) the node's blocks are read from the batch's making on. Exit code 1 where a transaction
/// does not pay its batch, or another one has spent its coins.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice payouts confirm --config config/regtest.toml"))]
pub struct Confirm {
    /// [default: every batch that was sent]
    #[arg(value_name = "BATCH", value_parser = batch)]
    pub batch: Option<BatchId>,
    /// What the transaction paid the miners, in satoshis, where no node can tell.
    #[arg(long, value_name = "SAT", requires = "batch", value_parser = sat)]
    pub fee: Option<Amount>,
    #[command(flatten)]
    pub file: ConfigFile,
}

/// Gives back what a batch would have paid.
///
/// If a PSBT was made for it, the next batch's spends one of its coins, so that only one of the two can be paid. A
/// batch that was sent is cancelled only where the nodes say that a confirmed transaction spends its coins and pays
/// none of its lines.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice payouts cancel 1 --config config/regtest.toml"))]
pub struct Cancel {
    /// The batch's number, as `prepare` and `batches` print it.
    #[arg(value_name = "BATCH", value_parser = batch)]
    pub batch: BatchId,
    #[command(flatten)]
    pub file: ConfigFile,
}

/// Pays an account nothing until it is released. A batch that is prepared already is not changed.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice payouts hold alice --reason dispute-7 --config config/regtest.toml"))]
pub struct Hold {
    /// As `list` prints it.
    #[arg(value_name = "ACCOUNT")]
    pub account: String,
    /// Why: shown with what is due.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    #[command(flatten)]
    pub file: ConfigFile,
}

/// Ends a hold.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice payouts release alice --config config/regtest.toml"))]
pub struct Release {
    /// As `list` prints it.
    #[arg(value_name = "ACCOUNT")]
    pub account: String,
    #[command(flatten)]
    pub file: ConfigFile,
}

/// Sets from which amount on an account is paid.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice payouts minimum alice 500000 --config config/regtest.toml",
    "sluice payouts minimum alice default --config config/regtest.toml"))]
pub struct Minimum {
    /// As `list` prints it.
    #[arg(value_name = "ACCOUNT")]
    pub account: String,
    /// In satoshis; `default` for the pool's.
    #[arg(value_name = "SAT|default", value_parser = own_minimum)]
    pub amount: OwnMinimum,
    #[command(flatten)]
    pub file: ConfigFile,
}

/// From which amount on an account is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnMinimum {
    /// The pool's.
    Default,
    From(Amount),
}

fn batch(text: &str) -> Result<BatchId, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.map(BatchId).ok_or_else(|| "a batch is a number from 1 on".to_owned())
}

fn sat(text: &str) -> Result<Amount, String> {
    let amount = text.parse().ok().map(Amount::from_sat).filter(|amount| *amount <= Amount::MAX_MONEY);
    amount.ok_or_else(|| "a whole number of satoshis is allowed, up to 2100000000000000".to_owned())
}

fn own_minimum(text: &str) -> Result<OwnMinimum, String> {
    let amount = sat(text).ok().filter(|amount| *amount > Amount::ZERO).map(OwnMinimum::From);
    let default = (text == "default").then_some(OwnMinimum::Default);
    let allowed =
        "a whole number of satoshis from 1 to 2100000000000000 is allowed, or `default` for the pool's";
    default.or(amount).ok_or_else(|| allowed.to_owned())
}

fn coin(text: &str) -> Result<OutPoint, String> {
    let allowed = "a coin is the id of a transaction, a colon and the number of its output, counted from 0";
    text.parse().map_err(|_| allowed.to_owned())
}
