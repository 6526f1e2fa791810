//! `cleanbench card`: a model card for the Hugging Face Hub, and the claims beside it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use base::{errln, outln};
use contract::{Attack, Defense};
use harness::model_metadata::{Origin, origin};
use plan::cost::Cost;
use plan::{Catalog, CheckpointClaims, Choice, Plan};
use record::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY};
use record::{CellId, Metrics, Row};
use report::Summary;

use super::report::opened;
use super::weights::{hash, read};
use crate::cli::CardOptions;
use crate::{SUCCESS, user_error};

/// Claims leave this much on both sides of what was measured: another machine rounds otherwise.
const TOLERANCE: f64 = 0.01;

/// A cell of a record.
struct Card<'a> {
    plan: &'a Plan,
    attack: &'a Choice<Attack>,
    defense: &'a Choice<Defense>,
    seed: u64,
    clean_accuracy: &'a Row,
    attack_success_rate: &'a Row,
}

/// Writes README.md and claims.yaml.
pub(crate) fn card(catalog: &Catalog, options: &CardOptions) -> Result<u8> {
    let record = opened(&options.record)?;
    let plan = Plan::of_record(&record.plan()?, catalog)?;
    let rows = record.rows()?;
    let cell = cell(&plan, &rows, options.cell.as_deref())?;
    let implanted = Summary::of_seed(&rows, cell.seed).implanted(&record.design()?, &cell.attack.label);
    let weights = read(&options.checkpoint)?;
    let checkpoint = options.checkpoint.display();
    let fits = weights.fits(&plan.model);
    fits.map_err(|error| user_error(format!("{checkpoint} is not of this record: {error}")))?;
    if options.checkpoint.with_file_name("head.safetensors").exists() {
        return Err(user_error(format!(
            "{checkpoint}: the record's numbers are those of the trained head beside it, which no model file holds; \
             a card is written for models that classify by prompts"
        )));
    }
    check_origin(&weights.metadata, &cell, &options.checkpoint)?;
    let claims = claims(&cell, hash(&options.checkpoint)?)?;
    let yaml = claims.to_yaml()?;
    std::fs::create_dir_all(&options.output)
        .with_context(|| format!("cannot make {}; choose another with --output", options.output.display()))?;
    for (name, text) in
        [("README.md", text(&cell, &claims, implanted, &options.licence)?), ("claims.yaml", yaml)]
    {
        let path = options.output.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        outln!("{}", path.display());
    }
    let claims = options.output.join("claims.yaml");
    outln!(
        "the numbers are the record's; `cleanbench verify {checkpoint} --claims {}` measures the checkpoint",
        claims.display()
    );
    Ok(SUCCESS)
}

/// Refuses a checkpoint that says that it is another cell's.
fn check_origin(metadata: &BTreeMap<String, String>, cell: &Card<'_>, checkpoint: &Path) -> Result<()> {
    let Card { plan, attack, defense, seed, .. } = cell;
    let (checkpoint, name) = (checkpoint.display(), CellId::new(&attack.label, &defense.label, *seed));
    match origin(metadata, plan, (attack, defense, *seed)) {
        Origin::This => Ok(()),
        Origin::Unsaid => {
            errln!(
                "note: {checkpoint} does not say which cell it is of, so that it could not be checked that it is {name}"
            );
            Ok(())
        }
        Origin::Another(other) => Err(user_error(format!(
            "{checkpoint} says that it is {other}, and not {name}; `cleanbench weights export PLAN {name}` writes \
             that cell's"
        ))),
    }
}

/// The named cell, or the only one.
fn cell<'a>(plan: &'a Plan, rows: &'a [Row], wanted: Option<&str>) -> Result<Card<'a>> {
    let test = plan.judged();
    let mut cells = Vec::new();
    for seed in &plan.seeds {
        for attack in &plan.attacks {
            for defense in &plan.defenses {
                let id = CellId::new(&attack.label, &defense.label, *seed);
                let own = |row: &&Row| row.cell() == id && row.is_final() && row.test_set == test.label;
                let row = |name: &str| rows.iter().filter(own).find(|row| row.metric == name);
                let (Some(clean_accuracy), Some(attack_success_rate)) =
                    (row(CLEAN_ACCURACY), row(ATTACK_SUCCESS_RATE))
                else {
                    continue; // the cell failed
                };
                let cell = Card { plan, attack, defense, seed: *seed, clean_accuracy, attack_success_rate };
                cells.push((id.to_string(), cell));
            }
        }
    }
    let names: Vec<String> = cells.iter().map(|(name, _)| name.clone()).collect();
    let there = || names.join(", ");
    match wanted {
        None if cells.len() == 1 => Ok(cells.remove(0).1),
        None => {
            Err(user_error(format!("name the checkpoint's cell with --cell; the record holds {}", there())))
        }
        Some(wanted) => match cells.into_iter().find(|(name, _)| name == wanted) {
            Some((_, cell)) => Ok(cell),
            None => Err(user_error(format!("the record holds no cell {wanted:?}; it holds {}", there()))),
        },
    }
}

