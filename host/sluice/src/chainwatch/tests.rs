use bitcoin::Amount;
use bitcoin::hashes::Hash;
use sluice_core::ids::{AccountName, TemplateId, WorkerName};
use sluice_core::policy::payout::Window;
use sluice_core::units::{Difficulty, Timestamp};
use sluice_ledger::{BlockRow, BlockState, Durability, LedgerConfig, Verdict};
use sluice_node::sim::{self, SimChain, SimConfig};
use sluice_node::{Health, NodeHandle};

use super::*;

struct World {
    watch: ChainWatch,
    chain: SimChain,
    // The ledger's directory and the node's threads.
    _kept: (tempfile::TempDir, NodeHandle),
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let config =
        LedgerConfig { dir: dir.path().to_owned(), durability: Durability::Process, queue_limit: 100 };
    let ledger = Ledger::open(&config).unwrap();
    let (node, chain) = sim::start(SimConfig::default()).unwrap();
    let watch = ChainWatch::new(ledger, node.places(), Arc::new(Metrics::new()));
    World { watch, chain, _kept: (dir, node) }
}

impl World {
    /// A block that a node accepted.
    async fn accepted(&self, hash: BlockHash, height: u32) {
        let ledger = &self.watch.ledger;
        let finder = ledger.worker(&AccountName::new("a").unwrap(), &WorkerName::new("").unwrap()).unwrap().1;
        let row = BlockRow {
            hash,
            height,
            template: TemplateId(1),
            at: Timestamp(1),
            finder,
            difficulty: Difficulty::ONE,
            network_difficulty: Difficulty::ONE,
            reward: Amount::from_sat(1),
            payments: Vec::new(),
            window: Window::Round,
        };
        ledger.block_found(row).await.unwrap();
        ledger.block_verdict(hash, Verdict::Accepted).await.unwrap();
    }

    async fn look(&mut self) -> Look {
        let tip = self.chain.tip().height;
        self.watch.look(tip).await
    }

    async fn count(&self, state: BlockState) -> usize {
        let blocks = self.watch.ledger.blocks(1000).await.unwrap();
        blocks.iter().filter(|block| block.state == state).count()
    }

    fn moves(&self, what: &str, times: u64) -> bool {
        let line = format!("sluice_block_moves_total{{what=\"{what}\"}} {times}");
        self.watch.metrics.encode().lines().any(|have| have == line)
    }
}

fn stranger(number: u32) -> BlockHash {
    let mut bytes = [0xee; 32];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    BlockHash::from_byte_array(bytes)
}

#[tokio::test]
async fn a_look_is_bounded_and_the_next_one_goes_on() {
    let mut world = world();
    let height = world.chain.tip().height;
    let blocks = LOOK_LIMIT + 3;
    for number in 0..blocks {
        world.accepted(stranger(u32::try_from(number).unwrap()), height).await;
    }
    assert_eq!(world.look().await, Look::More);
    assert_eq!(world.count(BlockState::Orphaned).await, LOOK_LIMIT);
    assert_eq!(world.look().await, Look::Done);
    assert_eq!(world.count(BlockState::Orphaned).await, blocks);
    assert!(world.moves("orphaned", blocks as u64));
    // Orphans are looked at as well, and nothing happens to them twice.
    assert_eq!((world.look().await, world.look().await), (Look::More, Look::Done));
    assert!(world.moves("orphaned", blocks as u64));
}

#[tokio::test]
async fn what_no_node_can_tell_changes_nothing() {
    let mut world = world();
    let tip = world.chain.tip();
    world.accepted(tip.hash, tip.height).await;
    world.accepted(stranger(1), tip.height + 1).await;
    world.chain.set_health(Health::Unreachable { since: Timestamp(1), error: "unplugged".into() });
    world.look().await;
    assert_eq!(world.count(BlockState::Accepted).await, 2);
    world.chain.set_health(Health::Healthy);
    world.look().await;
    assert_eq!((world.count(BlockState::Immature).await, world.count(BlockState::Accepted).await), (1, 1));
    // Somebody else's block has the place of the second one.
    world.chain.force_block();
    world.look().await;
    assert_eq!((world.count(BlockState::Immature).await, world.count(BlockState::Orphaned).await), (1, 1));
}

#[tokio::test]
async fn a_block_is_followed_until_it_is_final() {
    let mut world = world();
    let tip = world.chain.tip();
    world.accepted(tip.hash, tip.height).await;
    for confirmations in 1..=100 {
        world.look().await;
        let block = world.watch.ledger.blocks(1).await.unwrap().remove(0);
        assert_eq!(block.confirmations, confirmations);
        assert_eq!(block.state == BlockState::Mature, confirmations == 100);
        world.chain.force_block();
    }
    assert!(world.moves("matured", 1));
    assert_eq!(world.watch.ledger.watched_blocks(0, tip.height + 100, 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_question_without_an_answer_skips_no_other_block() {
    let mut world = world();
    let height = world.chain.tip().height;
    for number in 0..5 {
        world.accepted(stranger(number), height).await;
    }
    world.chain.set_unspoken(Some(stranger(2)));
    assert_eq!(world.look().await, Look::Done);
    assert_eq!(world.count(BlockState::Orphaned).await, 2);
    // It is asked first now, again in vain; then the others have their turn.
    world.look().await;
    assert_eq!(world.count(BlockState::Orphaned).await, 2);
    world.look().await;
    assert_eq!(world.count(BlockState::Orphaned).await, 4);
    // From the beginning.
    world.chain.set_unspoken(None);
    world.look().await;
    assert_eq!(world.count(BlockState::Orphaned).await, 5);
}

#[tokio::test]
async fn a_question_that_failed_once_is_the_first_of_the_next_look() {
    let mut world = world();
    let height = world.chain.tip().height;
    for number in 0..5 {
        world.accepted(stranger(number), height).await;
    }
    world.chain.set_unspoken(Some(stranger(2)));
    world.look().await;
    world.chain.set_unspoken(None);
    world.look().await;
    assert_eq!(world.count(BlockState::Orphaned).await, 5);
    // Nobody to ask: no block was, and none is passed over.
    let late = stranger(9);
    world.accepted(late, height).await;
    world.chain.set_health(Health::Unreachable { since: Timestamp(1), error: "unplugged".into() });
    world.look().await;
    world.look().await;
    world.chain.set_health(Health::Healthy);
    world.look().await;
    assert_eq!(world.count(BlockState::Orphaned).await, 6);
}

#[tokio::test]
async fn of_two_own_blocks_at_one_height_the_one_in_the_chain_counts() {
    let mut world = world();
    let first = world.chain.force_block();
    world.accepted(first.hash, first.height).await;
    world.look().await;
    // A fork of one block: the chain has another one at that height, and it is ours too.
    let tip = world.chain.reorg(1);
    let second = world.chain.block_at(first.height).unwrap();
    assert!(second.hash != first.hash && tip.height == first.height + 1);
    world.accepted(second.hash, second.height).await;
    world.look().await;
    let blocks = world.watch.ledger.blocks(10).await.unwrap();
    let states: Vec<_> = blocks.iter().map(|block| (block.hash, block.state, block.confirmations)).collect();
    assert_eq!(states, [(second.hash, BlockState::Immature, 2), (first.hash, BlockState::Orphaned, 0)]);
    assert!(world.moves("orphaned", 1) && !world.moves("returned", 1));
}
