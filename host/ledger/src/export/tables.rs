//! The files of an export: their names, their columns, and where the rows come from. Outsiders' tools depend on them: new
//! columns go to the end.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::Cell;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    /// Milliseconds since 1970 UTC.
    Millis,
    Real,
    Text,
    Json,
    Bytes,
    Hash,
    /// 16 bytes, the highest first.
    Big,
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

impl Column {
    pub(super) fn is_json(&self) -> bool {
        self.kind == Kind::Json
    }

    pub(super) fn cell<'a>(&self, row: &'a Row<'_>, index: usize) -> rusqlite::Result<Cell<'a>> {
        let value = row.get_ref(index)?;
        let other = || rusqlite::Error::InvalidColumnType(index, self.name.to_owned(), value.data_type());
        Ok(match (self.kind, value) {
            (_, ValueRef::Null) => Cell::Nothing,
            (Kind::Integer | Kind::Millis, ValueRef::Integer(value)) => Cell::Integer(value),
            (Kind::Real, ValueRef::Real(value)) => Cell::Real(value),
            (Kind::Text, ValueRef::Text(text)) => Cell::Text(std::str::from_utf8(text)?),
            (Kind::Json, ValueRef::Text(text)) => Cell::Json(std::str::from_utf8(text)?),
            (Kind::Bytes, ValueRef::Blob(bytes)) => Cell::Bytes(bytes),
            (Kind::Hash, ValueRef::Blob(bytes)) => Cell::Hash(bytes),
            (Kind::Big, ValueRef::Blob(bytes)) => {
                Cell::Big(u128::from_be_bytes(bytes.try_into().map_err(|_| other())?))
            }
            _ => return Err(other()),
        })
    }
}

/// A file and where its rows come from: the query gives the columns in their order.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [Column],
    pub(super) query: &'static str,
}

const fn integer(name: &'static str) -> Column {
    Column { name, kind: Kind::Integer }
}

const fn millis(name: &'static str) -> Column {
    Column { name, kind: Kind::Millis }
}

const fn real(name: &'static str) -> Column {
    Column { name, kind: Kind::Real }
}

const fn text(name: &'static str) -> Column {
    Column { name, kind: Kind::Text }
}

const fn json(name: &'static str) -> Column {
    Column { name, kind: Kind::Json }
}

const fn bytes(name: &'static str) -> Column {
    Column { name, kind: Kind::Bytes }
}

const fn hash(name: &'static str) -> Column {
    Column { name, kind: Kind::Hash }
}

const fn big(name: &'static str) -> Column {
    Column { name, kind: Kind::Big }
}