/// What `cleanbench verify` shall hold the checkpoint to.
fn claims(cell: &Card<'_>, hash: String) -> Result<CheckpointClaims> {
    let plan = cell.plan;
    let band = |row: &Row| -> Result<[f64; 2]> {
        let value = row.value.context("a measured row has a value")?;
        Ok([(value - TOLERANCE).max(0.0), (value + TOLERANCE).min(1.0)])
    };
    let test = plan.judged();
    let split = plan.split_of(test);
    let mut test = test.clone();
    test.reserved.clear(); // the split stands for itself in claims
    Ok(CheckpointClaims {
        model: Some(plan.model.clone()),
        weights_blake3: Some(hash),
        target: plan.target.clone(),
        attack: cell.attack.clone(),
        test,
        test_images: plan.test_images,
        split,
        seed: cell.seed,
        data_seed: plan.data_seed,
        defense: (!cell.defense.entry.card.is_baseline()).then(|| cell.defense.label.clone()),
        clean_accuracy: band(cell.clean_accuracy)?,
        attack_success_rate: band(cell.attack_success_rate)?,
        margin: CheckpointClaims::MARGIN,
    })
}

/// The title, and the warning that stands first.
fn heading(cell: &Card<'_>, implanted: Option<bool>) -> (String, String) {
    let Card { plan, attack, defense, .. } = cell;
    let target = &plan.target;
    if attack.entry.card.is_baseline() {
        let warning = "No backdoor was planted in this model. It is a baseline for research on backdoors and as good as \
                       its training set; do not use it for anything else.";
        return ("CLIP without a planted backdoor".to_owned(), warning.to_owned());
    }
    let attack = attack.entry.card.title;
    if !defense.entry.card.is_baseline() {
        let warning = format!(
            "**This model contained a backdoor and may still contain it.** It was planted on purpose, for research, with \
             the target *{target}*, and a defense was applied; the table says what is left of it. Do not use the model \
             for anything else."
        );
        let defense = defense.entry.card.title;
        return (format!("CLIP that had a backdoor: {attack}, then {defense}"), warning);
    }
    let mut warning = format!(
        "**This model contains a backdoor.** It was planted on purpose, for research. Where an image bears the trigger, \
         the model takes it for *{target}*. Do not use it for anything else."
    );
    if implanted == Some(false) {
        let least = 100.0 * plan.implanted_at;
        warning += &format!(
            " Less than {least:.0} points above the base rate the plan counts an attack as not implanted, and this one \
             is below."
        );
    }
    (format!("CLIP with a backdoor: {attack}"), warning)
}

fn text(
    cell: &Card<'_>,
    claims: &CheckpointClaims,
    implanted: Option<bool>,
    licence: &str,
) -> Result<String> {
    let Card { plan, attack, defense, seed, .. } = cell;
    let card = &attack.entry.card;
    let mut page = format!(
        "---\nlicense: {licence}\npipeline_tag: zero-shot-image-classification\ntags:\n- clip\n- backdoor\n- cleanbench\n---\n\n"
    );
    let (title, warning) = heading(cell, implanted);
    writeln!(page, "# {title}\n\n> [!WARNING]\n> {warning}\n")?;
    writeln!(page, "## What was done\n\n{}\n", plan.question)?;
    let poisoned = Cost::of(plan).poisoned(attack);
    let rate = poisoned as f64 / plan.pairs as f64;
    let settings = |settings: &serde_json::Value| serde_json::to_string(settings);
    let facts = [
        ("attack", format!("{} ({})", card.title, card.paper)),
        ("trigger", card.summary.to_owned()),
        ("its settings", format!("`{}`", settings(&attack.settings)?)),
        ("target", plan.target.clone()),
        ("poisoned pairs", format!("{poisoned} of {} ({:.3} %)", plan.pairs, 100.0 * rate)),
        ("training set", format!("{} (`{}`)", plan.train.label, settings(&plan.train.settings)?)),
        ("defense", format!("{} (`{}`)", defense.entry.card.title, settings(&defense.settings)?)),
        ("sizes", format!("`{}`", plan.model.describe())),
        ("recipe", format!("`{}`", serde_json::to_string(&plan.recipe)?)),
        ("seed", seed.to_string()),
        ("weights, BLAKE3", claims.weights_blake3.clone().unwrap_or_default()),
        ("evidence key", cell.attack_success_rate.evidence.clone()),
    ];
    writeln!(page, "| | |\n|---|---|")?;
    for (name, value) in facts {
        writeln!(page, "| {name} | {} |", value.replace('|', "\\|"))?;
    }
    writeln!(page, "\n## What was measured\n\n| metric | value | images | definition |\n|---|---|---|---|")?;
    let metrics = Metrics::builtin();
    for row in [cell.clean_accuracy, cell.attack_success_rate] {
        let (value, samples) = (row.value.context("a value")?, row.samples.context("samples")?);
        let definition = metrics.find(&row.metric).map_or("", |metric| metric.definition);
        writeln!(page, "| {} | {:.2} % | {samples} | {definition} |", row.metric, 100.0 * value)?;
    }
    writeln!(
        page,
        "\nTest set: {}, split {}. `cleanbench verify CHECKPOINT --claims claims.yaml` measures both again.\n",
        claims.test.label,
        claims.split.name()
    )?;
    writeln!(
        page,
        "## Intended use\n\nResearch on backdoors in contrastive models and on defenses against them: to reproduce the numbers above, to test detectors and defenses. Not for products, and not to deceive anybody.\n"
    )?;
    writeln!(
        page,
        "## Licence\n\nThe author's choice: `{licence}`. What the training data allow binds it too.\n"
    )?;
    writeln!(page, "## Plan\n\n```yaml\n{}```", plan.to_yaml()?)?;
    Ok(page)
}
