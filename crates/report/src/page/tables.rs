//! The tables of a page.

use maud::{Markup, html};
use record::metric::{Direction, short};
use record::statistics::mean;

use super::input::Page;
use crate::comparison::SUPPORTED_BELOW;
use crate::mean::Mean;
use crate::sheet::{Grid, State};
use crate::table::{self, cell_name, found, interval};
use crate::verdict::Verdict;

/// A table that scrolls by itself where it is too wide, also by keys. Its first `names` columns name the row.
pub(super) fn table(what: &str, header: &[&str], names: usize, rows: Vec<Vec<String>>) -> Markup {
    wide(
        what,
        html! { table class="dense" {
            caption class="hidden" { (what) }
            thead { tr { @for name in header { th scope="col" { (name) } } } }
            tbody { @for row in rows { tr { @for (column, value) in row.iter().enumerate() {
                @if column < names { th scope="row" { (value) } }
                @else if is_hash(value.as_str()) { td class="words" { code { (value) } } }
                @else if value.starts_with(|first: char| first.is_alphabetic()) { td class="words" { (value) } }
                @else { td class="plain" { (value) } }
            } } } }
        } },
    )
}

fn is_hash(value: &str) -> bool {
    value.len() == 64 && value.chars().all(|letter| letter.is_ascii_hexdigit())
}

pub(super) fn wide(what: &str, table: Markup) -> Markup {
    html! { div class="wide" role="region" tabindex="0" aria-label=(what) { (table) } }
}

pub(super) fn percent(value: f64) -> String {
    format!("{:.1}", value * 100.0)
}

/// A mean as a cell of a heat map.
fn heat(Mean { mean, deviation, seeds }: Mean, kind: &str) -> Markup {
    let title = if seeds == 1 { "one seed".to_owned() } else { format!("mean of {seeds} seeds") };
    html! {
        td class=(format!("heat {kind}")) style=(format!("--value:{:.3}", mean.clamp(0.0, 1.0))) title=(title) {
            (percent(mean))
            @if let Some(deviation) = deviation { small { " ± " (percent(deviation)) } }
        }
    }
}

fn cell(state: State) -> Markup {
    match state.shown() {
        Ok([accuracy, success]) => html! { (heat(accuracy, "accuracy")) (heat(success, "success")) },
        Err(name) => html! { td colspan="2" class="why" { (name) } },
    }
}

/// A grid with at most as many columns as rows: what its rows are, their labels, those of its columns, and its states by
/// row.
pub(super) fn sides(grid: &Grid) -> (&'static str, &[String], &[String], Vec<Vec<State>>) {
    if grid.attacks.len() > grid.defenses.len() {
        return ("attack", &grid.attacks, &grid.defenses, grid.cells.clone());
    }
    let row = |defense: usize| grid.cells.iter().map(|states| states[defense]).collect();
    ("defense", &grid.defenses, &grid.attacks, (0..grid.defenses.len()).map(row).collect())
}

pub(super) fn grid(page: &Page<'_>) -> Option<Markup> {
    let sheet = page.sheet;
    Some(html! {
        p { "Clean accuracy (CA, higher is better) and attack success rate (ASR, lower is better) in percent, means over seeds ± standard deviation." }
        p class="scales" aria-hidden="true" { @for kind in ["accuracy", "success"] { span { (if kind == "accuracy" { "CA" } else { "ASR" }) " 0"
            @for step in 0..=10 { span class=(format!("heat {kind}")) style=(format!("--value:{:.1}", f64::from(step) / 10.0)) {} }
            "100" } }
        }
        @for grid in &sheet.grids {
            @let (first, rows, columns, states) = sides(grid);
            (wide(&format!("grid of {}", grid.set), html! { table class=(if columns.len() > 5 { "many" } else { "" }) {
            caption { (grid.set) @if let Some(chance) = grid.chance { ", chance " (percent(chance)) " %" } }
            thead {
                tr { th rowspan="2" scope="col" { (first) } @for name in columns { th colspan="2" scope="colgroup" { (name) } } }
                tr { @for _ in columns { th scope="col" { "CA ↑" } th scope="col" { "ASR ↓" } } }
            }
            tbody { @for (row, states) in rows.iter().zip(&states) { tr {
                th scope="row" { (row) }
                @for state in states { (cell(*state)) }
            } } }
        } })) }
        @if !sheet.base_rates.is_empty() { p {
            "Base rates, in percent (ASR of the unpoisoned model under each trigger): " (table::base_rates(&sheet.base_rates)) "."
        } }
        @for note in &sheet.notes { p { (note) "." } }
        @for row in &sheet.failures { p class="bad" { (row.cell()) " failed: " (row.message) } }
    })
}

