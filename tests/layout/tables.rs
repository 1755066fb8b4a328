//! Documents as data: sections, tables, hexadecimal examples, and the fields that a byte table names.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A document, or a section of one.
pub(crate) struct Document {
    name: String,
    pub(crate) text: String,
}

/// What stands in a field: its type as the documents spell it, and its bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Field {
    kind: String,
    bytes: Vec<u8>,
    /// As the examples spell it.
    shown: String,
}

/// One row of a byte table.
#[derive(Debug)]
struct Row {
    offset: u64,
    kind: String,
    field: String,
}

impl Field {
    pub(crate) fn number(kind: &str, value: impl Into<i128>) -> Self {
        let value: i128 = value.into();
        let width = width(kind);
        let bytes = value.to_le_bytes().get(..width).unwrap().to_vec();
        Self { kind: kind.to_owned(), bytes, shown: value.to_string() }
    }

    pub(crate) fn bytes(bytes: &[u8]) -> Self {
        let kind = match bytes.len() {
            48 => "[u64; 6]".to_owned(),
            length => format!("[u8; {length}]"),
        };
        Self { kind, bytes: bytes.to_vec(), shown: String::new() }
    }

    /// A text padded with NUL.
    pub(crate) fn text(text: &str, width: usize) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(width, 0);
        Self { shown: text.to_owned(), ..Self::bytes(&bytes) }
    }
}

impl Document {
    pub(crate) fn open(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name: name.to_owned(), text }
    }

    /// What stands under a heading.
    pub(crate) fn section(&self, heading: &str) -> Self {
        let start = format!("## {heading}");
        let lines = self.text.lines().skip_while(|line| *line != start).skip(1);
        let text: Vec<&str> = lines.take_while(|line| !line.starts_with("## ")).collect();
        assert!(!text.is_empty(), "{} has no section {heading:?}", self.name);
        Self { name: format!("{}, {heading}", self.name), text: text.join("\n") }
    }

    /// The rows of the table with this first line, cells without their back-ticks.
    pub(crate) fn rows(&self, first: &str) -> Vec<Vec<String>> {
        let rows: Vec<Vec<String>> = self
            .text
            .lines()
            .skip_while(|line| *line != first)
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .map(|line| {
                line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
            })
            .collect();
        assert!(!rows.is_empty(), "{} has no table {first}", self.name);
        rows
    }

    /// Number and name of each row.
    pub(crate) fn pairs(&self, first: &str) -> Vec<(u64, String)> {
        self.rows(first).into_iter().map(|row| (row[0].parse().unwrap(), row[1].clone())).collect()
    }

    /// The bytes of the section's hexadecimal example.
    pub(crate) fn hex(&self) -> Vec<u8> {
        let lines = self.text.lines().skip_while(|line| *line != "```hex").skip(1).take_while(|line| *line != "```");
        let digits: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
        assert!(!digits.is_empty(), "{} has no example", self.name);
        digits.iter().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    /// Holds the section's table of values against what was decoded, every field but `silent` in it.
    pub(crate) fn tells(&self, fields: &BTreeMap<&'static str, Field>, silent: &[&str]) {
        let rows = self.rows("| field | value |");
        let found: BTreeMap<&str, &str> = rows.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
        let expected = fields.iter().filter(|(name, _)| !silent.contains(*name));
        let expected: BTreeMap<&str, &str> = expected.map(|(name, field)| (*name, field.shown.as_str())).collect();
        assert_eq!(found, expected, "{}", self.name);
    }

    /// The offsets of a section's byte table, by field.
    pub(crate) fn offsets(&self, heading: &str) -> BTreeMap<String, u64> {
        self.byte_table(heading).into_iter().map(|row| (row.field, row.offset)).collect()
    }

    /// Holds a section's byte table against bytes that the code has written: each row has the type of the field and
    /// finds its value where it says, no field is missing, rows do not overlap and, where `length` is not 0, leave
    /// nothing out.
    pub(crate) fn holds(&self, heading: &str, bytes: &[u8], fields: &BTreeMap<&'static str, Field>, length: usize) {
        let rows = self.byte_table(heading);
        let mut end = 0;
        for row in &rows {
            let place = format!("{}, {heading}: {row:?}", self.name);
            let field = fields.get(row.field.as_str()).unwrap_or_else(|| panic!("{place}: the code has no such field"));
            assert_eq!(row.kind, field.kind, "{place}");
            let at = usize::try_from(row.offset).unwrap();
            assert!(at >= end && (length == 0 || at == end), "{place}: the row before ends at {end}");
            end = at + field.bytes.len();
            assert_eq!(bytes.get(at..end), Some(field.bytes.as_slice()), "{place}");
        }
        assert_eq!(rows.len(), fields.len(), "{}, {heading}: {rows:?}", self.name);
        assert!(length == 0 || end == length, "{}, {heading} ends at {end} of {length}", self.name);
    }

    fn byte_table(&self, heading: &str) -> Vec<Row> {
        let rows = self.section(heading).rows("| offset | type | field | meaning | unit, range |");
        let row = |cells: Vec<String>| Row {
            offset: cells[0].parse().unwrap(),
            kind: cells[1].replace("atomic ", ""),
            field: cells[2].clone(),
        };
        rows.into_iter().map(row).collect()
    }
}

/// Bytes of a number's type.
fn width(kind: &str) -> usize {
    match kind {
        "u8" => 1,
        "u32" => 4,
        "u64" | "i64" => 8,
        other => panic!("type {other:?} is none of the documents'"),
    }
}
