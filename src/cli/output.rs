//! What commands print.

use anyhow::Result;
use serde::Serialize;
use std::io::Write;

/// Prints a line. A reader that has seen enough (`| head`) ends the command without a word.
pub(super) fn line(text: impl std::fmt::Display) {
    if writeln!(std::io::stdout(), "{text}").is_err() {
        std::process::exit(0);
    }
}

/// Prints one JSON document.
pub(super) fn json(value: &impl Serialize) -> Result<()> {
    line(serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Prints rows as aligned columns under their headers.
pub(super) fn table(headers: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headers[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..headers.len()).map(width).collect();
    let print = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        line(padded.collect::<Vec<_>>().join("  ").trim_end());
    };
    print(headers.to_vec());
    rows.iter().for_each(|row| print(row.iter().map(String::as_str).collect()));
}
