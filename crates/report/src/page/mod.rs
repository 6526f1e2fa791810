//! A record as one page: HTML that needs nothing else, for screens, dark or light, and for print.

mod cells;
mod figure;
mod heat;
mod input;
mod maps;
mod plots;
mod tables;

use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::verdict::Verdict;
pub use input::{Gallery, Page, Published};

const STYLE: &str = include_str!("style.css");
/// The page. An error where the evidence lacks what a figure needs.
pub fn page(page: &Page<'_>) -> Result<String> {
    let sections = [
        ("grid", "Grid", tables::grid(page)),
        ("frontiers", "Frontiers", plots::frontiers(page)?),
        ("compared", "Defenses beside each other", tables::compared(page)),
        ("verdicts", "Claims", tables::claims(page)),
        ("epochs", "Over the epochs", plots::trajectories(page)?),
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
                    h1 { (page.design().question) }
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
                footer { p { "Made by cleanbench from the record alone; only the pictures of triggers are rendered again." } }
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
    let (design, judged) = (page.design(), &page.sheet.judgements);
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
        many(design.attacks.len(), "attack"),
        many(design.defenses.len(), "defense"),
        many(design.seeds.len(), "seed"),
        if design.seeds.len() == 1 { " (a direction, not a result)" } else { "" },
        design.pairs,
        design.target,
    )
}
