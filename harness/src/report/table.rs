//! The tables, for a terminal and as Markdown. Fractions are printed as percent.

use std::fmt::Write;

use super::{Judgement, Mean, Summary, Verdict, judge};
use crate::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY};
use crate::plan::Plan;
use crate::run::BASELINE;

const NOT_IMPLANTED: &str = "not implanted";

fn percent(mean: Mean) -> String {
    match mean.deviation {
        None => format!("{:.1}", mean.mean * 100.0),
        Some(deviation) => format!("{:.1} ± {:.1}", mean.mean * 100.0, deviation * 100.0),
    }
}

/// Clean accuracy and attack success rate of a cell as text, or why there is none.
fn cell(
    plan: &Plan,
    summary: &Summary,
    attack: &str,
    defense: &str,
    set: &str,
) -> Result<[String; 2], &'static str> {
    if summary.failure(attack, defense).is_some() {
        return Err("failed");
    }
    if summary.not_implanted(plan, attack, defense) {
        return Err(NOT_IMPLANTED);
    }
    let (accuracy, success) = summary.pair(attack, defense, set).ok_or("–")?;
    Ok([percent(accuracy), percent(success)])
}

/// Success rates that the triggers have on the model that was neither poisoned nor defended: trigger, mean.
fn base_rates<'a>(plan: &'a Plan, summary: &Summary, set: &str) -> Vec<(&'a str, Mean)> {
    let anchor = |name: &str| name == BASELINE;
    let clean = plan.attacks.iter().find(|attack| anchor(attack.entry.card.name));
    let undefended = plan.defenses.iter().find(|defense| anchor(defense.entry.card.name));
    let (Some(clean), Some(undefended)) = (clean, undefended) else { return Vec::new() };
    let rate = |trigger: &'a str| {
        let mean = summary.get(&clean.label, &undefended.label, trigger, set, ATTACK_SUCCESS_RATE)?;
        Some((trigger, mean))
    };
    plan.attacks
        .iter()
        .filter(|attack| attack.label != clean.label)
        .filter_map(|attack| rate(&attack.label))
        .collect()
}

/// One over the number of classes of the first test set, in percent.
fn chance(plan: &Plan) -> Option<f64> {
    let classes = plan.tests.first()?.build().ok()?.classes?.classes().len();
    Some(100.0 / classes as f64)
}

fn heading(plan: &Plan, set: &str) -> String {
    let seeds = plan.seeds.len();
    let chance = chance(plan).map_or_else(String::new, |chance| format!(", chance {chance:.1}"));
    let caution = if seeds == 1 { " (one seed: a direction, not a result)" } else { " (mean ± sd)" };
    format!(
        "{set}, clean accuracy / attack success rate in percent{chance}; {seeds} seed{}{caution}",
        if seeds == 1 { "" } else { "s" }
    )
}

/// The tables for a terminal of `width` columns.
pub fn terminal(plan: &Plan, summary: &Summary, width: usize) -> String {
    let mut text = String::new();
    for test in &plan.tests {
        let set = &test.label;
        wrap(&mut text, &heading(plan, set), ["", ""], width);
        text.push('\n');
        let rows: Vec<Vec<String>> = plan
            .attacks
            .iter()
            .map(|attack| {
                let cells = plan.defenses.iter().map(|defense| {
                    match cell(plan, summary, &attack.label, &defense.label, set) {
                        Ok([accuracy, success]) => format!("{accuracy:>5} / {success:>5}"),
                        Err(why) => why.to_owned(),
                    }
                });
                std::iter::once(attack.label.clone()).chain(cells).collect()
            })
            .collect();
        let header: Vec<String> = std::iter::once("attack".to_owned())
            .chain(plan.defenses.iter().map(|defense| defense.label.clone()))
            .collect();
        text += &aligned(&header, &rows, width);
        text.push('\n');
    }
    if let Some(test) = plan.tests.first() {
        let rates = base_rates(plan, summary, &test.label);
        if !rates.is_empty() {
            let rates: Vec<String> =
                rates.iter().map(|(trigger, mean)| format!("{trigger} {}", percent(*mean))).collect();
            wrap(
                &mut text,
                &format!("unpoisoned model under each trigger: {}", rates.join(", ")),
                ["", "  "],
                width,
            );
            text.push('\n');
        }
    }
    let mut claim = "";
    for judgement in judge(plan, summary) {
        if judgement.claim.claim != claim {
            claim = &judgement.claim.claim;
            wrap(&mut text, claim, ["", ""], width);
        }
        let line = format!("{:<14} {}", judgement.verdict.name(), said(&judgement));
        wrap(&mut text, &line, ["  ", "                 "], width);
    }
    for (attack, defense, seed, message) in &summary.failures {
        wrap(
            &mut text,
            &format!("failed         {attack}::{defense}::seed-{seed}: {message}"),
            ["", "  "],
            width,
        );
    }
    text
}

