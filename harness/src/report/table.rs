//! The tables, and how a terminal shows them. Fractions are printed as percent.

use super::comparison::{Comparison, sheet};
use super::frontier::{CAPS, chooser, families};
use super::{Judgement, Mean, Reached, Summary, judge};
use crate::contract::Dataset;
use crate::coverage::Coverage;
use crate::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY};
use crate::plan::{Choice, Plan};
use crate::run::BASELINE;

pub(super) const NOT_IMPLANTED: &str = "not implanted";

pub(super) fn percent(mean: Mean) -> String {
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
pub(crate) fn base_rates<'a>(plan: &'a Plan, summary: &Summary, set: &str) -> Vec<(&'a str, Mean)> {
    let poisoned = plan.attacks.iter().filter(|attack| attack.entry.card.name != BASELINE);
    let rate = |trigger: &'a str| Some((trigger, summary.base_rate(plan, trigger, set)?));
    poisoned.filter_map(|attack| rate(&attack.label)).collect()
}

/// One over the number of classes of a test set, in percent.
pub(crate) fn chance(test: &Choice<Dataset>) -> Option<f64> {
    Some(100.0 / test.build().ok()?.classes?.classes().len() as f64)
}

pub(super) fn heading(plan: &Plan, set: &str) -> String {
    let seeds = plan.seeds.len();
    let test = plan.tests.iter().find(|test| test.label == set);
    let chance = test.and_then(chance).map_or_else(String::new, |chance| format!(", chance {chance:.1}"));
    let caution = if seeds == 1 { " (one seed: a direction, not a result)" } else { " (mean ± sd)" };
    format!(
        "{set}, clean accuracy / attack success rate in percent{chance}; {seeds} seed{}{caution}",
        if seeds == 1 { "" } else { "s" }
    )
}

/// A table of text, the first row apart.
pub(crate) struct Sheet {
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    /// How many columns, from the first, hold names and no numbers.
    pub(crate) names: usize,
}

/// Defenses beside each other up to which a table has a column for each; beyond, a row for each cell.
const WIDEST: usize = 6;

/// Clean accuracy and attack success rate of every cell on a test set; `joined` puts both into one column.
pub(super) fn grid(plan: &Plan, summary: &Summary, set: &str, joined: bool) -> Sheet {
    let names: Vec<&str> = plan.defenses.iter().map(|defense| defense.label.as_str()).collect();
    let columns = |values: Result<[String; 2], &'static str>| match (values, joined) {
        (Ok([accuracy, success]), true) => vec![format!("{accuracy:>5} / {success:>5}")],
        (Ok(values), false) => values.to_vec(),
        (Err(why), true) => vec![why.to_owned()],
        (Err(why), false) => vec![why.to_owned(); 2],
    };
    let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    if names.len() > WIDEST {
        let cells =
            plan.attacks.iter().flat_map(|attack| names.iter().map(move |name| (&attack.label, *name)));
        let row = |(attack, defense): (&String, &str)| {
            [text(&[attack, defense]), columns(cell(plan, summary, attack, defense, set))].concat()
        };
        let values = if joined { text(&["CA / ASR"]) } else { text(&["CA ↑", "ASR ↓"]) };
        let header = [text(&["attack", "defense"]), values].concat();
        return Sheet { header, rows: cells.map(row).collect(), names: 2 };
    }
    let titles = names.iter().flat_map(|name| match joined {
        true => vec![(*name).to_owned()],
        false => vec![format!("{name} CA ↑"), format!("{name} ASR ↓")],
    });
    let first = if joined { "attack" } else { "attack ↓ defense →" };
    let row = |attack: &str| {
        let cells = names.iter().flat_map(|name| columns(cell(plan, summary, attack, name, set)));
        std::iter::once(attack.to_owned()).chain(cells).collect()
    };
    Sheet {
        header: std::iter::once(first.to_owned()).chain(titles).collect(),
        rows: plan.attacks.iter().map(|attack| row(&attack.label)).collect(),
        names: 1,
    }
}

/// What each defense keeps of clean accuracy at several attack success rates, each tuned on its own, and what the
/// table says; nothing where the plan neither looks at every epoch nor has a test set to choose models on.
pub(crate) fn frontiers(plan: &Plan, summary: &Summary) -> Option<(String, Sheet)> {
    let (families, (chooser, apart)) = (families(plan), chooser(plan)?);
    if !plan.every_epoch && !apart {
        return None;
    }
    let undefended = plan.defenses.iter().find(|defense| defense.entry.card.name == BASELINE)?;
    let test = &plan.tests.first()?.label;
    let (mut rows, none) = (Vec::new(), || "–".to_owned());
    for attack in plan.attacks.iter().filter(|attack| attack.entry.card.name != BASELINE) {
        for family in families.iter().filter(|family| **family != undefended.label) {
            let before = match cell(plan, summary, &attack.label, &undefended.label, test) {
                Ok(values) => values.join(" / "),
                Err(why) => why.to_owned(),
            };
            let mut row = vec![attack.label.clone(), (*family).to_owned(), before];
            let implanted = !summary.not_implanted(plan, &attack.label, family);
            for cap in CAPS {
                let reached = summary.reached(plan, &attack.label, family, cap);
                row.push(if implanted { reached.map_or_else(none, kept) } else { NOT_IMPLANTED.to_owned() });
            }
            let area = summary.hypervolume(plan, &attack.label, family).filter(|_| implanted);
            row.push(area.map_or_else(none, percent));
            rows.push(row);
        }
    }
    let titles = CAPS.map(|cap| format!("at ASR ≤ {:.0}", cap * 100.0)).into_iter();
    let titles = titles.chain(["hypervolume ↑".to_owned()]);
    let header = ["attack", "defense", "undefended"].map(str::to_owned).into_iter().chain(titles).collect();
    let how = if apart {
        format!("settings and epochs chosen on {chooser}, values from {test}")
    } else {
        format!("settings and epochs chosen on {chooser} itself, so that the values are upper bounds")
    };
    let text = format!(
        "Frontier: the highest clean accuracy that each defense keeps at an attack success rate of at most so much, \
         over its settings and epochs (CA / ASR in percent; {how}); hypervolume: the share of all accuracies and success \
         rates that its front is at least as good as"
    );
    (!rows.is_empty()).then_some((text, Sheet { header, rows, names: 2 }))
}

