//! A record as one page: HTML that needs nothing else, for screens, dark or light, and for print.

mod cells;
mod figure;
mod heat;
mod maps;
mod plots;
mod raster;
mod tables;

use std::collections::BTreeMap;

use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use polars::prelude::DataFrame;

use crate::evidence::map::EmbeddingMap;
use crate::plan::Plan;
use crate::record::{Cell, Manifest, Row};
use crate::report::{Comparison, Summary, Verdict, judge};

pub use raster::png;

const STYLE: &str = include_str!("style.css");
/// Which setting stands for a defense where not all can.
const CHOSEN: &str = "Of a swept defense the setting is shown that keeps the most clean accuracy at an attack success \
                      rate of at most 10 % after its last epoch, or else has the lowest.";

/// What a page is made from.
pub struct Page<'a> {
    /// What the record is called.
    pub name: &'a str,
    /// The plan that made it.
    pub plan: &'a Plan,
    /// Its rows.
    pub rows: &'a [Row],
    /// Its means.
    pub summary: &'a Summary,
    /// Its evidence, one row per image.
    pub evidence: &'a DataFrame,
    /// Each defense beside one of them, and which.
    pub compared: Option<(&'a str, &'a [Comparison])>,
    /// Where images lie, by cell; empty for records of older programs.
    pub maps: &'a BTreeMap<Cell, EmbeddingMap>,
    /// What the attacks did to training pairs, by seed and label of the attack.
    pub manifests: &'a BTreeMap<(u64, String), Manifest>,
    /// What others published.
    pub published: &'a [Published],
    /// What the triggers look like.
    pub gallery: &'a [Gallery],
    /// BLAKE3 of the record's files, by name.
    pub files: &'a BTreeMap<String, String>,
    /// The record's environment, as it stands in its file.
    pub environment: &'a str,
}

/// What the trigger of one attack looks like.
pub struct Gallery {
    /// Label of the attack.
    pub attack: String,
    /// For each image: clean, triggered, and ten times what changed around grey, as PNG files.
    pub images: Vec<[Vec<u8>; 3]>,
}

/// A published model, drawn beside a plan's own.
pub struct Published {
    /// Name of the attack's entry.
    pub attack: &'static str,
    /// Name of the defense's entry.
    pub defense: &'static str,
    /// Its clean accuracy, a fraction.
    pub clean_accuracy: f64,
    /// Its attack success rate, a fraction.
    pub attack_success_rate: f64,
    /// Which of the published models it is.
    pub setting: &'static str,
    /// Where it is published.
    pub source: &'static str,
}

/// The page. An error where the evidence lacks what a figure needs.
pub fn page(page: &Page<'_>) -> Result<String> {
    let sections = [
        ("grid", "Grid", tables::grid(page)),
        ("frontiers", "Frontiers", plots::frontiers(page)?),
        ("compared", "Defenses beside each other", tables::compared(page)),
        ("verdicts", "Claims", tables::claims(page)),
        ("epochs", "On the way", plots::trajectories(page)?),
        ("triggers", "Triggers", maps::triggers(page)),
        ("maps", "Embedding maps", maps::maps(page)?),
        ("similarities", "Similarity to the target", plots::similarities(page)?),
        ("cells", "Cells", cells::cells(page)),
        ("record", "Record", cells::record(page)),
    ];
    let sections: Vec<_> =
        sections.into_iter().filter_map(|(id, title, body)| Some((id, title, body?))).collect();
    let title = format!("cleanbench: {}", page.name);
    let markup: Markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a class="skip" href="#main" { "Skip to the results" }
                header {
                    h1 { (page.plan.question) }
                    p { (summary_line(page)) }
                    nav aria-label="Sections" {
                        ul { @for (id, title, _) in &sections { li { a href=(format!("#{id}")) { (title) } } } }
                    }
                }
                main id="main" tabindex="-1" {
                    @for (id, title, body) in &sections {
                        section id=(id) aria-labelledby=(format!("{id}-title")) {
                            h2 id=(format!("{id}-title")) { (title) }
                            (body)
                        }
                    }
                }
                footer { p { "Made by cleanbench from the record alone, but for the pictures of triggers, which are drawn again." } }
            }
        }
    };
    Ok(markup.into_string())
}

/// The figures of the page as SVG files that need no page, each by a name that can be a file's.
pub fn figures(page: &Page<'_>) -> Result<Vec<(String, String)>> {
    let drawn = [
        ("grid", heat::drawn_grids(page)?),
        ("frontier", plots::drawn_frontiers(page)?),
        ("epochs", plots::drawn_trajectories(page)?),
        ("map", maps::drawn_alone(page)?),
        ("similarity", plots::drawn_similarities(page)?),
    ];
    let mut files = Vec::new();
    for (kind, drawn) in drawn {
        for one in &drawn.figures {
            let letter = |letter: char| if letter.is_alphanumeric() { letter } else { '-' };
            let name: String = format!("{kind}-{}", one.caption).chars().map(letter).collect();
            let name: Vec<&str> = name.split('-').filter(|word| !word.is_empty()).collect();
            files.push((name.join("-"), figure::standalone(one, &drawn.legend)?));
        }
    }
    Ok(files)
}

/// What was run and how its claims fared, in a line.
fn summary_line(page: &Page<'_>) -> String {
    let plan = page.plan;
    let judged = judge(plan, page.summary);
    let count = |verdict: Verdict| judged.iter().filter(|judgement| judgement.verdict == verdict).count();
    let many = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let claims = match judged.len() {
        0 => String::new(),
        all => format!(
            " Of {} {} reproduced, {} not, {} undecided.",
            many(all, "claim"),
            count(Verdict::Reproduced),
            count(Verdict::NotReproduced),
            count(Verdict::Undecided)
        ),
    };
    format!(
        "{}, {}, {}{}, {} training pairs, target {}.{claims}",
        many(plan.attacks.len(), "attack"),
        many(plan.defenses.len(), "defense"),
        many(plan.seeds.len(), "seed"),
        if plan.seeds.len() == 1 { " (a direction, not a result)" } else { "" },
        plan.pairs,
        plan.target,
    )
}
