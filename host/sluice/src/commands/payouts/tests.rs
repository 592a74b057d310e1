use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::{OutPoint, Psbt, Transaction, TxOut};
use clap::Parser;
use sluice_core::ids::{AccountName, Protocol, TemplateId, WorkerId, WorkerName};
use sluice_core::policy::payout::{Entitlement, Portion, Window};
use sluice_core::policy::split::Credit;
use sluice_core::share::ShareRecord;
use sluice_core::units::{Difficulty, Timestamp};
use sluice_ledger::payouts::{BatchId, BatchState};
use sluice_ledger::{
    BlockRow, Durability, Ledger, LedgerConfig, MATURITY, Payment, Place, Settlement, TemplateFacts, Verdict,
};

use super::*;
use crate::cli::{Cli, Command, DraftPsbt};
use crate::payouts::testchain::{TestChain, address, output, script, spending};

const NODE: &str = "[[node]]\nurl = \"http://127.0.0.1:1\"\nuser = \"u\"\npassword = \"p\"\n";
const SIMULATED: &str = "[simulation]\nenabled = true\n";

/// A pool with a ledger in a directory of its own, and the chain that its blocks are in.
struct Pool {
    dir: tempfile::TempDir,
    chain: TestChain,
    blocks: u64,
    /// What the last command printed.
    out: String,
    notes: String,
}

fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u32::try_from(since.as_secs()).unwrap()
}