/// The share log first: it takes the longest.
pub(super) const TABLES: &[Table] = &[
    Table {
        name: "shares",
        columns: &[
            integer("seq"),
            millis("at_ms"),
            text("account"),
            text("worker"),
            integer("template"),
            text("protocol"),
            real("difficulty"),
            bytes("hash"),
        ],
        query: "SELECT s.seq, s.at_ms, a.name, w.name, s.template, \
                CASE s.protocol WHEN 1 THEN 'stratum_v2' ELSE 'stratum_v1' END, s.difficulty, s.hash \
                FROM shares s LEFT JOIN workers w ON w.id = s.worker LEFT JOIN accounts a ON a.id = w.account \
                ORDER BY s.seq",
    },
    Table {
        name: "share_hours",
        columns: &[
            integer("hour"),
            text("account"),
            text("worker"),
            text("protocol"),
            integer("shares"),
            big("work"),
        ],
        query: "SELECT h.hour, a.name, w.name, CASE h.protocol WHEN 1 THEN 'stratum_v2' ELSE 'stratum_v1' END, h.shares, \
                h.work FROM share_hours h LEFT JOIN workers w ON w.id = h.worker \
                LEFT JOIN accounts a ON a.id = w.account ORDER BY h.hour, h.worker, h.protocol",
    },
    Table {
        name: "templates",
        columns: &[
            integer("template"),
            integer("height"),
            hash("previous_block"),
            real("network_difficulty"),
            integer("subsidy_sat"),
            integer("fees_sat"),
            millis("at_ms"),
        ],
        query: "SELECT id, height, previous, network_difficulty, subsidy, fees, at_ms FROM templates ORDER BY id",
    },
    Table {
        name: "blocks",
        columns: &[
            hash("block"),
            integer("height"),
            millis("at_ms"),
            text("account"),
            text("worker"),
            integer("template"),
            real("difficulty"),
            real("network_difficulty"),
            integer("subsidy_sat"),
            integer("fees_sat"),
            integer("through"),
            text("window"),
            text("state"),
            text("reason"),
            integer("confirmations"),
        ],
        query: "SELECT b.hash, b.height, b.at_ms, a.name, w.name, b.template, b.difficulty, b.network_difficulty, \
                b.subsidy, b.fees, b.through, b.window, b.state, b.reason, b.confirmations \
                FROM blocks b LEFT JOIN workers w ON w.id = b.worker LEFT JOIN accounts a ON a.id = w.account ORDER BY b.id",
    },
    Table {
        name: "payments",
        columns: &[hash("block"), integer("line"), text("account"), text("address"), integer("amount_sat")],
        query: "SELECT b.hash, p.line, p.account, p.address, p.amount \
                FROM block_payments p JOIN blocks b ON b.id = p.block ORDER BY p.block, p.line",
    },
    Table {
        name: "rounds",
        columns: &[
            hash("block"),
            integer("height"),
            millis("at_ms"),
            text("policy_name"),
            text("policy_version"),
            text("policy_hash"),
            json("settings"),
            json("input"),
            json("answer"),
        ],
        query: "SELECT b.hash, b.height, r.at_ms, r.policy_name, r.policy_version, r.policy_hash, r.settings, r.input, \
                r.answer FROM rounds r JOIN blocks b ON b.id = r.block ORDER BY r.block",
    },
    Table {
        name: "accruals",
        columns: &[
            integer("accrual"),
            integer("first"),
            integer("through"),
            millis("at_ms"),
            text("policy_name"),
            text("policy_version"),
            text("policy_hash"),
            json("settings"),
            json("input"),
            json("answer"),
        ],
        query: "SELECT id, first, through, at_ms, policy_name, policy_version, policy_hash, settings, input, answer \
                FROM accruals ORDER BY id",
    },
    Table {
        name: "carries",
        columns: &[text("account"), integer("microsats")],
        query: "SELECT a.name, c.microsats FROM carries c LEFT JOIN accounts a ON a.id = c.account ORDER BY a.name",
    },
    Table {
        name: "payouts",
        columns: &[
            integer("payout"),
            millis("at_ms"),
            text("state"),
            hash("txid"),
            integer("height"),
            integer("fee_sat"),
            hash("conflict"),
        ],
        query: "SELECT id, at_ms, state, txid, height, fee, conflict FROM payouts ORDER BY id",
    },
    Table {
        name: "payout_lines",
        columns: &[
            integer("payout"),
            integer("line"),
            text("account"),
            text("address"),
            integer("amount_sat"),
        ],
        query: "SELECT l.payout, l.line, a.name, l.address, l.amount \
                FROM payout_lines l LEFT JOIN accounts a ON a.id = l.account ORDER BY l.payout, l.line",
    },
    Table {
        name: "payout_inputs",
        columns: &[integer("payout"), integer("line"), hash("txid"), integer("vout"), integer("amount_sat")],
        query: "SELECT payout, line, txid, vout, amount FROM payout_inputs ORDER BY payout, line",
    },
    Table {
        name: "terms",
        columns: &[text("account"), millis("at_ms"), integer("minimum_sat"), integer("held"), text("reason")],
        query: "SELECT a.name, t.at_ms, t.minimum, t.held, t.reason \
                FROM terms t LEFT JOIN accounts a ON a.id = t.account ORDER BY t.id",
    },
    Table {
        name: "entries",
        columns: &[
            integer("journal"),
            integer("line"),
            millis("at_ms"),
            hash("block"),
            text("book"),
            text("account"),
            text("cause"),
            integer("amount_sat"),
            text("reason"),
            integer("accrual"),
            integer("payout"),
        ],
        query: "SELECT e.journal, e.line, j.at_ms, b.hash, e.book, a.name, e.cause, e.amount, e.reason, j.accrual, \
                coalesce(j.payout, j.fee) FROM entries e JOIN journal j ON j.id = e.journal \
                LEFT JOIN blocks b ON b.id = j.block LEFT JOIN accounts a ON a.id = e.account \
                ORDER BY e.journal, e.line",
    },
    Table {
        name: "accounts",
        columns: &[text("account"), text("address"), integer("balance_sat")],
        query: "SELECT a.name, (SELECT address FROM addresses WHERE account = a.id ORDER BY id DESC LIMIT 1), \
                coalesce((SELECT sum(amount) FROM entries WHERE book = 'account' AND account = a.id), 0) \
                FROM accounts a ORDER BY a.name",
    },
];
