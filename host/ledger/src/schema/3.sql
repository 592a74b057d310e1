-- Version 3: credits without a block, payouts, accounts' terms, and old shares folded into hours. The journal's
-- transactions belong to a block, an accrual or a payout; SQLite cannot change a NOT NULL, so it is written anew.

DROP TRIGGER journal_balances;
DROP TRIGGER journal_turns;
DROP TRIGGER journal_stays_sealed;
DROP TRIGGER journal_stays;
DROP TRIGGER entries_join_no_sealed_journal;
DROP TRIGGER entries_stay_the_same;
DROP TRIGGER entries_stay;

-- Work of the shares first..through, credited at once: input (tallies) and answer as JSON, the policy by content hash.
CREATE TABLE accruals (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    first INTEGER NOT NULL,
    through INTEGER NOT NULL UNIQUE,
    policy_name TEXT NOT NULL,
    policy_version TEXT NOT NULL,
    policy_hash TEXT NOT NULL,
    settings TEXT NOT NULL,
    input TEXT NOT NULL,
    answer TEXT NOT NULL,
    CHECK (first > 0 AND first <= through)
) STRICT;

-- The share after which work waits to be accrued; NULL while the plan does not accrue.
CREATE TABLE accrual_state (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    after INTEGER
) STRICT;
INSERT INTO accrual_state VALUES (0, NULL);

-- Millionths of a satoshi that accruals owe an account beyond its entries.
CREATE TABLE carries (
    account INTEGER PRIMARY KEY REFERENCES accounts,
    microsats INTEGER NOT NULL CHECK (microsats BETWEEN 0 AND 999999)
) STRICT;

-- A batch of payments outside of coinbases. What it pays is taken from the accounts when it is prepared and given back
-- when it is cancelled. txid is of the transaction that pays it; height and fee are known once it is confirmed. conflict
-- is a transaction in the chain that spends a coin of it, so that it can never be paid.
CREATE TABLE payouts (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('prepared', 'sent', 'confirmed', 'cancelled')),
    txid BLOB,
    height INTEGER,
    fee INTEGER CHECK (fee >= 0),
    conflict BLOB,
    CHECK (conflict IS NULL OR state = 'cancelled'),
    CHECK ((state IN ('sent', 'confirmed')) = (txid IS NOT NULL)),
    CHECK ((state = 'confirmed') = (height IS NOT NULL)),
    CHECK ((state = 'confirmed') = (fee IS NOT NULL))
) STRICT;
-- One batch at a time waits for its transaction, so that whoever asks twice gets the same.
CREATE UNIQUE INDEX one_prepared_payout ON payouts (state) WHERE state = 'prepared';

CREATE TABLE payout_lines (
    payout INTEGER NOT NULL REFERENCES payouts,
    line INTEGER NOT NULL,
    account INTEGER NOT NULL REFERENCES accounts,
    address TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0),
    PRIMARY KEY (payout, line),
    UNIQUE (account, payout)
) STRICT, WITHOUT ROWID;

-- Coins that a draft of a batch's transaction spends. A later draft spends all of them too, so that at most one of the
-- drafts can ever be in the chain.
CREATE TABLE payout_inputs (
    payout INTEGER NOT NULL REFERENCES payouts,
    line INTEGER NOT NULL,
    txid BLOB NOT NULL,
    vout INTEGER NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0),
    PRIMARY KEY (payout, line),
    UNIQUE (payout, txid, vout)
) STRICT, WITHOUT ROWID;

-- What an operator says of an account; the latest row counts. minimum NULL: the pool's.
CREATE TABLE terms (
    id INTEGER PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES accounts,
    at_ms INTEGER NOT NULL,
    minimum INTEGER CHECK (minimum > 0),
    held INTEGER NOT NULL CHECK (held IN (0, 1)),
    reason TEXT NOT NULL
) STRICT;
CREATE INDEX terms_of_account ON terms (account, id);

-- Shares up to `folded.through` by the hour: what is left of them when the log was cut.
CREATE TABLE share_hours (
    hour INTEGER NOT NULL,
    worker INTEGER NOT NULL REFERENCES workers,
    protocol INTEGER NOT NULL,
    shares INTEGER NOT NULL,
    work BLOB NOT NULL,
    PRIMARY KEY (hour, worker, protocol)
) STRICT, WITHOUT ROWID;
CREATE TABLE folded (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    through INTEGER NOT NULL
) STRICT;
INSERT INTO folded VALUES (0, 0);

