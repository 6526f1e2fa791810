//! The tables for other programs: CSV, LaTeX, JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::comparison::{Comparison, compare};
use super::frontier::families;
use super::table::{NOT_IMPLANTED, chance};
use super::{Mean, Summary};
use crate::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY, Direction};
use crate::plan::Plan;
use crate::record::{Row, Status};
use crate::run::BASELINE;
use crate::statistics::mean;

/// The two primary metrics, which way is better, and how columns call them.
const AXES: [(&str, Direction, &str); 2] = [
    (CLEAN_ACCURACY, Direction::Higher, "CA $\\uparrow$"),
    (ATTACK_SUCCESS_RATE, Direction::Lower, "ASR $\\downarrow$"),
];

/// The pivot: a row for each test set, attack and defense, a mean, a deviation and a number of seeds for both primary
/// metrics, as fractions.
pub fn csv(plan: &Plan, summary: &Summary) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = ["test_set", "attack", "defense", "state", "chance", "seeds"].map(str::to_owned);
    let columns = AXES.iter().flat_map(|(metric, ..)| {
        let name = metric.replace('-', "_");
        [format!("{name}_mean"), format!("{name}_sd")]
    });
    writer.write_record(header.into_iter().chain(columns))?;
    let text = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    for test in &plan.tests {
        for attack in &plan.attacks {
            for defense in &plan.defenses {
                let (attack, defense) = (&attack.label, &defense.label);
                let means =
                    AXES.map(|(metric, ..)| summary.get(attack, defense, attack, &test.label, metric));
                let state = if summary.failure(attack, defense).is_some() {
                    "failed"
                } else if summary.not_implanted(plan, attack, defense) {
                    NOT_IMPLANTED
                } else if means[0].is_none() {
                    "skipped"
                } else {
                    "measured"
                };
                let chance = text(chance(test).map(|percent| percent / 100.0));
                let seeds = means[0].map_or(0, |mean| mean.seeds).to_string();
                let row =
                    [test.label.clone(), attack.clone(), defense.clone(), state.to_owned(), chance, seeds];
                let values = means.iter().flat_map(|mean| {
                    [text(mean.map(|mean| mean.mean)), text(mean.and_then(|mean| mean.deviation))]
                });
                writer.write_record(row.into_iter().chain(values))?;
            }
        }
    }
    Ok(String::from_utf8(writer.into_inner().context("rows")?)?)
}

/// One JSON object a line for each cell under each trigger on each test set: fractions by metric, names in snake_case.
pub fn json_lines(rows: &[Row]) -> Result<String> {
    let mut text = String::new();
    let same = |a: &Row, b: &Row| {
        let cell = |row: &Row| (row.seed, row.epoch);
        let names = |row: &Row| [&row.attack, &row.defense, &row.trigger, &row.test_set].map(String::clone);
        cell(a) == cell(b) && names(a) == names(b)
    };
    for cell in rows.chunk_by(same) {
        let first = &cell[0];
        let mut value = json!({
            "attack": first.attack, "defense": first.defense, "seed": first.seed, "trigger": first.trigger,
            "status": first.status,
        });
        if let Some(epoch) = first.epoch {
            value["epoch"] = epoch.into();
        }
        if first.status == Status::Measured {
            let metrics = cell.iter().map(|row| (row.metric.replace('-', "_"), json!(row.value)));
            value["test_set"] = first.test_set.clone().into();
            value["metrics"] = Value::Object(metrics.collect::<Map<_, _>>());
            value["evidence"] = first.evidence.clone().into();
        } else {
            value["message"] = first.message.clone().into();
        }
        let _ = writeln!(text, "{value}");
    }
    Ok(text)
}

/// One JSON object a line for each comparison with the defense `against`: differences are fractions, p-values exact.
pub fn compared_json(compared: &[Comparison], against: &str) -> String {
    let line = |row: &Comparison| {
        json!({
            "defense": row.defense, "against": against, "quantity": row.quantity.replace('-', "_"),
            "better": if row.better == Direction::Higher { "higher" } else { "lower" },
            "differences": row.differences, "left_out": row.left_out, "mean": mean(&row.differences),
            "interval": row.interval, "sign_p": row.sign, "wilcoxon_p": row.wilcoxon, "corrected_p": row.corrected,
            "supported": row.supported(),
        })
    };
    compared.iter().map(|row| format!("{}\n", line(row))).collect()
}