/// Accuracy and success rate, and in how many seeds the success rate was reached where it was not in all.
fn kept(reached: Reached) -> String {
    match (reached.accuracy, reached.success) {
        (Some(accuracy), Some(success)) => {
            let Reached { reached, seeds, .. } = reached;
            let some = if reached < seeds { format!(" ({reached} of {seeds})") } else { String::new() };
            format!("{} / {}{some}", percent(accuracy), percent(success))
        }
        _ => "never".to_owned(),
    }
}

/// The tables for a terminal of `width` columns.
pub fn terminal(plan: &Plan, summary: &Summary, width: usize) -> String {
    let mut text = String::new();
    if let Some((words, sheet)) = frontiers(plan, summary) {
        wrap(&mut text, &words, ["", ""], width);
        text.push('\n');
        text += &aligned(&sheet, width);
        text.push('\n');
    }
    for test in &plan.tests {
        let set = &test.label;
        wrap(&mut text, &heading(plan, set), ["", ""], width);
        text.push('\n');
        text += &aligned(&grid(plan, summary, set, true), width);
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
    let notes: Vec<String> = summary.data.iter().filter_map(Coverage::note).collect();
    for note in &notes {
        wrap(&mut text, &format!("data: {note}"), ["", "  "], width);
    }
    if !notes.is_empty() {
        text.push('\n');
    }
    let mut claim = "";
    for judgement in judge(plan, summary) {
        if judgement.claim.claim != claim {
            claim = &judgement.claim.claim;
            wrap(&mut text, &format!("{claim} (source: {})", judgement.claim.source), ["", ""], width);
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

/// What was measured, and the band, in percent.
fn said(judgement: &Judgement<'_>) -> String {
    let [lowest, highest] = judgement.band.map(|edge| edge * 100.0);
    let (cell, metric) = (cell_name(judgement), short(judgement.metric));
    let between = interval(judgement).map_or_else(String::new, |edges| format!(", 90 % interval {edges}"));
    format!("{cell}: {metric} {}{between}, expected {lowest:.1} to {highest:.1}", found(judgement))
}

/// What was measured, in percent, with how many seeds where there are several.
pub(crate) fn found(judgement: &Judgement<'_>) -> String {
    match judgement.found {
        None => "–".to_owned(),
        Some(mean) if mean.seeds == 1 => percent(mean),
        Some(mean) => format!("{} (n = {})", percent(mean), mean.seeds),
    }
}

/// The interval of what was measured, in percent.
pub(crate) fn interval(judgement: &Judgement<'_>) -> Option<String> {
    let [low, high] = judgement.interval?.map(|edge| edge * 100.0);
    Some(format!("{low:.1} to {high:.1}"))
}

/// The cell that is judged, with the trigger if it is not its own and the cell whose value is taken away.
pub(crate) fn cell_name(judgement: &Judgement<'_>) -> String {
    let Judgement { claim, attack, trigger, .. } = judgement;
    let trigger = trigger.map_or_else(String::new, |trigger| format!(" under {trigger}"));
    let minus = claim.minus.as_ref().map_or_else(String::new, |other| {
        let attack = other.attack.as_deref().unwrap_or(attack);
        format!(" − {attack}::{}", other.defense.as_deref().unwrap_or(&claim.defense))
    });
    let at = claim.at_success.map_or_else(String::new, |cap| format!(" at ASR ≤ {:.0} %", cap * 100.0));
    format!("{attack}::{}{trigger}{minus}{at}", claim.defense)
}

/// The field's abbreviations of the two primary metrics.
pub(crate) fn short(metric: &str) -> &str {
    match metric {
        CLEAN_ACCURACY => "CA",
        ATTACK_SUCCESS_RATE => "ASR",
        other => other,
    }
}

/// The comparisons of defenses for a terminal of `width` columns.
pub fn compared_terminal(compared: &[Comparison], against: &str, width: usize) -> String {
    let (words, sheet) = sheet(compared, against);
    let mut text = String::new();
    wrap(&mut text, &words, ["", ""], width);
    text.push('\n');
    text + &aligned(&sheet, width)
}

/// Columns side by side, or one block a row where the terminal is too narrow.
fn aligned(Sheet { header, rows, names }: &Sheet, width: usize) -> String {
    let length = |text: &str| text.chars().count();
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            rows.iter().map(|row| length(&row[column])).chain([length(&header[column])]).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    if widths.iter().sum::<usize>() + 2 * (header.len() - 1) <= width {
        for row in std::iter::once(header).chain(rows) {
            let mut line = String::new();
            for (column, value) in row.iter().enumerate() {
                let padding = " ".repeat(widths[column] - length(value));
                line += if column == 0 { "" } else { "  " };
                line +=
                    &if column < *names { format!("{value}{padding}") } else { format!("{padding}{value}") };
            }
            text += line.trim_end();
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