impl Pool {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pool = Self {
            dir,
            chain: TestChain::starting(now()),
            blocks: 0,
            out: String::new(),
            notes: String::new(),
        };
        pool.configure(NODE);
        pool
    }

    fn configure(&self, chain: &str) {
        let text = format!(
            "network = \"regtest\"\ndata_dir = \"data\"\n[pool]\naddress = \"{}\"\n{chain}\n\
             [policy]\ndir = \"plugins\"\n[payouts]\nminimum_sat = 1000\nconfirmations = 3\n",
            address(1)
        );
        std::fs::write(self.file(), text).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("pool.toml")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A mature block that earned the accounts these amounts and whose coinbase paid everything to the pool.
    async fn earn(&mut self, credits: &[(&str, u8, u64)]) {
        let total: u64 = credits.iter().map(|(_, _, sats)| sats).sum();
        self.chain.mine(vec![output(&script(1), total)], vec![]);
        let hash = self.chain.tip_hash();
        self.blocks += 1;
        let ledger = self.ledger();
        let finder = template_and_share(&ledger, self.blocks).await;
        for (account, number, _) in credits {
            let name = AccountName::new(account).unwrap();
            ledger.worker(&name, &WorkerName::new("").unwrap()).unwrap();
            ledger.payout_address(&name, &address(*number).to_string()).unwrap();
        }
        let reward = Amount::from_sat(total);
        let payment = Payment { account: String::new(), address: address(1).to_string(), amount: reward };
        let difficulty = Difficulty::ONE;
        let row = BlockRow {
            hash,
            height: self.chain.height(),
            template: TemplateId(1),
            at: Timestamp(self.blocks * 1000),
            finder,
            difficulty,
            network_difficulty: difficulty,
            reward,
            payments: vec![payment],
            window: Window::Round,
        };
        ledger.block_found(row).await.unwrap();
        ledger.block_verdict(hash, Verdict::Accepted).await.unwrap();
        let input = ledger.round_with(hash, Window::Round).await.unwrap();
        let credit = |(account, _, sats): &(&str, u8, u64)| Credit {
            account: (*account).to_owned(),
            amount: Amount::from_sat(*sats),
            reason: String::new(),
        };
        let entitlement = |(account, _, sats): &(&str, u8, u64)| Entitlement {
            account: (*account).to_owned(),
            portion: Portion::Fixed(*sats),
            reason: String::new(),
        };
        let settlement = Settlement {
            policy_name: "fixed".into(),
            policy_version: "1.0.0".into(),
            policy_hash: "ab".repeat(32),
            settings: "{}".into(),
            input,
            answer: credits.iter().map(entitlement).collect(),
            credits: credits.iter().map(credit).collect(),
        };
        ledger.settle_round(hash, settlement).await.unwrap();
        let place = Place::InChain { confirmations: MATURITY };
        ledger.block_places(vec![(hash, place)]).await.unwrap();
        ledger.close().await;
        self.chain.mine_empty(99);
    }

    fn ledger(&self) -> Ledger {
        let dir = self.path("data/ledger");
        Ledger::open(&LedgerConfig { dir, durability: Durability::Process, queue_limit: 100 }).unwrap()
    }

    fn args(&self, line: &str) -> Payouts {
        let line = format!("sluice payouts {line} --config {}", self.file().display());
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            Command::Payouts(args) => args,
            other => panic!("{other:?}"),
        }
    }

    /// A command as `main` runs it; nodes do not answer.
    fn run(&mut self, line: &str) -> anyhow::Result<u8> {
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let code = run(&self.args(line), &mut out, &mut notes);
        (self.out, self.notes) = (String::from_utf8(out).unwrap(), String::from_utf8(notes).unwrap());
        code
    }

    /// The same with this chain behind the nodes.
    fn ask(&mut self, line: &str) -> anyhow::Result<u8> {
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let config = Config::load(&self.file()).unwrap();
        let desk = self.desk();
        let mut office = Office { config, desk, out: &mut out, notes: &mut notes };
        let code = match self.args(line).command.unwrap() {
            PayoutsCommand::Psbt(args) => office.psbt_by(&args, &self.chain),
            PayoutsCommand::Sent(args) => office.sent_by(&args, &self.chain),
            PayoutsCommand::Confirm(args) => office.confirm_by(&args, &self.chain),
            PayoutsCommand::Cancel(args) => {
                let batch = office.desk.batch(args.batch).unwrap();
                office.cancel_by(&batch, &self.chain)
            }
            other => panic!("{other:?} asks no node"),
        };
        (self.out, self.notes) = (String::from_utf8(out).unwrap(), String::from_utf8(notes).unwrap());
        code
    }

    fn refused(&mut self, line: &str) -> String {
        format!("{:#}", self.ask(line).unwrap_err())
    }

    fn desk(&self) -> Desk {
        Desk::open(&sluice_ledger::database_in(&self.path("data/ledger"))).unwrap()
    }

    fn state(&self, batch: i64) -> BatchState {
        self.desk().batch(BatchId(batch)).unwrap().state
    }

    /// A PSBT of the batch at this rate: its transaction, as if it were signed.
    fn draft(&mut self, batch: i64, rate: &str) -> Transaction {
        let name = format!("{batch}-{rate}-{}.psbt", now());
        let file = self.path(&name);
        let _ = std::fs::remove_file(&file);
        self.ask(&format!("psbt {batch} --fee-rate {rate} --out {}", file.display())).unwrap();
        read(&file).unsigned_tx
    }

    fn mine(&mut self, transaction: &Transaction) {
        self.chain.mine(vec![TxOut::NULL], vec![transaction.clone()]);
    }

    async fn balance(&self, account: &str) -> i64 {
        let ledger = self.ledger();
        let rows = ledger.balances().await.unwrap();
        ledger.close().await;
        rows.iter().find(|row| row.account == account).map_or(0, |row| row.sat)
    }
}

async fn template_and_share(ledger: &Ledger, number: u64) -> WorkerId {
    let zero: bitcoin::BlockHash = "00".repeat(32).parse().unwrap();
    ledger.template(TemplateFacts {
        id: TemplateId(1),
        height: 100,
        previous: zero,
        network_difficulty: Difficulty::ONE,
        subsidy: Amount::from_sat(1),
        fees: Amount::ZERO,
        at: Timestamp(1),
    });
    let name = AccountName::new("finder").unwrap();
    let (account, worker) = ledger.worker(&name, &WorkerName::new("").unwrap()).unwrap();
    let share = ShareRecord {
        at: Timestamp(number * 1000),
        account,
        worker,
        protocol: Protocol::StratumV1,
        template: TemplateId(1),
        difficulty: Difficulty::ONE,
        hash: zero,
    };
    ledger.append(&[share]).await.unwrap();
    worker
}

fn read(file: &Path) -> Psbt {
    Psbt::deserialize(&std::fs::read(file).unwrap()).unwrap()
}

