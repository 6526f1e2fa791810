//! A record as one page: HTML that needs nothing else, for screens, dark or light, and for print.

mod figure;
mod parts;

use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use polars::prelude::DataFrame;

use crate::plan::Plan;
use crate::record::Row;
use crate::report::{Comparison, Summary, Verdict, judge};

const STYLE: &str = include_str!("style.css");

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
    /// What the triggers look like.
    pub gallery: &'a [Gallery],
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

/// The page. An error where the evidence lacks what a figure needs.
pub fn page(page: &Page<'_>) -> Result<String> {
    let sections = [
        ("grid", "Grid", parts::grid(page)),
        ("compared", "Defenses beside each other", parts::compared(page)),
        ("frontiers", "Frontiers", parts::frontiers(page)?),
        ("verdicts", "Claims", parts::claims(page)),
        ("epochs", "On the way", parts::trajectories(page)?),
        ("triggers", "Triggers", parts::triggers(page)),
        ("similarities", "Similarity to the target", parts::similarities(page)?),
        ("cells", "Cells", parts::cells(page)),
        ("record", "Record", parts::record(page)),
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
                header {
                    h1 { (page.plan.question) }
                    p { (summary_line(page)) }
                    nav aria-label="Sections" {
                        @for (id, title, _) in &sections { a href=(format!("#{id}")) { (title) } " " }
                    }
                }
                main {
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
        ("frontier", parts::drawn_frontiers(page)?),
        ("epochs", parts::drawn_trajectories(page)?),
        ("similarity", parts::drawn_similarities(page)?),
    ];
    let mut files = Vec::new();
    for (kind, parts::Drawn { figures, series }) in drawn {
        for (svg, caption) in figures {
            let letter = |letter: char| if letter.is_alphanumeric() { letter } else { '-' };
            let name: String = format!("{kind}-{caption}").chars().map(letter).collect();
            let name: Vec<&str> = name.split('-').filter(|word| !word.is_empty()).collect();
            files.push((name.join("-"), figure::standalone(&svg, &caption, &series)));
        }
    }
    Ok(files)
}

/// What was run and how its claims fared, in a line.
fn summary_line(page: &Page<'_>) -> String {
    let plan = page.plan;
    let judged = judge(plan, page.summary);
    let count = |verdict: Verdict| judged.iter().filter(|judgement| judgement.verdict == verdict).count();
    format!(
        "{} attacks, {} defenses, {} {}, {} training pairs, target {}. Of {} claims {} reproduced, {} not, {} undecided.",
        plan.attacks.len(),
        plan.defenses.len(),
        plan.seeds.len(),
        if plan.seeds.len() == 1 { "seed (a direction, not a result)" } else { "seeds" },
        plan.pairs,
        plan.target,
        judged.len(),
        count(Verdict::Reproduced),
        count(Verdict::NotReproduced),
        count(Verdict::Undecided),
    )
}
