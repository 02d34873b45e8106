//! How results look: tables and lines for people, one JSON document for programs.
//!
//! Owns the forms of sizes, times and tables. Invariants: stdout is data only; JSON carries its version; times in JSON are
//! RFC 3339 in UTC; text from elsewhere cannot steer a terminal.
//!
//! Does not choose what is shown: commands do.

use std::io::{self, Write as _};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use jiff::Timestamp;
use serde::Serialize;

/// Version of every JSON document; fields are only added while it stays.
const JSON_VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a, T> {
    version: u32,
    #[serde(flatten)]
    data: &'a T,
}

/// Prints `data` as one JSON document with its version.
pub(crate) fn print_json<T: Serialize>(data: &T) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(&Document { version: JSON_VERSION, data })?;
    text.push('\n');
    print(&text)?;
    Ok(())
}

/// Writes data to stdout.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Makes a table of plain columns; those at the given positions are aligned to the right.
pub(crate) fn table(header: &[&str], right: &[usize], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    for (pos, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&pos) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Replaces control characters, so that text of a peer cannot steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char }).collect()
}

/// Writes a length for people: `1.5 MiB`.
pub(crate) fn size(len: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if len < 1024 {
        return format!("{len} B");
    }
    let mut scaled = len as f64;
    let mut unit = "";
    for next in UNITS {
        // 1023.96 would be printed as 1024.0.
        if scaled < 1023.95 {
            break;
        }
        (scaled, unit) = (scaled / 1024.0, next);
    }
    format!("{scaled:.1} {unit}")
}

/// Writes a count with separators: `14,084`.
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (pos, digit) in digits.chars().enumerate() {
        if pos > 0 && (digits.len() - pos).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes milliseconds since 1970 as RFC 3339 in UTC, to the millisecond.
pub(crate) fn time_ms(at_ms: u64) -> String {
    let stamp = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(|| format!("{at_ms} ms"), |stamp| stamp.to_string())
}

/// Writes seconds since 1970 as RFC 3339 in UTC.
pub(crate) fn time_s(at_s: i64) -> String {
    Timestamp::from_second(at_s).map_or_else(|_| format!("{at_s} s"), |stamp| stamp.to_string())
}

/// Writes milliseconds since 1970 to the second, as tables have it.
pub(crate) fn short_time_ms(at_ms: u64) -> String {
    time_s(i64::try_from(at_ms / 1000).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_counts_are_readable() {
        let sizes = [0, 1023, 1024, 1536, 1 << 20, (1 << 30) - 1, u64::MAX].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "1.0 GiB", "16.0 EiB"]);
        assert_eq!([0, 999, 1000, 14_084, 1_000_000].map(count), ["0", "999", "1,000", "14,084", "1,000,000"]);
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(time_ms(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(short_time_ms(1_700_000_000_123), "2023-11-14T22:13:20Z");
    }

    #[test]
    fn a_table_has_no_trailing_blanks_and_no_control_characters() {
        let text =
            table(&["NAME", "SIZE"], &[1], [vec!["a\x1b[31m".into(), "1".into()], vec!["bb".into(), "22".into()]]);
        assert!(text.lines().all(|line| line == line.trim_end()));
        assert!(!text.contains('\x1b'));
    }
}
