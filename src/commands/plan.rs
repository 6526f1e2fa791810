//! `cleanbench plan`.

use anyhow::Result;
use base::{duration, out, outln, size};
use harness::forecast::{SPEEDS, forecast};
use harness::survey::{DataState, Survey, Surveyed, SurveyedData, survey_in_full};
use plan::cost::Cost;
use plan::{Catalog, Plan};
use store::Store;

use super::choose;
use super::fetch::remedy;
use crate::cli::PlanOptions;
use crate::{SUCCESS, USAGE_ERROR};

/// Prints the cells of a plan and what the store has of each.
pub(crate) fn plan(catalog: &Catalog, options: &PlanOptions) -> Result<u8> {
    let plan = choose(catalog, &options.choice)?;
    if options.resolved {
        out!("{}", plan.to_yaml()?);
        return Ok(SUCCESS);
    }
    let store = Store::at(&options.choice.folder.store);
    let Survey { cells, data, problems, triggers } = survey_in_full(&plan, &store)?;
    outln!("{}\n", plan.question);
    let width = cells.iter().map(|found| found.cell.to_string().chars().count()).max().unwrap_or(0);
    let forecasts = forecast(&plan, &store, &cells, SPEEDS[0])?;
    for (cell, forecast) in cells.iter().zip(forecasts) {
        let state = match (cell.trained, cell.defended, cell.observed) {
            (_, _, true) => "stored",
            (_, true, _) => "to observe",
            (true, _, _) => "to defend",
            _ => "to train",
        };
        let time = match (cell.observed, forecast.recorded) {
            (false, true) => format!(", about {}", time(forecast.seconds.iter().sum())),
            _ => String::new(),
        };
        outln!("{:<width$}  {state}{time}", cell.cell.to_string());
    }
    let left = cells.iter().filter(|cell| !cell.observed).count();
    outln!("\n{} cells, {left} to run; claims: {}", cells.len(), plan.claims.len());
    for data in &data {
        print_data(data);
    }
    for trigger in &triggers {
        match trigger.warning() {
            Some(warning) => outln!("warning: trigger of {warning}"),
            None => outln!("trigger of {}", trigger.in_words()),
        }
    }
    for problem in &problems {
        outln!("{problem}{}", remedy(&problem.to_string()));
    }
    print_cost(&plan, &cells);
    // What is not there may still come.
    let missing = plan.initial_weights.is_some_and(|path| !path.exists());
    Ok(if problems.len() > usize::from(missing) { USAGE_ERROR } else { SUCCESS })
}

/// Prints what is known of data that are read from files.
fn print_data(SurveyedData { set, used_for, asked, state }: &SurveyedData) {
    let said = match state {
        DataState::Generated => return,
        DataState::Checked(usable) => format!("{asked}, checked: {usable} can be used"),
        DataState::Unchecked => format!("{asked}, there, not checked yet: a run begins with that"),
        DataState::Absent(why) => format!("{asked}, not there: {why}{}", remedy(why)),
    };
    outln!("{set}, {used_for}: {said}");
}

/// Seconds as a clock tells them, or as hours or days where they are many.
fn time(seconds: f64) -> String {
    match seconds / 3600.0 {
        hours if hours < 2.0 => duration(seconds),
        hours if hours < 100.0 => format!("{hours:.0} hours"),
        hours => format!("{:.0} days", hours / 24.0),
    }
}

/// A number of things, in the plural where it is not 1.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
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
    outln!("poisoned of {} pairs: {}", plan.pairs, poisoned.join(", "));
    let machines = [
        ("two CPU cores at 0.2 TFLOP/s", 2.0 * SPEEDS[0]),
        ("a GPU at 20 TFLOP/s (f32; an assumption)", SPEEDS[1]),
    ];
    let times = machines.map(|(what, speed)| format!("{} on {what}", time(total / speed)));
    let memory = cost.memory();
    outln!(
        "one cell at a time takes about {} of memory, each further one {}",
        size(memory.of(1)),
        size(memory.each)
    );
    if total == 0.0 {
        return;
    }
    outln!(
        "left: {} of {} epochs and what follows, {total:.1e} floating-point operations; about {}",
        counted(trainings, "training"),
        plan.recipe.epochs,
        times.join(", ")
    );
}