/// Characters that LaTeX reads otherwise.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', letter]),
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            'λ' => escaped.push_str("$\\lambda$"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn percent(mean: Mean) -> String {
    let deviation = mean.deviation.map_or_else(String::new, |sd| format!(" $\\pm$ {:.2}", sd * 100.0));
    format!("{:.2}{deviation}", mean.mean * 100.0)
}

/// The defense that is better than every other in a metric, each difference supported (see [`compare`]); mostly none.
fn best<'a>(plan: &'a Plan, rows: &[Row]) -> BTreeMap<&'static str, &'a str> {
    let defends = |label: &&str| {
        let choice = plan.defenses.iter().find(|choice| choice.label == **label);
        choice.is_some_and(|choice| choice.entry.card.name != BASELINE)
    };
    let labels: Vec<&str> = families(plan).into_iter().filter(defends).collect();
    let mut best = BTreeMap::new();
    for candidate in &labels {
        let Ok(compared) = compare(plan, rows, candidate) else { continue };
        for (metric, better, _) in AXES {
            let worse = |other: &&str| {
                let row = compared.iter().find(|row| row.defense == **other && row.quantity == metric);
                // What the other has less the candidate.
                row.filter(|row| row.supported())
                    .and_then(|row| crate::statistics::mean(&row.differences))
                    .is_some_and(|difference| (difference < 0.0) == (better == Direction::Higher))
            };
            let mut others = labels.iter().filter(|other| *other != candidate).peekable();
            if others.peek().is_some() && others.all(worse) {
                best.insert(metric, *candidate);
            }
        }
    }
    best
}

/// Tables for papers (packages `booktabs`, `fontenc`): a row for each defense, a pair of columns for each attack, percent
/// with two decimals. Bold: the highest (lowest) mean of its column, where this defense is better than each other with
/// support over all attacks and seeds.
pub fn latex(plan: &Plan, summary: &Summary, rows: &[Row]) -> String {
    let (mut text, best) = (String::new(), best(plan, rows));
    let attacks: Vec<&str> = plan.attacks.iter().map(|attack| attack.label.as_str()).collect();
    for test in &plan.tests {
        let seeds = match plan.seeds.len() {
            1 => "one seed".to_owned(),
            count => format!("mean $\\pm$ standard deviation of {count} seeds"),
        };
        let chance = chance(test).map_or_else(String::new, |chance| format!("; chance {chance:.2}"));
        let _ = writeln!(
            text,
            "\\begin{{table}}\n\\centering\n\\caption{{{}: clean accuracy (CA) and attack success rate (ASR) in percent, \
             {seeds}{chance}.}}\n\\begin{{tabular}}{{l{}}}\n\\toprule",
            escaped(&test.label),
            "rr".repeat(attacks.len())
        );
        let groups =
            attacks.iter().map(|attack| format!(" & \\multicolumn{{2}}{{c}}{{{}}}", escaped(attack)));
        let rules = (0..attacks.len()).map(|at| format!("\\cmidrule(lr){{{}-{}}}", 2 * at + 2, 2 * at + 3));
        let titles = attacks.iter().flat_map(|_| AXES.map(|(_, _, title)| format!(" & {title}")));
        let _ =
            writeln!(text, "{} \\\\\n{}", groups.collect::<String>(), rules.collect::<Vec<_>>().join(" "));
        let _ = writeln!(text, "defense{} \\\\\n\\midrule", titles.collect::<String>());
        for defense in &plan.defenses {
            text += &escaped(&defense.label);
            for attack in &attacks {
                let failed = summary.failure(attack, &defense.label).is_some();
                if failed || summary.not_implanted(plan, attack, &defense.label) {
                    let why = if failed { "failed" } else { NOT_IMPLANTED };
                    let _ = write!(text, " & \\multicolumn{{2}}{{c}}{{{why}}}");
                    continue;
                }
                for (metric, better, _) in AXES {
                    let mean = |label: &str| summary.get(attack, label, attack, &test.label, metric);
                    let own = mean(&defense.label);
                    let leads = |other: f64| {
                        own.is_some_and(|own| match better {
                            Direction::Higher => own.mean >= other,
                            Direction::Lower => own.mean <= other,
                        })
                    };
                    let defenses = plan.defenses.iter().filter(|other| other.entry.card.name != BASELINE);
                    let bold = best.get(metric) == Some(&defense.label.as_str())
                        && defenses.filter_map(|other| mean(&other.label)).all(|other| leads(other.mean));
                    let value = own.map_or_else(|| "--".to_owned(), percent);
                    let value = if bold { format!("\\textbf{{{value}}}") } else { value };
                    let _ = write!(text, " & {value}");
                }
            }
            text += " \\\\\n";
        }
        text += "\\bottomrule\n\\end{tabular}\n\\end{table}\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn labels_are_text_in_latex() {
        assert_eq!(escaped("a_b[λ2=1] 5 %"), "a\\_b[$\\lambda$2=1] 5 \\%");
    }
}
