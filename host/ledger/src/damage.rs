//! What is damaged in a file: the tables and pages behind the lines of SQLite's checks.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use rusqlite::{Connection, Row};
use serde::Serialize;

use crate::file;

/// Lines that are kept of what SQLite says.
const LINES_LIMIT: usize = 200;
/// Pages, and lines, that a message for people has.
const TOLD: usize = 8;
/// The number of the page that begins with the header and holds the schema.
const FIRST_PAGE: u32 = 1;

/// How much SQLite is to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Pages and rows.
    Quick,
    /// Each index against its table as well.
    Full,
}

impl Depth {
    const fn pragma(self) -> &'static str {
        match self {
            Self::Quick => "quick_check",
            Self::Full => "integrity_check",
        }
    }
}

/// A part of the file that is damaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DamagedPart {
    /// As in "table shares" or "index one_prepared_payout of table payouts".
    pub what: String,
    /// The table it belongs to, where it belongs to one.
    pub table: Option<String>,
    /// Whether it is an index, which can be made again from its table.
    pub index: bool,
    /// Numbers of pages, from 1; empty where the check names none.
    pub pages: Vec<u32>,
}

impl fmt::Display for DamagedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        let word = match self.pages.len() {
            0 => return Ok(()),
            1 => "page",
            _ => "pages",
        };
        let pages: Vec<String> = self.pages.iter().take(TOLD).map(u32::to_string).collect();
        let more = if self.pages.len() > TOLD { ", ..." } else { "" };
        write!(f, " ({word} {}{more})", pages.join(", "))
    }
}

/// What is wrong with a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Damage {
    pub parts: Vec<DamagedPart>,
    /// In SQLite's words.
    pub said: Vec<String>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.parts.iter().map(DamagedPart::to_string).collect();
        if !parts.is_empty() {
            write!(f, "{}: ", parts.join(", "))?;
        }
        let said: Vec<&str> = self.said.iter().take(TOLD).map(String::as_str).collect();
        f.write_str(&said.join("; "))?;
        if self.said.len() > TOLD { write!(f, "; and {} more", self.said.len() - TOLD) } else { Ok(()) }
    }
}

impl Damage {
    /// Has SQLite check the file, or one table with its indexes.
    ///
    /// # Errors
    /// Those that are no damage.
    pub(crate) fn look(connection: &Connection, depth: Depth, table: Option<&str>) -> rusqlite::Result<Self> {
        let argument = table.map_or(LINES_LIMIT.to_string(), |name| format!("'{name}'"));
        let said = match lines(connection, &format!("PRAGMA {}({argument})", depth.pragma())) {
            Err(error) if file::is_damage(&error) => vec![error.to_string()],
            said => said?,
        };
        Ok(Self::of(&Objects::read(connection), said))
    }

    fn of(objects: &Objects, said: Vec<String>) -> Self {
        let mut damage = Self::default();
        for line in said {
            if let Some((object, page)) = objects.hit_by(&line) {
                damage.add(object, page);
            }
            damage.said.push(line);
        }
        damage
    }

    pub(crate) fn is_none(&self) -> bool {
        self.said.is_empty()
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.parts.extend(other.parts);
        self.said.extend(other.said);
    }

    fn add(&mut self, object: Object, page: Option<u32>) {
        let index = self.parts.iter().position(|part| part.what == object.what).unwrap_or_else(|| {
            let Object { what, table, index } = object;
            self.parts.push(DamagedPart { what, table, index, pages: Vec::new() });
            self.parts.len() - 1
        });
        let pages = &mut self.parts[index].pages;
        pages.extend(page.filter(|page| !pages.contains(page)));
    }
}

/// The rows of a check, line by line, without its "ok" and its headings. What was said before it failed counts.
fn lines(connection: &Connection, text: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(text)?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    let mut lines = Vec::new();
    for row in rows {
        let row = match row {
            Ok(row) => row,
            Err(error) if file::is_damage(&error) => {
                lines.push(error.to_string());
                break;
            }
            Err(error) => return Err(error),
        };
        let told = row.lines().filter(|line| *line != "ok" && !line.starts_with("***"));
        lines.extend(told.map(str::to_owned));
    }
    lines.truncate(LINES_LIMIT);
    Ok(lines)
}

#[derive(Clone, Debug)]
struct Object {
    what: String,
    table: Option<String>,
    index: bool,
}

/// Tables and indexes by the page at which they begin.
#[derive(Debug, Default)]
struct Objects(BTreeMap<u32, (String, Object)>);

