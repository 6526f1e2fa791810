//! `cleanbench plan`.

use anyhow::Result;
use datasets::fetch::bytes;
use datasets::fetch::catalogue::{SOURCES, Source};
use harness::Plan;
use harness::cost::Cost;
use harness::progress::duration;
use harness::store::Store;
use harness::survey::{DataState, Surveyed, SurveyedData, survey};

use super::choose;
use crate::FINE;
use crate::cli::PlanOptions;

/// Prints the cells of a plan and what the store has of each.
pub(crate) fn plan(options: &PlanOptions) -> Result<u8> {
    let plan = choose(&options.choice)?;
    if options.resolved {
        print!("{}", plan.to_yaml()?);
        return Ok(FINE);
    }
    let (cells, data) = survey(&plan, &Store::at(&options.choice.store))?;
    println!("{}\n", plan.question);
    let width = cells.iter().map(|cell| cell.name.chars().count()).max().unwrap_or(0);
    for cell in &cells {
        let state = match (cell.trained, cell.defended, cell.observed) {
            (_, _, true) => "stored",
            (_, true, _) => "to observe",
            (true, _, _) => "to defend",
            _ => "to train",
        };
        println!("{:<width$}  {state}", cell.name);
    }
    let left = cells.iter().filter(|cell| !cell.observed).count();
    println!("\n{} cells, {left} to run; claims: {}", cells.len(), plan.claims.len());
    for data in &data {
        print_data(data);
    }
    print_cost(&plan, &cells);
    Ok(FINE)
}

/// Prints what is known of data that are read from files.
fn print_data(SurveyedData { set, entry, used_for, asked, state }: &SurveyedData) {
    let said = match state {
        DataState::Drawn => return,
        DataState::Checked(usable) => format!("{asked}, checked: {usable} can be used"),
        DataState::Unchecked => format!("{asked}, there, not checked yet: a run begins with that"),
        DataState::Absent(why) => format!("{asked}, not there: {why}{}", where_from(entry)),
    };
    println!("{set}, {used_for}: {said}");
}

/// How data of an entry are fetched, and how large they are as far as known.
fn where_from(entry: &str) -> String {
    let sources = SOURCES.iter().filter(|source| source.read_by == entry);
    let command = |source: &Source| {
        let size = source.size.map_or_else(|| "size: --dry-run".to_owned(), bytes);
        format!("; cleanbench data fetch {} ({size})", source.name)
    };
    sources.map(command).collect()
}

/// What sustained speeds the time is told for, in FLOP/s. Two CPU cores were measured to train the tiny model at 0.16 and
/// RN50 at 0.19 TFLOP/s (results/speed); the GPU's speed is an assumption.
const SPEEDS: [(&str, f64); 2] = [("two CPU cores at 0.2 TFLOP/s", 2e11), ("a GPU at 100 TFLOP/s", 1e14)];

/// Seconds as a clock tells them, or as hours or days where they are many.
fn time(seconds: f64) -> String {
    match seconds / 3600.0 {
        hours if hours < 2.0 => duration(seconds),
        hours if hours < 100.0 => format!("{hours:.0} hours"),
        hours => format!("{:.0} days", hours / 24.0),
    }
}

/// Prints how much work is left, and how long that takes at stated speeds.
fn print_cost(plan: &Plan, cells: &[Surveyed]) {
    let cost = Cost::of(plan);
    let (mut trainings, mut total) = (0, 0.0);
    let per_attack = plan.defenses.len();
    for group in cells.chunks(per_attack) {
        if group.iter().any(|cell| !cell.trained && !cell.observed) {
            trainings += 1;
            total += cost.training();
        }
        for (cell, defense) in group.iter().zip(&plan.defenses) {
            total += if cell.defended || cell.observed { 0.0 } else { cost.defense(defense) };
            total += if cell.observed { 0.0 } else { cost.observation() };
        }
    }
    let poisoned: Vec<String> =
        plan.attacks.iter().map(|attack| format!("{} {}", attack.label, cost.poisoned(attack))).collect();
    println!("poisoned of {} pairs: {}", plan.pairs, poisoned.join(", "));
    let times: Vec<String> =
        SPEEDS.iter().map(|(what, speed)| format!("{} on {what}", time(total / speed))).collect();
    if total == 0.0 {
        return;
    }
    println!(
        "left: {trainings} trainings of {} epochs and what follows, {total:.1e} floating-point operations; about {}",
        plan.recipe.epochs,
        times.join(", ")
    );
}
