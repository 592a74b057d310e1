//! Whom a coinbase pays: credits of this block and balances from before, as far as its room and the reward allow.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use bitcoin::{Address, Amount, Script};

use crate::policy::split::Credit;

/// What a coinbase pays to an account's address. The account is empty for the pool's own output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    pub account: String,
    pub address: Address,
    pub amount: Amount,
}

/// What accounts are owed from before this block.
pub type Owed = BTreeMap<String, Amount>;

/// P2WPKH, the smallest output that is somebody's.
const SMALLEST_OUTPUT: usize = 31;
/// Outputs up to here are counted in one byte.
const SHORT_COUNT: usize = 252;
/// The pool's own output and the witness commitment.
const POOL_OUTPUTS: usize = 2;
/// Signature operations that Bitcoin Core leaves to the outputs of a coinbase when it makes a template, as cost; those of
/// a P2PKH output cost 4. One block may have 80,000.
const SIGOPS_COST: usize = 400;
const SIGOP_COST: usize = 4;

/// Who is to be paid, in the order of the amounts: made once for all coinbases of the same money.
pub struct Claims<'a> {
    /// The sum of all credits, the house's included.
    total: Amount,
    /// The largest credit first.
    credited: Vec<Claim<'a>>,
    /// Those that something is owed, the largest sum of both first.
    owed: Vec<Claim<'a>>,
}

struct Claim<'a> {
    account: &'a str,
    credit: Amount,
    owed: Amount,
}

impl Claim<'_> {
    fn both(&self) -> Amount {
        self.credit.checked_add(self.owed).unwrap_or(Amount::MAX_MONEY)
    }
}

impl<'a> Claims<'a> {
    /// Each account has one credit at most.
    pub fn new(credits: &'a [Credit], owed: &'a Owed) -> Self {
        let claim = |account: &'a str, credit| Claim {
            account,
            credit,
            owed: owed.get(account).copied().unwrap_or(Amount::ZERO),
        };
        let of_accounts = || credits.iter().filter(|credit| !credit.account.is_empty());
        let mut credited: Vec<Claim<'a>> =
            of_accounts().map(|credit| claim(&credit.account, credit.amount)).collect();
        credited.sort_unstable_by_key(|claim| (Reverse(claim.credit), claim.account));
        let mut claims = Self { total: sum(credits), credited, owed: Vec::new() };
        if !owed.is_empty() {
            let known: HashSet<&str> = of_accounts().map(|credit| credit.account.as_str()).collect();
            let others = owed.keys().filter(|account| !known.contains(account.as_str()));
            let others = others.map(|account| claim(account, Amount::ZERO));
            let both = of_accounts().map(|credit| claim(&credit.account, credit.amount)).chain(others);
            claims.owed =
                both.filter(|claim| !claim.account.is_empty() && claim.owed > Amount::ZERO).collect();
            claims.owed.sort_unstable_by_key(|claim| (Reverse(claim.both()), claim.account));
        }
        claims
    }

    /// The outputs of a coinbase. Their sum is that of the credits.
    ///
    /// Credits come first: the largest, as many as fit, each whole. What the pool's own output would hold then (its own
    /// part, dust, accounts without an address or without room) pays what accounts are owed, the largest sum of credit
    /// and balance first; the last may get only a part of its balance. No account gets less than its credit, nor dust.
    ///
    /// `room` is the budget of the whole serialised coinbase in bytes (V1-92); `overhead` what it needs without payments.
    pub fn payments(
        &self,
        address_of: &dyn Fn(&str) -> Option<Address>,
        pool: &Address,
        (room, overhead): (usize, usize),
    ) -> Vec<Payment> {
        let mut room = Room::beside(&pool.script_pubkey(), room.saturating_sub(overhead));
        let mut chosen = self.pay_credits(address_of, &mut room);
        let mut left = self.total.checked_sub(paid(&chosen)).unwrap_or(Amount::ZERO);
        self.pay_owed(address_of, &mut room, &mut chosen, &mut left);
        chosen.sort_unstable_by(|a, b| b.amount.cmp(&a.amount).then_with(|| a.account.cmp(&b.account)));
        if left > Amount::ZERO || chosen.is_empty() {
            chosen.push(Payment { account: String::new(), address: pool.clone(), amount: left });
        }
        chosen
    }

    fn pay_credits(&self, address_of: &dyn Fn(&str) -> Option<Address>, room: &mut Room) -> Vec<Payment> {
        let mut chosen = Vec::new();
        for claim in self.credited.iter().take_while(|claim| claim.credit > Amount::ZERO) {
            if room.is_full() {
                break;
            }
            chosen.extend(claim.payment(claim.credit, address_of, room));
        }
        chosen
    }

    fn pay_owed(
        &self,
        address_of: &dyn Fn(&str) -> Option<Address>,
        room: &mut Room,
        chosen: &mut Vec<Payment>,
        left: &mut Amount,
    ) {
        if self.owed.is_empty() {
            return;
        }
        let places: HashMap<String, usize> =
            chosen.iter().enumerate().map(|(place, payment)| (payment.account.clone(), place)).collect();
        for claim in &self.owed {
            if *left == Amount::ZERO {
                break;
            }
            let place = places.get(claim.account).and_then(|place| chosen.get_mut(*place));
            let more = match place {
                Some(payment) => {
                    let more = claim.owed.min(*left);
                    payment.amount += more;
                    more
                }
                None => match claim.payment(claim.both().min(*left), address_of, room) {
                    Some(payment) => {
                        let amount = payment.amount;
                        chosen.push(payment);
                        amount
                    }
                    None => continue,
                },
            };
            *left = left.checked_sub(more).unwrap_or(Amount::ZERO);
        }
    }
}

