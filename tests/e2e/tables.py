"""Reads both formats of an export with readers that are not the pool's: tables.py CSV_DIR PARQUET_DIR."""

import csv
import json
import pathlib
import sys

import pyarrow
import pyarrow.parquet

MILLIS = pyarrow.timestamp("ms", tz="UTC")
KINDS = (pyarrow.int64(), pyarrow.float64(), pyarrow.string(), MILLIS)


def rows_of_text(path):
    with open(path, newline="", encoding="utf-8") as file:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in file]
        return list(csv.DictReader(file))


def rows_of_parquet(path):
    table = pyarrow.parquet.read_table(path)
    columns = {}
    for field in table.schema:
        assert field.type in KINDS, f"{path}: {field}"
        assert (field.type == MILLIS) == field.name.endswith("_ms"), f"{path}: {field}"
        column = table[field.name]
        columns[field.name] = (column.cast(pyarrow.int64()) if field.type == MILLIS else column).to_pylist()
    return [dict(zip(columns, cells)) for cells in zip(*columns.values())]


def same(text, typed):
    if typed is None:
        return text in ("", None)
    if isinstance(typed, float):
        return float(text) == typed
    if isinstance(text, (dict, list)):
        return text == json.loads(typed)
    return str(text) == str(typed)


def compare(path, other):
    expected, found = rows_of_text(path), rows_of_parquet(other)
    assert len(expected) == len(found), f"{path}: {len(expected)} rows, {len(found)} in Parquet"
    for number, (left, right) in enumerate(zip(expected, found)):
        assert list(left) == list(right), f"{path}: columns {list(left)} and {list(right)}"
        for name, text in left.items():
            assert same(text, right[name]), f"{path}, row {number}, {name}: {text!r} and {right[name]!r}"
    return len(found)


def main():
    csv.field_size_limit(1 << 30)
    texts, typed = map(pathlib.Path, sys.argv[1:])
    files = sorted(texts.iterdir())
    assert len(files) == len(list(typed.iterdir())), "as many files"
    rows = {path.stem: compare(path, typed / f"{path.stem}.parquet") for path in files}
    entries = pyarrow.parquet.read_table(typed / "entries.parquet")
    assert sum(entries["amount_sat"].to_pylist()) == 0, "the books sum to zero"
    print(json.dumps(rows))


main()