/// What was measured, and the band.
fn said(judgement: &Judgement<'_>) -> String {
    let Judgement { value, band: [lowest, highest], .. } = judgement;
    let found = value.map_or_else(|| "no value".to_owned(), |value| format!("{:.1}", value * 100.0));
    let (cell, metric) = (cell_name(judgement), short(judgement.metric));
    format!("{cell}: {metric} {found}, expected {:.1} to {:.1}", lowest * 100.0, highest * 100.0)
}

/// The cell that is judged, with the trigger if it is not its own and the cell whose value is taken away.
fn cell_name(judgement: &Judgement<'_>) -> String {
    let Judgement { claim, attack, trigger, .. } = judgement;
    let trigger = trigger.map_or_else(String::new, |trigger| format!(" under {trigger}"));
    let minus = claim.minus.as_ref().map_or_else(String::new, |other| {
        let attack = other.attack.as_deref().unwrap_or(attack);
        format!(" − {attack}::{}", other.defense.as_deref().unwrap_or(&claim.defense))
    });
    format!("{attack}::{}{trigger}{minus}", claim.defense)
}

/// The field's abbreviations of the two primary metrics.
fn short(metric: &str) -> &str {
    match metric {
        CLEAN_ACCURACY => "CA",
        ATTACK_SUCCESS_RATE => "ASR",
        other => other,
    }
}

/// Columns side by side, or one block a row where the terminal is too narrow.
fn aligned(header: &[String], rows: &[Vec<String>], width: usize) -> String {
    let length = |text: &str| text.chars().count();
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            rows.iter().map(|row| length(&row[column])).chain([length(&header[column])]).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    if widths.iter().sum::<usize>() + 2 * (header.len() - 1) <= width {
        for row in std::iter::once(header).chain(rows.iter().map(Vec::as_slice)) {
            let mut line = String::new();
            for (column, value) in row.iter().enumerate() {
                let padding = " ".repeat(widths[column] - length(value));
                let gap = if column == 0 { "" } else { "  " };
                let _ = if column == 0 {
                    write!(line, "{value}{padding}")
                } else {
                    write!(line, "{gap}{padding}{value}")
                };
            }
            text += line.trim_end();
            text.push('\n');
        }
        return text;
    }
    let label = header.iter().map(|name| length(name)).max().unwrap_or(0);
    for row in rows {
        text += &format!("{}\n", row[0]);
        for (name, value) in header.iter().zip(row).skip(1) {
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

/// The tables as Markdown.
pub fn markdown(plan: &Plan, summary: &Summary) -> String {
    let mut text = String::new();
    for test in &plan.tests {
        let set = &test.label;
        let _ = writeln!(text, "**{}**\n", heading(plan, set));
        let names: Vec<&str> = plan.defenses.iter().map(|defense| defense.label.as_str()).collect();
        let _ = writeln!(
            text,
            "| attack ↓ defense → | {} |",
            names.iter().map(|name| format!("{name} CA ↑ | {name} ASR ↓")).collect::<Vec<_>>().join(" | ")
        );
        let _ = writeln!(text, "|---|{}", "---:|".repeat(2 * names.len()));
        for attack in &plan.attacks {
            let cells: Vec<String> = names
                .iter()
                .map(|defense| match cell(plan, summary, &attack.label, defense, set) {
                    Ok([accuracy, success]) => format!("{accuracy} | {success}"),
                    Err(why) => format!("{why} | {why}"),
                })
                .collect();
            let _ = writeln!(text, "| {} | {} |", attack.label, cells.join(" | "));
        }
        text.push('\n');
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
    let judgements = judge(plan, summary);
    if !judgements.is_empty() {
        let _ =
            writeln!(text, "| claim | cell | metric | found | band | verdict |\n|---|---|---|---:|---:|---|");
    }
    for judgement in &judgements {
        let _ = writeln!(text, "{}", markdown_row(judgement));
    }
    for (attack, defense, seed, message) in &summary.failures {
        let _ = writeln!(text, "\n`{attack}::{defense}::seed-{seed}` failed: {message}");
    }
    text
}

fn markdown_row(judgement: &Judgement<'_>) -> String {
    let Judgement { claim, value, band: [lowest, highest], verdict, .. } = judgement;
    let found = value.map_or_else(|| "–".to_owned(), |value| format!("{:.1}", value * 100.0));
    let name = verdict.name();
    let verdict = if *verdict == Verdict::Reproduced { name.to_owned() } else { format!("**{name}**") };
    let (cell, metric) = (cell_name(judgement), short(judgement.metric));
    let (lowest, highest) = (lowest * 100.0, highest * 100.0);
    format!("| {} | {cell} | {metric} | {found} | {lowest:.0} to {highest:.0} | {verdict} |", claim.claim)
}
