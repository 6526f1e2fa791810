//! A sheet as LaTeX tables for papers (packages `booktabs` and `fontenc`).

use std::collections::BTreeMap;
use std::fmt::Write;

use record::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY, Direction};
use record::statistics::mean;
use record::{Design, Row};

use crate::comparison::compare;
use crate::mean::Mean;
use crate::sheet::{Grid, Sheet, State};

/// The two primary metrics, which way is better, and their column titles.
const AXES: [(&str, Direction, &str); 2] = [
    (CLEAN_ACCURACY, Direction::Higher, "CA $\\uparrow$"),
    (ATTACK_SUCCESS_RATE, Direction::Lower, "ASR $\\downarrow$"),
];

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

/// By metric the defense that is better than every other one, each difference supported (see [`compare`]).
fn best<'a>(design: &'a Design, rows: &[Row]) -> BTreeMap<&'static str, &'a str> {
    let acts = |label: &&str| design.defense(label).is_some_and(|defense| !defense.is_baseline());
    let labels: Vec<&str> = design.families().into_iter().filter(acts).collect();
    let mut best = BTreeMap::new();
    for candidate in &labels {
        let Ok(compared) = compare(design, rows, candidate) else { continue };
        for (metric, better, _) in AXES {
            let worse = |other: &&str| {
                let row = compared.iter().find(|row| row.defense == **other && row.quantity == metric);
                // The difference is the other's value less the candidate's.
                row.filter(|row| row.supported())
                    .and_then(|row| mean(&row.differences))
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

/// A table for each test set: a row for each defense, a pair of columns for each attack, percent with two decimals. Bold:
/// the highest (lowest) mean of its column, if its defense is better than each other one with support over all attacks and
/// seeds.
pub fn latex(sheet: &Sheet<'_>, rows: &[Row]) -> String {
    let best = best(sheet.design, rows);
    sheet.grids.iter().map(|grid| table(sheet.design, grid, &best)).collect()
}

fn table(design: &Design, grid: &Grid, best: &BTreeMap<&str, &str>) -> String {
    let mut text = String::new();
    let seeds = match design.seeds.len() {
        1 => "one seed".to_owned(),
        count => format!("mean $\\pm$ standard deviation of {count} seeds"),
    };
    let chance = grid.chance.map_or_else(String::new, |chance| format!("; chance {:.2}", chance * 100.0));
    let _ = writeln!(
        text,
        "\\begin{{table}}\n\\centering\n\\caption{{{}: clean accuracy (CA) and attack success rate (ASR) in percent, \
         {seeds}{chance}.}}\n\\begin{{tabular}}{{l{}}}\n\\toprule",
        escaped(&grid.set),
        "rr".repeat(grid.attacks.len())
    );
    let groups =
        grid.attacks.iter().map(|attack| format!(" & \\multicolumn{{2}}{{c}}{{{}}}", escaped(attack)));
    let rules = (0..grid.attacks.len()).map(|at| format!("\\cmidrule(lr){{{}-{}}}", 2 * at + 2, 2 * at + 3));
    let titles = grid.attacks.iter().flat_map(|_| AXES.map(|(_, _, title)| format!(" & {title}")));
    let _ = writeln!(text, "{} \\\\\n{}", groups.collect::<String>(), rules.collect::<Vec<_>>().join(" "));
    let _ = writeln!(text, "defense{} \\\\\n\\midrule", titles.collect::<String>());
    for (column, defense) in grid.defenses.iter().enumerate() {
        text += &escaped(defense);
        for states in &grid.cells {
            match states[column].shown() {
                Ok(pair) => {
                    for (axis, mean) in pair.into_iter().enumerate() {
                        let bold = best.get(AXES[axis].0) == Some(&defense.as_str())
                            && leads(design, states, column, axis);
                        let value = percent(mean);
                        let value = if bold { format!("\\textbf{{{value}}}") } else { value };
                        let _ = write!(text, " & {value}");
                    }
                }
                Err(name) => {
                    let _ = write!(text, " & \\multicolumn{{2}}{{c}}{{{name}}}");
                }
            }
        }
        text += " \\\\\n";
    }
    text + "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
}

/// Whether no other defense is better in one metric (0: clean accuracy, 1: attack success rate) under one attack.
fn leads(design: &Design, states: &[State], column: usize, axis: usize) -> bool {
    let value = |state: &State| state.shown().ok().map(|pair| pair[axis].mean);
    let Some(own) = value(&states[column]) else { return false };
    let others = design.defenses.iter().zip(states).filter(|(defense, _)| !defense.is_baseline());
    others.filter_map(|(_, state)| value(state)).all(|other| match AXES[axis].1 {
        Direction::Higher => own >= other,
        Direction::Lower => own <= other,
    })
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn labels_are_text_in_latex() {
        assert_eq!(escaped("a_b[λ2=1] 5 %"), "a\\_b[$\\lambda$2=1] 5 \\%");
    }
}
