//! What each protocol carries, and where SV2 miners connect.

use super::{Page, card, escaped, grouped, rejections};
use crate::http::view::{PoolInfo, StratumV2Info, Tally};

impl Page {
    pub(super) fn protocols(&self) -> String {
        let PoolInfo { connections, channels, shares, stratum_v2, .. } = &self.pool;
        let tallies = &shares.by_protocol;
        let first = row("V1", connections.stratum_v1, "one each", &tallies.stratum_v1);
        let (second, ways) = match stratum_v2 {
            Some(info) => {
                let kinds = format!(
                    "{} standard, {} extended",
                    grouped(channels.standard),
                    grouped(channels.extended)
                );
                (row("V2", connections.stratum_v2, &kinds, &tallies.stratum_v2), ways_in(info))
            }
            None => (OFF.to_owned(), String::new()),
        };
        let body = format!(
            r#"<div class="wide"><table><thead><tr><th></th><th>Connections</th><th>Channels</th><th>Accepted</th>
<th>Rejected</th></tr></thead><tbody>{first}{second}</tbody></table></div>{ways}"#
        );
        card("Stratum", &body)
    }
}

const OFF: &str = "<tr><th>V2</th>\
    <td colspan=\"4\">off: <code>[stratum_v2] enabled = true</code> lets its miners in</td></tr>";

fn row(name: &str, connections: u64, channels: &str, tally: &Tally) -> String {
    let (connections, accepted) = (grouped(connections), grouped(tally.accepted));
    let (percent, reasons) = rejections(tally);
    let why = reasons.map_or(String::new(), |reasons| format!(" ({reasons})"));
    format!(
        "<tr><th>{name}</th><td>{connections}</td><td>{channels}</td><td>{accepted}</td><td>{percent}{why}</td></tr>"
    )
}

/// The URL for miners (N-40), and the key by itself for proxies that take it apart.
fn ways_in(info: &StratumV2Info) -> String {
    let url = copied("V2 URL", &info.url());
    let key = copied("Authority key", &info.authority_public_key);
    let hint = if info.port_of_any().is_some() {
        let host = StratumV2Info::ANY_HOST;
        format!(r#"<p class="note">{host} is the name or address by which miners reach this machine.</p>"#)
    } else {
        String::new()
    };
    format!("{url}{key}{hint}")
}

/// A text with a button that copies it.
fn copied(name: &str, text: &str) -> String {
    let text = escaped(text);
    format!(
        r#"<p class="copied"><span>{name}</span><code>{text}</code><button type="button">Copy</button></p>"#
    )
}
