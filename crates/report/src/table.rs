//! The parts of a sheet as tables of text, for all renderers that have columns.

use record::metric::{Direction, short};
use record::statistics::mean;

use crate::comparison::{Comparison, FEWEST_PAIRS, SUPPORTED_BELOW};
use crate::frontier::Reached;
use crate::mean::Mean;
use crate::sheet::{CAPS, Frontiers, Grid, State};
use crate::verdict::Judgement;

/// A table of text.
pub(crate) struct Table {
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    /// How many columns, from the first, hold names and not numbers.
    pub(crate) names: usize,
}

/// Defenses side by side up to which a grid has a column for each; beyond, it has a row for each cell.
const WIDEST: usize = 6;

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The caption of a grid.
pub(crate) fn grid_caption(grid: &Grid, seeds: usize) -> String {
    let chance = grid.chance.map_or_else(String::new, |chance| format!(", chance {:.1}", chance * 100.0));
    let seeds = match seeds {
        1 => "1 seed (one seed: a direction, not a result)".to_owned(),
        count => format!("{count} seeds (mean ± sd)"),
    };
    format!("{}, clean accuracy / attack success rate in percent{chance}; {seeds}", grid.set)
}

/// Clean accuracy and attack success rate of every cell; `joined` puts both into one column.
pub(crate) fn grid(grid: &Grid, joined: bool) -> Table {
    let columns = |state: State| match (state.shown(), joined) {
        (Ok([accuracy, success]), true) => {
            vec![format!("{:>5} / {:>5}", accuracy.to_string(), success.to_string())]
        }
        (Ok(pair), false) => pair.map(|mean| mean.to_string()).to_vec(),
        (Err(name), true) => owned(&[name]),
        (Err(name), false) => owned(&[name; 2]),
    };
    if grid.defenses.len() > WIDEST {
        let row = |(attack, defense, state)| [owned(&[attack, defense]), columns(state)].concat();
        let values = if joined { owned(&["CA / ASR"]) } else { owned(&["CA ↑", "ASR ↓"]) };
        let header = [owned(&["attack", "defense"]), values].concat();
        return Table { header, rows: grid.iter().map(row).collect(), names: 2 };
    }
    let titles = grid.defenses.iter().flat_map(|name| match joined {
        true => vec![name.clone()],
        false => vec![format!("{name} CA ↑"), format!("{name} ASR ↓")],
    });
    let first = if joined { "attack" } else { "attack ↓ defense →" }.to_owned();
    let row = |(attack, states): (&String, &Vec<State>)| {
        std::iter::once(attack.clone()).chain(states.iter().flat_map(|state| columns(*state))).collect()
    };
    Table {
        header: std::iter::once(first).chain(titles).collect(),
        rows: grid.attacks.iter().zip(&grid.cells).map(row).collect(),
        names: 1,
    }
}

/// Accuracy and success rate, and the number of seeds that reached the cap where it was not all of them.
fn kept(reached: Reached) -> String {
    match (reached.accuracy, reached.success) {
        (Some(accuracy), Some(success)) => {
            let Reached { reached, seeds, .. } = reached;
            let some = if reached < seeds { format!(" ({reached} of {seeds})") } else { String::new() };
            format!("{accuracy} / {success}{some}")
        }
        _ => "never".to_owned(),
    }
}

/// What each defense keeps, and the caption that says how it was found.
pub(crate) fn frontiers(frontiers: &Frontiers) -> (String, Table) {
    let Frontiers { chosen_on, judged_on, rows } = frontiers;
    let none = || "–".to_owned();
    let rows = rows.iter().map(|row| {
        let pair = |[accuracy, success]: [Mean; 2]| format!("{accuracy} / {success}");
        let before = row.undefended.shown().map_or_else(str::to_owned, pair);
        let values = match &row.reached {
            Err(why) => owned(&[*why; 4]),
            Ok((caps, area)) => {
                let caps = caps.iter().map(|reached| reached.map_or_else(none, kept));
                caps.chain([area.map_or_else(none, |area| area.to_string())]).collect()
            }
        };
        [vec![row.attack.clone(), row.family.clone(), before], values].concat()
    });
    let caps = CAPS.map(|cap| format!("at ASR ≤ {:.0}", cap * 100.0));
    let header =
        [&owned(&["attack", "defense", "undefended"])[..], &caps, &owned(&["hypervolume ↑"])].concat();
    let how = match chosen_on == judged_on {
        false => format!("settings and epochs chosen on {chosen_on}, values from {judged_on}"),
        true => format!("settings and epochs chosen on {chosen_on} itself, so the values are upper bounds"),
    };
    let caption = format!(
        "Frontier: the highest clean accuracy that each defense keeps at an attack success rate of at most 1, 5 and \
         10 percent, over its settings and epochs (CA / ASR in percent; {how}); hypervolume: the share of all accuracies \
         and success rates that its front is at least as good as"
    );
    (caption, Table { header, rows: rows.collect(), names: 2 })
}

