//! `cleanbench plan`.

use anyhow::Result;
use harness::run::survey;
use harness::store::Store;

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
    let cells = survey(&plan, &Store::at(&options.choice.store))?;
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
    Ok(FINE)
}
