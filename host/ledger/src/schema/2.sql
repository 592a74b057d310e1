-- Version 2: a block's life goes on after its round is settled. Its state follows the chain, and its transaction can be
-- reversed and booked again, any number of times. SQLite cannot change a CHECK, so three tables are written anew.

DROP TRIGGER journal_balances;
DROP TRIGGER journal_stays_sealed;
DROP TRIGGER journal_stays;
DROP TRIGGER entries_join_no_sealed_journal;
DROP TRIGGER entries_stay_the_same;
DROP TRIGGER entries_stay;

-- A found block, as of the share `through`. confirmations are those of the last look at the chain, 0 outside of it.
CREATE TABLE blocks_2 (
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
    state TEXT NOT NULL
        CHECK (state IN ('found', 'submitted', 'accepted', 'immature', 'mature', 'orphaned', 'rejected')),
    reason TEXT NOT NULL DEFAULT '',
    confirmations INTEGER NOT NULL DEFAULT 0,
    CHECK ((state IN ('immature', 'mature')) = (confirmations > 0))
) STRICT;
INSERT INTO blocks_2
    SELECT id, hash, height, template, at_ms, worker, difficulty, network_difficulty, subsidy, fees, through, window,
        state, reason, 0 FROM blocks;
DROP TABLE blocks;
ALTER TABLE blocks_2 RENAME TO blocks;

-- Double entry. A journal row is one transaction; it is sealed before it is committed, and only if it sums to zero.
-- A block's transactions are numbered from 1: odd ones book its round, even ones reverse the one before.
CREATE TABLE journal_2 (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    block INTEGER NOT NULL REFERENCES rounds,
    number INTEGER NOT NULL CHECK (number > 0),
    sealed INTEGER NOT NULL DEFAULT 0 CHECK (sealed IN (0, 1)),
    UNIQUE (block, number)
) STRICT;
INSERT INTO journal_2 SELECT id, at_ms, block, 1, sealed FROM journal;
DROP TABLE journal;
ALTER TABLE journal_2 RENAME TO journal;

CREATE TABLE entries_2 (
    journal INTEGER NOT NULL REFERENCES journal,
    line INTEGER NOT NULL,
    book TEXT NOT NULL CHECK (book IN ('reward', 'account', 'house', 'coinbase')),
    account INTEGER REFERENCES accounts,
    cause TEXT NOT NULL CHECK (cause IN ('reward', 'credit', 'payment', 'reversal')),
    amount INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (journal, line),
    CHECK ((book = 'account') = (account IS NOT NULL))
) STRICT, WITHOUT ROWID;
INSERT INTO entries_2 SELECT * FROM entries;
DROP TABLE entries;
ALTER TABLE entries_2 RENAME TO entries;

CREATE TRIGGER journal_balances BEFORE UPDATE OF sealed ON journal
WHEN NEW.sealed = 1 AND (SELECT coalesce(sum(amount), 0) FROM entries WHERE journal = NEW.id) <> 0
BEGIN SELECT raise(ABORT, 'the transaction does not sum to zero'); END;
-- Line by line: what one transaction of a block gave, the next takes.
CREATE TRIGGER journal_turns BEFORE UPDATE OF sealed ON journal
WHEN NEW.sealed = 1 AND NEW.number > 1 AND (
    NOT EXISTS (SELECT 1 FROM journal WHERE block = NEW.block AND number = NEW.number - 1 AND sealed = 1)
    OR (SELECT count(*) FROM entries WHERE journal = NEW.id) <> (
        SELECT count(*) FROM entries
        WHERE journal = (SELECT id FROM journal WHERE block = NEW.block AND number = NEW.number - 1))
    OR EXISTS (
        SELECT 1 FROM entries AS own LEFT JOIN entries AS earlier
            ON earlier.line = own.line
            AND earlier.journal = (SELECT id FROM journal WHERE block = NEW.block AND number = NEW.number - 1)
        WHERE own.journal = NEW.id
            AND (earlier.amount IS NOT -own.amount OR earlier.book <> own.book OR earlier.account IS NOT own.account)))
BEGIN SELECT raise(ABORT, 'the transaction does not undo the one before it'); END;
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