/// The column of differences in [`compared`].
pub(crate) const DIFFERENCE: usize = 3;

/// Comparisons with the defense `against`, and their caption.
pub(crate) fn compared(compared: &[Comparison], against: &str) -> (String, Table) {
    let points = |value: f64| format!("{:+.1}", value * 100.0);
    let p = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
    let row = |comparison: &Comparison| {
        let Comparison { defense, quantity, differences, left_out, interval, .. } = comparison;
        let arrow = if comparison.better == Direction::Higher { "↑" } else { "↓" };
        let signs = [1.0, -1.0].map(|sign| differences.iter().filter(|value| **value * sign > 0.0).count());
        let pairs = match left_out {
            0 => differences.len().to_string(),
            some => format!("{} of {}", differences.len(), differences.len() + some),
        };
        vec![
            defense.clone(),
            format!("{quantity} {arrow}"),
            pairs,
            mean(differences).map_or_else(|| "–".to_owned(), points),
            interval.map_or("–".to_owned(), |[low, high]| format!("{} to {}", points(low), points(high))),
            format!("{} : {}", signs[0], signs[1]),
            p(comparison.sign),
            p(comparison.wilcoxon),
            p(comparison.corrected),
            if comparison.supported() { "yes" } else { "no" }.to_owned(),
        ]
    };
    let header = [
        owned(&["defense", "quantity", "pairs", "difference", "95 % interval", "above : below"]),
        owned(&["sign p", "Wilcoxon p", "Holm", "supported"]),
    ];
    let pairs = compared.iter().map(|comparison| comparison.differences.len()).max().unwrap_or(0);
    let few = match pairs {
        FEWEST_PAIRS.. => String::new(),
        _ => format!(
            ". With {pairs} pairs no difference can be supported: it takes at least {FEWEST_PAIRS}, of more attacks or seeds"
        ),
    };
    let caption = format!(
        "Each defense minus {against}, in points, over pairs of the same attack and seed whose attack implanted; bootstrap \
         interval, exact tests, supported where Wilcoxon's p is below {SUPPORTED_BELOW} after Holm's correction{few}"
    );
    (caption, Table { header: header.concat(), rows: compared.iter().map(row).collect(), names: 2 })
}

/// The value that a claim is judged by, in percent, with the number of seeds where there are several.
pub(crate) fn found(judgement: &Judgement<'_>) -> String {
    match judgement.found {
        None => "–".to_owned(),
        Some(mean @ Mean { seeds: 1, .. }) => mean.to_string(),
        Some(mean) => format!("{mean} (n = {})", mean.seeds),
    }
}

/// The interval of that value, in percent.
pub(crate) fn interval(judgement: &Judgement<'_>) -> Option<String> {
    let [low, high] = judgement.interval?.map(|edge| edge * 100.0);
    Some(format!("{low:.1} to {high:.1}"))
}

/// The cell that is judged, with its trigger if that is another attack's, and the cell whose value is subtracted.
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

/// What was measured, and the band, in percent.
pub(crate) fn said(judgement: &Judgement<'_>) -> String {
    let [lowest, highest] = judgement.band.map(|edge| edge * 100.0);
    let (cell, metric) = (cell_name(judgement), short(judgement.metric));
    let between = interval(judgement).map_or_else(String::new, |edges| format!(", 90 % interval {edges}"));
    format!("{cell}: {metric} {}{between}, expected {lowest:.1} to {highest:.1}", found(judgement))
}

/// The base rates on one line.
pub(crate) fn base_rates(rates: &[(String, Mean)]) -> String {
    rates.iter().map(|(trigger, mean)| format!("{trigger} {mean}")).collect::<Vec<_>>().join(", ")
}
