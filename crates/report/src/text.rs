//! A sheet for the terminal.

use crate::comparison::Comparison;
use crate::sheet::Sheet;
use crate::table::{self, Table};

/// The tables for a terminal of `width` columns.
pub fn terminal(sheet: &Sheet<'_>, width: usize) -> String {
    let mut text = String::new();
    let mut captioned = |caption: &str, table: &Table| {
        wrap(&mut text, caption, ["", ""], width);
        text += &format!("\n{}\n", aligned(table, width));
    };
    if let Some(frontiers) = &sheet.frontiers {
        let (caption, table) = table::frontiers(frontiers);
        captioned(&caption, &table);
    }
    for grid in &sheet.grids {
        captioned(&table::grid_caption(grid, sheet.design.seeds.len()), &table::grid(grid, true));
    }
    if !sheet.base_rates.is_empty() {
        let rates = table::base_rates(&sheet.base_rates);
        let line = format!("base rates (ASR of the unpoisoned model under each trigger): {rates}");
        wrap(&mut text, &line, ["", "  "], width);
        text.push('\n');
    }
    for note in &sheet.notes {
        wrap(&mut text, note, ["", "  "], width);
    }
    if !sheet.notes.is_empty() {
        text.push('\n');
    }
    if let Some(line) = sheet.required_line() {
        wrap(&mut text, &line, ["", ""], width);
        text.push('\n');
    }
    let mut claim = "";
    for judgement in &sheet.judgements {
        if judgement.claim.claim != claim {
            claim = &judgement.claim.claim;
            wrap(&mut text, &format!("{claim} (source: {})", judgement.claim.source), ["", ""], width);
        }
        let line = format!("{:<14} {}", judgement.verdict.name(), table::said(judgement));
        wrap(&mut text, &line, ["  ", "                 "], width);
    }
    for row in &sheet.failures {
        wrap(&mut text, &format!("failed         {}: {}", row.cell(), row.message), ["", "  "], width);
    }
    text
}

/// The comparisons of defenses for a terminal of `width` columns.
pub fn compared_terminal(compared: &[Comparison], against: &str, width: usize) -> String {
    let (caption, table) = table::compared(compared, against);
    let mut text = String::new();
    wrap(&mut text, &caption, ["", ""], width);
    text.push('\n');
    text + &aligned(&table, width)
}

/// Columns side by side, or one block a row where the terminal is too narrow.
fn aligned(Table { header, rows, names }: &Table, width: usize) -> String {
    let length = |text: &str| text.chars().count();
    let lines = || std::iter::once(header).chain(rows);
    let widest = |column: usize| lines().map(|row| length(&row[column])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..header.len()).map(widest).collect();
    let mut text = String::new();
    if widths.iter().sum::<usize>() + 2 * (header.len() - 1) <= width {
        for row in lines() {
            let aligned = row.iter().enumerate().map(|(column, value)| {
                let padding = " ".repeat(widths[column] - length(value));
                if column < *names { format!("{value}{padding}") } else { format!("{padding}{value}") }
            });
            text += aligned.collect::<Vec<_>>().join("  ").trim_end();
            text.push('\n');
        }
        return text;
    }
    let label = header.iter().map(|name| length(name)).max().unwrap_or(0);
    for row in rows {
        text += &format!("{}\n", row[..*names].join(" "));
        for (name, value) in header.iter().zip(row).skip(*names) {
            text += &format!("  {name:<label$}  {value}\n");
        }
    }
    text
}

/// Adds a paragraph to `text`, broken at spaces to lines of `width` columns (at least 20); `first` stands before its
/// first line and `other` before the others.
pub fn wrap(text: &mut String, paragraph: &str, [first, other]: [&str; 2], width: usize) {
    let mut line = first.to_owned();
    for word in paragraph.split(' ') {
        let begun = !line.trim().is_empty();
        if begun && line.chars().count() + 1 + word.chars().count() > width.max(20) {
            text.push_str(line.trim_end());
            text.push('\n');
            line = other.to_owned();
        } else if begun {
            line.push(' ');
        }
        line.push_str(word);
    }
    text.push_str(line.trim_end());
    text.push('\n');
}