const CREDITS: [(&str, u8, u64); 3] = [("alice", 10, 600_000), ("bob", 11, 300_000), ("dust", 12, 999)];

/// With a batch for alice and bob, prepared.
async fn prepared() -> Pool {
    let mut pool = Pool::new();
    pool.earn(&CREDITS).await;
    pool.run("prepare").unwrap();
    pool
}

#[tokio::test]
async fn what_is_due_is_listed_with_why_not() {
    let mut pool = Pool::new();
    pool.earn(&CREDITS).await;
    pool.run("hold bob --reason dispute").unwrap();
    assert_eq!(pool.run("").unwrap(), exit::OK);
    for line in [
        "600,000 sat  alice  payable",
        "300,000 sat  bob  held: dispute",
        "999 sat  dust  below its minimum of 1,000 sat",
        "600,000 sat  payable to 1 accounts",
        "900,999 sat  due in all to 3 accounts with a balance",
    ] {
        assert!(pool.out.contains(line), "{line}: {}", pool.out);
    }
    pool.run("release bob").unwrap();
    pool.run("minimum dust 500").unwrap();
    pool.run("list --json").unwrap();
    let list: serde_json::Value = serde_json::from_str(&pool.out).unwrap();
    assert_eq!(list["payable_sat"], 900_999);
    assert_eq!(list["due"][2]["standing"], "payable");
    assert_eq!(list["open"], serde_json::json!([]));
    pool.run("minimum dust default").unwrap();
    pool.run("prepare").unwrap();
    pool.run("list").unwrap();
    assert!(pool.out.contains("batch 1 prepared, waits for its transaction: 900,000 sat"), "{}", pool.out);
    assert!(pool.out.contains("payable to 0 accounts"), "{}", pool.out);
}