impl Claim<'_> {
    /// An output of its own, if that is not dust nor less than the credit, and fits.
    fn payment(
        &self,
        amount: Amount,
        address_of: &dyn Fn(&str) -> Option<Address>,
        room: &mut Room,
    ) -> Option<Payment> {
        if amount < self.credit || room.is_full() {
            return None;
        }
        let address = address_of(self.account)?;
        let script = address.script_pubkey();
        let fits = amount >= script.minimal_non_dust() && room.take(&script);
        fits.then(|| Payment { account: self.account.to_owned(), address, amount })
    }
}

/// What is left of a coinbase for payments.
struct Room {
    bytes: usize,
    sigops: usize,
    outputs: usize,
}

impl Room {
    /// `bytes` less the pool's own output.
    fn beside(pool: &Script, bytes: usize) -> Self {
        Self {
            bytes: bytes.saturating_sub(output_size(pool)),
            sigops: SIGOPS_COST.saturating_sub(sigops_cost(pool)),
            outputs: POOL_OUTPUTS,
        }
    }

    fn is_full(&self) -> bool {
        self.bytes < SMALLEST_OUTPUT
    }

    /// Takes the room of an output, if there is so much.
    fn take(&mut self, script: &Script) -> bool {
        // From 253 outputs on, their count takes two bytes more.
        let longer_count = if self.outputs == SHORT_COUNT { 2 } else { 0 };
        let bytes = self.bytes.checked_sub(output_size(script) + longer_count);
        let sigops = self.sigops.checked_sub(sigops_cost(script));
        let (Some(bytes), Some(sigops)) = (bytes, sigops) else { return false };
        *self = Self { bytes, sigops, outputs: self.outputs + 1 };
        true
    }
}

/// An address' script has up to 42 bytes, so its length takes one.
fn output_size(script: &Script) -> usize {
    8 + 1 + script.len()
}

fn sigops_cost(script: &Script) -> usize {
    script.count_sigops_legacy() * SIGOP_COST
}

fn sum(credits: &[Credit]) -> Amount {
    credits.iter().map(|credit| credit.amount).sum()
}

fn paid(payments: &[Payment]) -> Amount {
    payments.iter().map(|payment| payment.amount).sum()
}
