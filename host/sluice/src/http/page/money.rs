//! The pool's money on the status page.

use super::{Page, bitcoins, card, escaped, grouped, pill, signed_bitcoins};
use crate::http::money::{MoneyInfo, OwedInfo, PayoutInfo};

impl Page {
    pub(super) fn money(&self) -> String {
        let body = match &self.money {
            Ok(money) => figures(money),
            Err(error) => format!(r#"<p class="none">Not to be had now: {}</p>"#, escaped(&error.0)),
        };
        card("Money (BTC)", &body)
    }
}

fn figures(money: &MoneyInfo) -> String {
    let name = format!("Owed to {} accounts", grouped(money.creditors));
    let (accounts, house) = (owed(&name, &money.accounts), owed("House", &money.house));
    let payouts: Vec<String> = money.open_payouts.iter().map(payout).collect();
    let waiting = [
        ("Open payouts", if payouts.is_empty() { "none".to_owned() } else { payouts.join("<br>") }),
        ("Rounds that wait for the payout policy", grouped(money.held_rounds)),
        (
            "Shares that wait to be credited",
            money.unaccrued_shares.map_or("none: blocks are credited".to_owned(), grouped),
        ),
    ];
    let waiting: String = waiting
        .map(|(name, value)| format!(r#"<tr><th>{name}</th><td colspan="4">{value}</td></tr>"#))
        .concat();
    format!(
        r#"<div class="wide"><table><thead><tr><th></th><th>Balance</th><th>Mature</th><th>Immature</th><th>Due now</th>
</tr></thead><tbody>{accounts}{house}{waiting}</tbody></table></div>
<p class="note">The house is below zero by what the pool's address holds for accounts.</p>"#
    )
}

fn owed(name: &str, owed: &OwedInfo) -> String {
    let OwedInfo { balance_sat, mature_sat, immature_sat, due_sat } = owed;
    let [balance, mature, immature] =
        [balance_sat, mature_sat, immature_sat].map(|sat| signed_bitcoins(*sat));
    let due = bitcoins(*due_sat);
    format!("<tr><th>{name}</th><td>{balance}</td><td>{mature}</td><td>{immature}</td><td>{due}</td></tr>")
}

fn payout(payout: &PayoutInfo) -> String {
    let PayoutInfo { batch, lines, amount_sat, .. } = payout;
    let (state, amount) = (pill(&payout.state), bitcoins(*amount_sat));
    format!("batch {batch} {state} {amount} to {} accounts", grouped(*lines))
}