-- Double entry. A journal row is one transaction; it is sealed before it is committed, and only if it sums to zero. It
-- belongs to a block's round, an accrual, a payout, or the network fee of one. Those of one owner are numbered from 1:
-- odd ones book, even ones reverse the one before.
CREATE TABLE journal_3 (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    block INTEGER REFERENCES rounds,
    accrual INTEGER REFERENCES accruals,
    payout INTEGER REFERENCES payouts,
    fee INTEGER REFERENCES payouts,
    number INTEGER NOT NULL CHECK (number > 0),
    sealed INTEGER NOT NULL DEFAULT 0 CHECK (sealed IN (0, 1)),
    UNIQUE (block, number),
    UNIQUE (accrual, number),
    UNIQUE (payout, number),
    UNIQUE (fee, number),
    CHECK ((block IS NOT NULL) + (accrual IS NOT NULL) + (payout IS NOT NULL) + (fee IS NOT NULL) = 1)
) STRICT;
INSERT INTO journal_3 SELECT id, at_ms, block, NULL, NULL, NULL, number, sealed FROM journal;
DROP TABLE journal;
ALTER TABLE journal_3 RENAME TO journal;

CREATE TABLE entries_3 (
    journal INTEGER NOT NULL REFERENCES journal,
    line INTEGER NOT NULL,
    book TEXT NOT NULL CHECK (book IN ('reward', 'account', 'house', 'coinbase', 'payout')),
    account INTEGER REFERENCES accounts,
    cause TEXT NOT NULL CHECK (cause IN ('reward', 'credit', 'payment', 'reversal', 'accrual', 'payout', 'fee')),
    amount INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (journal, line),
    CHECK ((book = 'account') = (account IS NOT NULL))
) STRICT, WITHOUT ROWID;
INSERT INTO entries_3 SELECT * FROM entries;
DROP TABLE entries;
ALTER TABLE entries_3 RENAME TO entries;
-- Covering, so that one account's entries are read without the others'.
CREATE INDEX entries_of_account ON entries (account, journal, line, amount) WHERE account IS NOT NULL;
CREATE INDEX entries_of_house ON entries (journal, line, amount) WHERE book = 'house';

-- The sum of an account's entries, of the house's under -1. Derived: entries are only ever added.
CREATE TABLE sums (
    account INTEGER PRIMARY KEY,
    amount INTEGER NOT NULL
) STRICT;
INSERT INTO sums
    SELECT coalesce(account, -1), sum(amount) FROM entries WHERE book IN ('account', 'house') GROUP BY account;
CREATE TRIGGER entries_are_summed AFTER INSERT ON entries WHEN NEW.book IN ('account', 'house')
BEGIN
    INSERT INTO sums VALUES (coalesce(NEW.account, -1), NEW.amount)
        ON CONFLICT (account) DO UPDATE SET amount = amount + NEW.amount;
END;

CREATE TRIGGER journal_balances BEFORE UPDATE OF sealed ON journal
WHEN NEW.sealed = 1 AND (SELECT coalesce(sum(amount), 0) FROM entries WHERE journal = NEW.id) <> 0
BEGIN SELECT raise(ABORT, 'the transaction does not sum to zero'); END;
-- Line by line: what one transaction of an owner gave, the next takes.
CREATE TRIGGER journal_turns BEFORE UPDATE OF sealed ON journal
WHEN NEW.sealed = 1 AND NEW.number > 1 AND (
    NOT EXISTS (
        SELECT 1 FROM journal AS j WHERE j.block IS NEW.block AND j.accrual IS NEW.accrual AND j.payout IS NEW.payout
            AND j.fee IS NEW.fee AND j.number = NEW.number - 1 AND j.sealed = 1)
    OR (SELECT count(*) FROM entries WHERE journal = NEW.id) <> (
        SELECT count(*) FROM entries WHERE journal = (
            SELECT j.id FROM journal AS j WHERE j.block IS NEW.block AND j.accrual IS NEW.accrual
                AND j.payout IS NEW.payout AND j.fee IS NEW.fee AND j.number = NEW.number - 1))
    OR EXISTS (
        SELECT 1 FROM entries AS own LEFT JOIN entries AS earlier
            ON earlier.line = own.line AND earlier.journal = (
                SELECT j.id FROM journal AS j WHERE j.block IS NEW.block AND j.accrual IS NEW.accrual
                    AND j.payout IS NEW.payout AND j.fee IS NEW.fee AND j.number = NEW.number - 1)
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
