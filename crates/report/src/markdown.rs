//! A sheet as Markdown.

use std::fmt::Write;

use record::metric::short;

use crate::comparison::Comparison;
use crate::sheet::{Grid, Sheet};
use crate::table::{self, DIFFERENCE, Table, cell_name, found, interval};
use crate::verdict::{Judgement, Verdict};

/// The tables as Markdown.
pub fn markdown(sheet: &Sheet<'_>) -> String {
    let mut text = String::new();
    if let Some(frontiers) = &sheet.frontiers {
        let (caption, table) = table::frontiers(frontiers);
        let _ = writeln!(text, "**{}**\n\n{}", escaped(&caption), rendered(&table));
    }
    for grid in &sheet.grids {
        let _ = writeln!(text, "{}", grid_markdown(sheet, grid));
    }
    if !sheet.base_rates.is_empty() {
        let rates = escaped(&table::base_rates(&sheet.base_rates));
        let _ = writeln!(
            text,
            "Base rates (ASR of the unpoisoned model under each trigger), in percent: {rates}.\n"
        );
    }
    for note in &sheet.notes {
        let _ = writeln!(text, "{}.\n", escaped(note));
    }
    if !sheet.judgements.is_empty() {
        // One seed has no interval.
        let with = sheet.judgements.iter().any(|judgement| judgement.interval.is_some());
        let [title, rule] = if with { [" 90 % interval |", "---:|"] } else { [""; 2] };
        let _ = writeln!(
            text,
            "| claim | cell | metric | found |{title} band | verdict |\n|---|---|---|---:|{rule}---:|---|"
        );
        for judgement in &sheet.judgements {
            let _ = writeln!(text, "{}", judged(judgement, with));
        }
    }
    if let Some(line) = sheet.required_line() {
        let _ = writeln!(text, "\n{line}.");
    }
    for row in &sheet.failures {
        let _ = writeln!(text, "\n`{}` failed: {}", row.cell(), escaped(&row.message));
    }
    text
}

/// One grid of a sheet as Markdown.
pub fn grid_markdown(sheet: &Sheet<'_>, grid: &Grid) -> String {
    let caption = table::grid_caption(grid, sheet.design.seeds.len());
    format!("**{}**\n\n{}", escaped(&caption), rendered(&table::grid(grid, false)))
}

/// The comparisons of defenses as Markdown; supported differences are bold.
pub fn compared_markdown(compared: &[Comparison], against: &str) -> String {
    let (caption, mut table) = table::compared(compared, against);
    for row in &mut table.rows {
        row.iter_mut().for_each(|cell| *cell = escaped(cell));
    }
    for (row, comparison) in table.rows.iter_mut().zip(compared) {
        if comparison.supported() {
            row[DIFFERENCE] = format!("**{}**", row[DIFFERENCE]);
        }
    }
    format!("**{}**\n\n{}", escaped(&caption), laid_out(&table))
}

/// Text that Markdown shows as it is, also inside a table.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '|' | '*' | '_' | '`' | '<' | '~' | '$' | '\\' => escaped.extend(['\\', letter]),
            // A label in brackets becomes a link only with what follows.
            '(' if escaped.ends_with(']') => escaped.push_str("\\("),
            '&' => escaped.push_str("&amp;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn rendered(table: &Table) -> String {
    let escape = |row: &Vec<String>| row.iter().map(|cell| escaped(cell)).collect::<Vec<_>>();
    let (header, rows) = (escape(&table.header), table.rows.iter().map(escape).collect());
    laid_out(&Table { header, rows, names: table.names })
}

fn laid_out(Table { header, rows, names }: &Table) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule = format!("|{}{}\n", "---|".repeat(*names), "---:|".repeat(header.len() - names));
    [line(header), rule].into_iter().chain(rows.iter().map(|row| line(row))).collect()
}

fn judged(judgement: &Judgement<'_>, with_interval: bool) -> String {
    let Judgement { claim, band, verdict, .. } = judgement;
    let name = verdict.name();
    let verdict = if *verdict == Verdict::Reproduced { name.to_owned() } else { format!("**{name}**") };
    let (claim, cell) = (escaped(&claim.claim), escaped(&cell_name(judgement)));
    let (metric, found) = (short(judgement.metric), found(judgement));
    let interval = interval(judgement).unwrap_or_else(|| "–".to_owned());
    let between = if with_interval { format!(" {interval} |") } else { String::new() };
    let [lowest, highest] = band.map(|edge| edge * 100.0);
    format!("| {claim} | {cell} | {metric} | {found} |{between} {lowest:.0} to {highest:.0} | {verdict} |")
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn labels_are_text_in_markdown() {
        assert_eq!(escaped("a|b & <c> d[e](f)_g"), "a\\|b &amp; \\<c> d[e]\\(f)\\_g");
    }
}