/// What each defense keeps, and how it was found.
pub(super) fn kept(page: &Page<'_>) -> Option<Markup> {
    let (caption, kept) = table::frontiers(page.sheet.frontiers.as_ref()?);
    let header: Vec<&str> = kept.header.iter().map(String::as_str).collect();
    Some(html! { p { (caption) "." } (table("what each defense keeps", &header, kept.names, kept.rows)) })
}

pub(super) fn claims(page: &Page<'_>) -> Option<Markup> {
    let required = page.sheet.required_line();
    let judged = &page.sheet.judgements;
    let claims: Vec<_> = judged.chunk_by(|a, b| std::ptr::eq(a.claim, b.claim)).collect();
    let header = ["claim", "cell", "metric", "found, %", "90 % interval", "band, %", "verdict"];
    let whole = |value: f64| format!("{:.0}", value * 100.0);
    (!judged.is_empty()).then(|| html! { @if let Some(line) = required { p { (line) "." } } (wide("claims", html! { table {
        caption class="hidden" { "Claims of the plan and how they fared" }
        thead { tr { @for name in header { th scope="col" { (name) } } } }
        @for group in claims { tbody { @for (index, judgement) in group.iter().enumerate() { tr {
            @if index == 0 { th scope="rowgroup" rowspan=(group.len()) {
                (judgement.claim.claim) br; small { "Source: " (judgement.claim.source) }
            } }
            td class="words" { (cell_name(judgement)) }
            td class="words" { (short(judgement.metric)) }
            td { (found(judgement)) }
            td class="plain" { (interval(judgement).unwrap_or("–".to_owned())) }
            td class="plain" { (whole(judgement.band[0])) " to " (whole(judgement.band[1])) }
            td class=(if judgement.verdict == Verdict::Reproduced { "words" } else { "words bad" }) { (judgement.verdict.name()) }
        } } } }
    } })) })
}

pub(super) fn compared(page: &Page<'_>) -> Option<Markup> {
    let (against, compared) = page.compared?;
    let p = |value: Option<f64>| value.map_or("–".to_owned(), |p| format!("{p:.3}"));
    let points = |value: f64| format!("{:+.1}", value * 100.0);
    Some(html! {
        p { "Each defense minus " (against) ", in points, over pairs of the same attack and seed whose attack implanted. "
            "Supported (bold): Wilcoxon's exact p below " (SUPPORTED_BELOW) " after Holm's correction."
            @if compared.iter().all(|row| row.differences.is_empty()) { " No attack implanted, so there is no pair." } }
        (wide("defenses compared", html! { table {
            caption class="hidden" { "Each defense minus " (against) }
            thead { tr { @for name in ["defense", "quantity", "pairs", "difference", "95 % interval", "p", "corrected"] {
                th scope="col" { (name) } } } }
            tbody { @for row in compared { tr {
                th scope="row" { (row.defense) }
                td class="words" { (row.quantity) (if row.better == Direction::Higher { " ↑" } else { " ↓" }) }
                td { (row.differences.len()) @if row.left_out > 0 { " of " (row.differences.len() + row.left_out) } }
                td class=(if row.supported() { "bad" } else { "" }) {
                    (mean(&row.differences).map_or("–".to_owned(), points))
                }
                td class="plain" { (row.interval.map_or("–".to_owned(), |[low, high]| format!("{} to {}", points(low), points(high)))) }
                td { (p(row.wilcoxon)) }
                td { (p(row.corrected)) }
            } } }
        } }))
    })
}
