-- Version 1 of the ledger. Times are milliseconds since 1970 UTC, amounts satoshis, hashes as Bitcoin serialises them.

CREATE TABLE accounts (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE workers (
    id INTEGER PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES accounts,
    name TEXT NOT NULL,
    UNIQUE (account, name)
) STRICT;

-- Where an account is paid; the latest row counts.
CREATE TABLE addresses (
    id INTEGER PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES accounts,
    at_ms INTEGER NOT NULL,
    address TEXT NOT NULL
) STRICT;

-- A template that a share or a block used. Row 0 of a share's template means: the host never told.
CREATE TABLE templates (
    id INTEGER PRIMARY KEY,
    height INTEGER NOT NULL,
    previous BLOB NOT NULL,
    network_difficulty REAL NOT NULL,
    subsidy INTEGER NOT NULL,
    fees INTEGER NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;

-- The share log. seq has no gaps; at_ms never decreases. No foreign keys and no index: they would double the cost of a
-- row, and the writer puts the rows that a share names before it. hash is the first half of the 32 bytes, the half
-- that is not zeros.
CREATE TABLE shares (
    seq INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    worker INTEGER NOT NULL,
    template INTEGER NOT NULL,
    protocol INTEGER NOT NULL,
    difficulty REAL NOT NULL,
    hash BLOB NOT NULL
) STRICT;

-- Statistics up to the share `through`, so that a start need not read the whole log. Money never depends on them.
CREATE TABLE worker_totals (
    worker INTEGER PRIMARY KEY REFERENCES workers,
    protocol INTEGER NOT NULL,
    shares INTEGER NOT NULL,
    work BLOB NOT NULL,
    last_at_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE totals_through (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    through INTEGER NOT NULL
) STRICT;
INSERT INTO totals_through VALUES (0, 0);

-- A found block, as of the share `through`.
CREATE TABLE blocks (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    height INTEGER NOT NULL,
    template INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    worker INTEGER NOT NULL REFERENCES workers,
    difficulty REAL NOT NULL,
    network_difficulty REAL NOT NULL,
    subsidy INTEGER NOT NULL,
    fees INTEGER NOT NULL,
    through INTEGER NOT NULL,
    window TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('found', 'submitted', 'accepted', 'rejected')),
    reason TEXT NOT NULL DEFAULT ''
) STRICT;

-- What a block's coinbase pays. An empty account is the house.
CREATE TABLE block_payments (
    block INTEGER NOT NULL REFERENCES blocks,
    line INTEGER NOT NULL,
    account TEXT NOT NULL,
    address TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 0),
    PRIMARY KEY (block, line)
) STRICT, WITHOUT ROWID;

-- A settled round with all that is needed to settle it again: input and answer as JSON, the policy by content hash.
CREATE TABLE rounds (
    block INTEGER PRIMARY KEY REFERENCES blocks,
    at_ms INTEGER NOT NULL,
    policy_name TEXT NOT NULL,
    policy_version TEXT NOT NULL,
    policy_hash TEXT NOT NULL,
    settings TEXT NOT NULL,
    input TEXT NOT NULL,
    answer TEXT NOT NULL
) STRICT;

-- Double entry. A journal row is one transaction; it is sealed before it is committed, and only if it sums to zero.
CREATE TABLE journal (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    block INTEGER NOT NULL UNIQUE REFERENCES rounds,
    sealed INTEGER NOT NULL DEFAULT 0 CHECK (sealed IN (0, 1))
) STRICT;
CREATE TABLE entries (
    journal INTEGER NOT NULL REFERENCES journal,
    line INTEGER NOT NULL,
    book TEXT NOT NULL CHECK (book IN ('reward', 'account', 'house', 'coinbase')),
    account INTEGER REFERENCES accounts,
    cause TEXT NOT NULL CHECK (cause IN ('reward', 'credit', 'payment')),
    amount INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (journal, line),
    CHECK ((book = 'account') = (account IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE TRIGGER journal_balances BEFORE UPDATE OF sealed ON journal
WHEN NEW.sealed = 1 AND (SELECT coalesce(sum(amount), 0) FROM entries WHERE journal = NEW.id) <> 0
BEGIN SELECT raise(ABORT, 'the transaction does not sum to zero'); END;
CREATE TRIGGER journal_stays_sealed BEFORE UPDATE ON journal WHEN OLD.sealed = 1
BEGIN SELECT raise(ABORT, 'a sealed transaction is never changed'); END;
CREATE TRIGGER journal_stays BEFORE DELETE ON journal
BEGIN SELECT raise(ABORT, 'a transaction is never deleted'); END;
CREATE TRIGGER entries_join_no_sealed_journal BEFORE INSERT ON entries
WHEN (SELECT sealed FROM journal WHERE id = NEW.journal) = 1
BEGIN SELECT raise(ABORT, 'a sealed transaction is never changed'); END;
CREATE TRIGGER entries_stay_the_same BEFORE UPDATE ON entries
BEGIN SELECT raise(ABORT, 'an entry is never changed'); END;
CREATE TRIGGER entries_stay BEFORE DELETE ON entries
BEGIN SELECT raise(ABORT, 'an entry is never deleted'); END;