#[tokio::test]
async fn preparing_twice_shows_the_same_batch_and_csv_overwrites_nothing() {
    let mut pool = prepared().await;
    pool.run("prepare").unwrap();
    assert!(pool.out.starts_with("batch 1 was prepared before"), "{}", pool.out);
    pool.run("csv 1").unwrap();
    let (alice, bob) = (address(10), address(11));
    let csv = format!(
        "batch,account,address,amount_sat,amount_btc\n1,alice,{alice},600000,0.00600000\n1,bob,{bob},300000,0.00300000\n"
    );
    assert_eq!(pool.out, csv);
    let file = pool.path("1.csv");
    let line = format!("csv 1 --out {}", file.display());
    pool.run(&line).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), csv);
    std::fs::write(&file, "mine").unwrap();
    assert!(format!("{:#}", pool.run(&line).unwrap_err()).contains("exists"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    assert!(format!("{:#}", pool.run("show 7").unwrap_err()).contains("no batch 7"));
    pool.run("batches --json").unwrap();
    let batches: serde_json::Value = serde_json::from_str(&pool.out).unwrap();
    assert_eq!((&batches[0]["state"], &batches[0]["id"]), (&"prepared".into(), &1.into()));
}

#[tokio::test]
async fn a_batch_is_paid_once_however_often_each_step_is_run() {
    let mut pool = prepared().await;
    let first = pool.draft(1, "2");
    assert_eq!(first, pool.draft(1, "2"));
    assert!(
        pool.notes.contains(&format!("sluice payouts sent 1 {}", first.compute_txid())),
        "{}",
        pool.notes
    );
    assert_eq!(first.output[..2], [output(&script(10), 600_000), output(&script(11), 300_000)]);
    assert_eq!(pool.desk().batch(BatchId(1)).unwrap().coins[0].outpoint, first.input[0].previous_output);

    // Broadcast, too cheap, replaced: the same coin again.
    pool.chain.mempool.push(first.clone());
    let txid = first.compute_txid();
    for _ in 0..2 {
        pool.ask(&format!("sent 1 {txid}")).unwrap();
        assert!(pool.notes.contains("pays each line"), "{}", pool.notes);
    }
    let second = pool.draft(1, "0.5");
    assert_ne!(second.compute_txid(), txid);
    assert_eq!(second.input[0].previous_output, first.input[0].previous_output);
    let error = pool.refused(&format!("sent 1 {}", second.compute_txid()));
    assert!(error.contains("was sent as"), "{error}");
    pool.chain.mempool = vec![second.clone()];
    assert_eq!(pool.ask("confirm").unwrap(), exit::FAILED);
    assert!(pool.out.contains(&format!("--replaces {txid}")), "{}", pool.out);
    pool.ask(&format!("sent 1 {} --replaces {txid}", second.compute_txid())).unwrap();

    pool.chain.mempool.clear();
    pool.mine(&second);
    assert_eq!(pool.ask("confirm").unwrap(), exit::OK);
    assert!(pool.out.contains("(1 confirmations) of 3 wanted"), "{}", pool.out);
    pool.chain.mine_empty(2);
    for _ in 0..2 {
        assert_eq!(pool.ask("confirm 1").unwrap(), exit::OK, "{}", pool.out);
        assert!(pool.out.contains("confirmed"), "{}", pool.out);
    }
    let BatchState::Confirmed { fee, .. } = pool.state(1) else { panic!("confirmed") };
    let paid: u64 = second.output.iter().map(|output| output.value.to_sat()).sum();
    assert_eq!(fee.to_sat(), 900_999 - paid);
    assert_eq!((pool.balance("alice").await, pool.balance("bob").await), (0, 0));
    pool.ask("confirm").unwrap();
    assert!(pool.out.contains("no batch waits"), "{}", pool.out);
    assert!(pool.refused("psbt 1 --fee-rate 2").contains("confirmed"));
}

#[tokio::test]
async fn a_cancelled_batch_and_the_next_cannot_both_be_paid() {
    let mut pool = prepared().await;
    let first = pool.draft(1, "2");
    pool.run("cancel 1").unwrap();
    assert!(pool.notes.contains("do not sign"), "{}", pool.notes);
    pool.ask("cancel 1").unwrap();
    assert!(pool.out.contains("cancelled before"), "{}", pool.out);
    assert_eq!(pool.state(1), BatchState::Cancelled { conflict: None });
    pool.earn(&[("alice", 10, 5_000_000)]).await;
    pool.run("prepare").unwrap();
    let second = pool.draft(2, "2");
    let spent: Vec<OutPoint> = second.input.iter().map(|input| input.previous_output).collect();
    assert!(spent.contains(&first.input[0].previous_output));

    // Somebody broadcast the first one after all: the second is not drafted, and the books follow what happened.
    pool.mine(&first);
    let txid = first.compute_txid();
    let error = pool.refused("psbt 2 --fee-rate 3");
    assert!(error.contains(&txid.to_string()) && error.contains("cannot be spent"), "{error}");
    pool.run("cancel 2").unwrap();
    pool.ask(&format!("sent 1 {txid}")).unwrap();
    assert_eq!(pool.state(1), BatchState::Sent { txid });
    pool.chain.mine_empty(5);
    assert_eq!(pool.ask("confirm").unwrap(), exit::OK);
    assert_eq!((pool.balance("alice").await, pool.balance("bob").await), (5_000_000, 0));
}

#[tokio::test]
async fn the_next_batch_is_stopped_where_a_cancelled_one_was_paid() {
    let mut pool = prepared().await;
    let first = pool.draft(1, "2");
    pool.run("cancel 1").unwrap();
    pool.run("prepare").unwrap();
    let txid = first.compute_txid();
    pool.chain.mempool.push(first);
    let error = pool.refused("psbt 2 --fee-rate 3");
    assert!(error.contains("batch 1 was cancelled") && error.contains(&format!("sent 1 {txid}")), "{error}");
    // Not before it is seen.
    pool.chain.mempool.clear();
    assert!(pool.refused(&format!("sent 1 {txid}")).contains("no node knows"));
}

#[tokio::test]
async fn change_of_a_confirmed_batch_and_the_operators_coins_pay_the_next() {
    let mut pool = Pool::new();
    pool.earn(&[("alice", 10, 600_000), ("late", 12, 200_000)]).await;
    pool.run("minimum late 500000").unwrap();
    pool.run("prepare").unwrap();
    let first = pool.draft(1, "1");
    pool.ask(&format!("sent 1 {}", first.compute_txid())).unwrap();
    pool.mine(&first);
    pool.chain.mine_empty(3);
    pool.ask("confirm").unwrap();
    pool.run("minimum late default").unwrap();
    pool.run("prepare").unwrap();
    // The house never had anything for fees.
    let change = first.output[1].value;
    assert_eq!(change.to_sat(), 200_000 - 141);
    let error = pool.refused("psbt 2 --fee-rate 1");
    assert!(error.contains(&format!("come to {change}")) && error.contains("--coin"), "{error}");
    let own = pool.chain.mine(vec![output(&script(1), 50_000)], vec![]);
    let line = format!("psbt 2 --fee-rate 1 --coin {own}:0");
    assert!(pool.refused(&line).contains("not mature"));
    pool.chain.mine_empty(99);
    let file = pool.path("2.psbt");
    pool.ask(&format!("{line} --out {}", file.display())).unwrap();
    let mut spent: Vec<OutPoint> =
        read(&file).unsigned_tx.input.iter().map(|it| it.previous_output).collect();
    spent.sort();
    let mut wanted = [OutPoint::new(own, 0), OutPoint::new(first.compute_txid(), 1)];
    wanted.sort();
    assert_eq!(spent, wanted);
}

#[tokio::test]
async fn a_transaction_that_pays_something_else_is_refused() {
    let mut pool = prepared().await;
    let draft = pool.draft(1, "2");
    let coin = draft.input[0].previous_output;
    let wrong = spending(&[coin], vec![output(&script(10), 600_000), output(&script(11), 299_999)]);
    pool.chain.mempool.push(wrong.clone());
    let error = pool.refused(&format!("sent 1 {}", wrong.compute_txid()));
    assert!(
        error.contains("does not pay batch 1: bob is to get") && error.contains("0.00299999 BTC"),
        "{error}"
    );
    assert_eq!(pool.state(1), BatchState::Prepared);
    // Entered before any node knew it, it is found out later.
    pool.chain.mempool.clear();
    pool.ask(&format!("sent 1 {}", wrong.compute_txid())).unwrap();
    assert!(pool.notes.contains("no node knows it"), "{}", pool.notes);
    pool.mine(&wrong);
    pool.chain.mine_empty(5);
    assert_eq!(pool.ask("confirm").unwrap(), exit::FAILED);
    assert!(pool.out.contains("does not pay it: bob"), "{}", pool.out);
    assert!(
        pool.out.contains("--replaces") && pool.out.contains("3 confirmations: sluice payouts cancel 1"),
        "{}",
        pool.out
    );
    // Alice has her money: given back, she would be paid twice.
    let error = pool.refused("cancel 1");
    assert!(error.contains("alice would be paid again") || error.contains("pays alice"), "{error}");
    assert!(error.contains("by hand"), "{error}");
}

#[tokio::test]
async fn of_a_confirmed_batch_that_left_the_chain_it_is_said_what_to_do() {
    let mut pool = prepared().await;
    let draft = pool.draft(1, "2");
    let txid = draft.compute_txid();
    pool.ask(&format!("sent 1 {txid}")).unwrap();
    pool.mine(&draft);
    pool.chain.mine_empty(2);
    pool.ask("confirm 1").unwrap();
    assert!(matches!(pool.state(1), BatchState::Confirmed { .. }));
    pool.chain.lose(3);
    assert_eq!(pool.ask("confirm 1").unwrap(), exit::FAILED);
    assert!(pool.out.contains("broadcast it again") && pool.out.contains("as paid"), "{}", pool.out);
}

#[tokio::test]
async fn a_batch_whose_coin_went_elsewhere_is_cancelled_for_good() {
    let mut pool = prepared().await;
    let draft = pool.draft(1, "2");
    pool.ask(&format!("sent 1 {}", draft.compute_txid())).unwrap();
    assert!(pool.refused("cancel 1").contains("may still confirm"));
    let elsewhere = spending(&[draft.input[0].previous_output], vec![output(&script(99), 800_000)]);
    pool.mine(&elsewhere);
    assert!(pool.refused("cancel 1").contains("once that has 3 confirmations"));
    pool.chain.mine_empty(2);
    pool.ask("cancel 1").unwrap();
    assert_eq!(pool.state(1), BatchState::Cancelled { conflict: Some(elsewhere.compute_txid()) });
    assert_eq!(pool.balance("alice").await, 600_000);
    // Nothing has to be ruled out any more.
    pool.run("prepare").unwrap();
    assert_eq!(pool.desk().must_spend(BatchId(2)).unwrap(), []);
}

#[tokio::test]
async fn both_formats_go_to_files_and_standard_output() {
    let mut pool = prepared().await;
    pool.ask("psbt 1 --fee-rate 2").unwrap();
    assert!(pool.out.starts_with("cHNidP8BA") && pool.out.ends_with('\n'), "{}", pool.out);
    let text = pool.out.trim().to_owned();
    let file = pool.path("1.txt");
    pool.ask(&format!("psbt 1 --fee-rate 2 --base64 --out {}", file.display())).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    pool.ask("psbt 1 --fee-rate 2 --psbt-version 2").unwrap();
    // "psbt", 0xff, then the transaction's version where version 0 has a transaction.
    assert!(pool.out.starts_with("cHNidP8BAgQCAAAA"), "{}", pool.out);
    let line = format!("psbt 1 --fee-rate 2 --out {}", file.display());
    assert!(format!("{:#}", pool.run(&line).unwrap_err()).contains("exists"));
}

#[tokio::test]
async fn absurd_fees_and_other_networks_are_refused() {
    let mut pool = prepared().await;
    pool.earn(&[("later", 13, 5_000_000)]).await;
    assert!(pool.refused("psbt 1 --fee-rate 700").contains("--force"));
    let error = pool.refused("psbt 1 --fee-rate 1 --change bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4");
    assert!(error.contains("--change"), "{error}");
    assert!(pool.desk().batch(BatchId(1)).unwrap().coins.is_empty(), "nothing was reserved");
    let text = format!("sluice payouts psbt 1 --fee-rate 1001 --config {}", pool.file().display());
    assert!(Cli::try_parse_from(text.split(' ')).unwrap_err().to_string().contains("no fee rate"));
}

#[tokio::test]
async fn without_nodes_the_books_still_work() {
    let mut pool = prepared().await;
    pool.configure(SIMULATED);
    for line in ["", "list", "show 1", "batches", "csv 1", "prepare", "cancel 1", "cancel 1", "prepare"] {
        assert_eq!(pool.run(line).unwrap(), exit::OK, "{line}");
    }
    let txid = "ab".repeat(32);
    for line in ["psbt 2 --fee-rate 1", "confirm", &format!("sent 2 {txid}")] {
        let error = format!("{:#}", pool.run(line).unwrap_err());
        assert!(error.contains("the chain is simulated"), "{line}: {error}");
    }
    pool.configure(NODE);
    let error = format!("{:#}", pool.run("confirm 2").unwrap_err());
    assert!(error.contains("no node answers: 127.0.0.1:1"), "{error}");
    std::fs::write(pool.file(), "nonsense = 1").unwrap();
    assert_eq!(pool.run("list").unwrap(), exit::USAGE);
    assert!(pool.notes.contains("nonsense"), "{}", pool.notes);
}

#[test]
fn the_command_line_is_checked() {
    let parse =
        |line: &str| Cli::try_parse_from(format!("sluice payouts {line}").split_whitespace()).map(|_| ());
    for line in [
        "",
        "list",
        "prepare",
        "psbt 1 --config c",
        "psbt 0 --fee-rate 1 --config c",
        "psbt 1 --fee-rate 1 --psbt-version 1 --config c",
        "psbt 1 --fee-rate 1 --tx-version 3 --config c",
        "psbt 1 --fee-rate 1 --base64 --config c",
        "sent 1 nothing --config c",
        "confirm --fee 5 --config c",
        "hold alice --config c",
        "minimum alice -5 --config c",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), i32::from(exit::USAGE), "{line}");
    }
    let Command::Payouts(args) =
        Cli::try_parse_from("sluice payouts psbt 1 --fee-rate 1 --config c".split(' ')).unwrap().command
    else {
        panic!("payouts")
    };
    let Some(PayoutsCommand::Psbt(DraftPsbt { tx_version, change, .. })) = args.command else {
        panic!("psbt")
    };
    assert_eq!((tx_version, change), (2, None));
}
