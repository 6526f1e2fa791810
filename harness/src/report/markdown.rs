//! The tables as Markdown.

use std::fmt::Write;

use super::comparison::{Comparison, DIFFERENCE, sheet};
use super::table::{Sheet, base_rates, cell_name, found, frontiers, grid, heading, interval, percent, short};
use super::{Judgement, Summary, Verdict, judge};
use crate::coverage::Coverage;
use crate::plan::Plan;

/// The tables as Markdown.
pub fn markdown(plan: &Plan, summary: &Summary) -> String {
    let mut text = String::new();
    if let Some((words, sheet)) = frontiers(plan, summary) {
        let _ = writeln!(text, "**{words}**\n\n{}", table(&sheet));
    }
    for test in &plan.tests {
        let sheet = grid(plan, summary, &test.label, false);
        let _ = writeln!(text, "**{}**\n\n{}", heading(plan, &test.label), table(&sheet));
    }
    if let Some(test) = plan.tests.first() {
        let rates = base_rates(plan, summary, &test.label);
        let rates: Vec<String> =
            rates.iter().map(|(trigger, mean)| format!("{trigger} {}", percent(*mean))).collect();
        if !rates.is_empty() {
            let _ = writeln!(
                text,
                "What the unpoisoned model calls {} under each trigger, in percent: {}.\n",
                plan.target,
                rates.join(", ")
            );
        }
    }
    for note in summary.data.iter().filter_map(Coverage::note) {
        let _ = writeln!(text, "Data: {note}.\n");
    }
    let judgements = judge(plan, summary);
    if !judgements.is_empty() {
        // One seed has no interval.
        let with = judgements.iter().any(|judgement| judgement.interval.is_some());
        let [title, rule] = if with { [" 90 % interval |", "---:|"] } else { [""; 2] };
        let _ = writeln!(
            text,
            "| claim | cell | metric | found |{title} band | verdict |\n|---|---|---|---:|{rule}---:|---|"
        );
        for judgement in &judgements {
            let _ = writeln!(text, "{}", markdown_row(judgement, with));
        }
    }
    for (attack, defense, seed, message) in &summary.failures {
        let _ = writeln!(text, "\n`{attack}::{defense}::seed-{seed}` failed: {message}");
    }
    text
}

/// The comparisons of defenses as Markdown; supported differences are bold.
pub fn compared_markdown(compared: &[Comparison], against: &str) -> String {
    let (words, mut sheet) = sheet(compared, against);
    for (row, comparison) in sheet.rows.iter_mut().zip(compared) {
        if comparison.supported() {
            row[DIFFERENCE] = format!("**{}**", row[DIFFERENCE]);
        }
    }
    format!("**{words}**\n\n{}", table(&sheet))
}

fn table(Sheet { header, rows, names }: &Sheet) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule = format!("|{}{}\n", "---|".repeat(*names), "---:|".repeat(header.len() - names));
    [line(header), rule].into_iter().chain(rows.iter().map(|row| line(row))).collect()
}

fn markdown_row(judgement: &Judgement<'_>, with_interval: bool) -> String {
    let Judgement { claim, band, verdict, .. } = judgement;
    let name = verdict.name();
    let verdict = if *verdict == Verdict::Reproduced { name.to_owned() } else { format!("**{name}**") };
    let (cell, metric, found) = (cell_name(judgement), short(judgement.metric), found(judgement));
    let interval = interval(judgement).unwrap_or_else(|| "–".to_owned());
    let between = if with_interval { format!(" {interval} |") } else { String::new() };
    let [lowest, highest] = band.map(|edge| edge * 100.0);
    format!(
        "| {} | {cell} | {metric} | {found} |{between} {lowest:.0} to {highest:.0} | {verdict} |",
        claim.claim
    )
}