impl Objects {
    /// As far as the schema can be read.
    fn read(connection: &Connection) -> Self {
        let text = "SELECT rootpage, type, name, tbl_name FROM sqlite_schema WHERE rootpage > 0";
        let read = |row: &Row<'_>| {
            let (kind, name, table): (String, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
            let index = kind == "index";
            let what = if index { format!("index {name} of table {table}") } else { format!("table {name}") };
            Ok((row.get::<_, u32>(0)?, (name, Object { what, table: Some(table), index })))
        };
        let rows = connection.prepare(text).and_then(|mut statement| {
            let rows = statement.query_map([], read)?;
            Ok(rows.map_while(Result::ok).collect())
        });
        Self(rows.unwrap_or_default())
    }

    /// The object that a line is about, and the page. The lines are SQLite's, and not made to be read by programs: what
    /// is not understood belongs to nothing.
    fn hit_by(&self, line: &str) -> Option<(Object, Option<u32>)> {
        let words: Vec<&str> = line.split([' ', ':', ',']).filter(|word| !word.is_empty()).collect();
        let after = |word: &str| {
            let at = words.iter().position(|found| *found == word)?;
            words.get(at + 1).copied()
        };
        if let Some(root) = after("Tree").and_then(|word| word.parse().ok()) {
            let page = after("page").and_then(|word| word.parse().ok());
            return Some((self.at(root), page));
        }
        if line.starts_with("Freelist") {
            let object = Object { what: "list of free pages".into(), table: None, index: false };
            return Some((object, None));
        }
        let named = after("index").or_else(|| after("in").and_then(|word| word.split('.').next()))?;
        let (_, object) = self.0.values().find(|(name, _)| name == named)?;
        Some((object.clone(), None))
    }

    fn at(&self, root: u32) -> Object {
        let unknown = || Object {
            what: if root == FIRST_PAGE { "schema".into() } else { format!("tree {root}") },
            table: None,
            index: false,
        };
        self.0.get(&root).map_or_else(unknown, |(_, object)| object.clone())
    }
}

/// What is wrong with the first bytes of a file that SQLite does not open, or with its length.
pub(crate) fn of_header(path: &Path) -> Option<String> {
    const MAGIC: &[u8; 16] = b"SQLite format 3\0";
    let mut header = [0; 32];
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    if file.read_exact(&mut header).is_err() || !header.starts_with(MAGIC) {
        return Some("the file's header (page 1) is not a database's".to_owned());
    }
    let [.., a, b, c, d] = header;
    let page_size = match u64::from(u16::from_be_bytes([header[16], header[17]])) {
        1 => 65_536,
        size => size,
    };
    let expected = u64::from(u32::from_be_bytes([a, b, c, d])) * page_size;
    (length < expected).then(|| {
        let pages = length / page_size.max(1);
        format!("the file was cut: it ends after page {pages} of {}", u32::from_be_bytes([a, b, c, d]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects() -> Objects {
        let connection = Connection::open_in_memory().expect("a database");
        connection
            .execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT); CREATE INDEX i ON t (b)")
            .expect("a table");
        Objects::read(&connection)
    }

    fn found(line: &str) -> Option<(String, Vec<u32>)> {
        let damage = Damage::of(&objects(), vec![line.to_owned()]);
        damage.parts.first().map(|part| (part.what.clone(), part.pages.clone()))
    }

    #[test]
    fn lines_are_told_by_table_index_and_page() {
        let table = "table t".to_owned();
        let index = "index i of table t".to_owned();
        assert_eq!(found("Tree 2 page 7 cell 3: Rowid 5 out of order"), Some((table.clone(), vec![7])));
        assert_eq!(
            found("Tree 2 page 9: btreeInitPage() returns error code 11"),
            Some((table.clone(), vec![9]))
        );
        assert_eq!(
            found("Tree 3 page 3 right child: 2nd reference to page 4"),
            Some((index.clone(), vec![3]))
        );
        assert_eq!(found("row 12 missing from index i"), Some((index, vec![])));
        assert_eq!(found("NULL value in t.b"), Some((table, vec![])));
        assert_eq!(found("Tree 1 page 1: free space corruption"), Some(("schema".into(), vec![1])));
        assert_eq!(found("Freelist: size is 5 but should be 4"), Some(("list of free pages".into(), vec![])));
        assert_eq!(found("something new"), None);
    }

    #[test]
    fn what_is_not_understood_is_told_as_it_is() {
        let damage = Damage::of(&objects(), vec!["something new".into()]);
        assert_eq!(damage.to_string(), "something new");
    }
}
