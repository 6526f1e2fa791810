//! The tables of a page.

use maud::{Markup, html};

use super::Page;
use crate::coverage::Coverage;
use crate::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY, Direction};
use crate::report::{
    Mean, SUPPORTED_BELOW, Verdict, base_rates, cell_name, chance, found, frontiers, interval, judge, short,
};

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
fn heat(mean: Option<Mean>, kind: &str) -> Markup {
    let Some(Mean { mean, deviation, seeds }) = mean else { return html! { td { "–" } } };
    let title = if seeds == 1 { "one seed".to_owned() } else { format!("mean of {seeds} seeds") };
    html! {
        td class=(format!("heat {kind}")) style=(format!("--value:{:.3}", mean.clamp(0.0, 1.0))) title=(title) {
            (percent(mean))
            @if let Some(deviation) = deviation { small { " ± " (percent(deviation)) } }
        }
    }
}

/// Both values of a cell, or why there are none.
fn cell(page: &Page<'_>, attack: &str, defense: &str, set: &str) -> Markup {
    let summary = page.summary;
    let value = |metric: &str| summary.get(attack, defense, attack, set, metric);
    if summary.failure(attack, defense).is_some() {
        return html! { td colspan="2" class="why" { "failed" } };
    }
    html! {
        (heat(value(CLEAN_ACCURACY), "accuracy"))
        @if summary.not_implanted(page.plan, attack, defense) { td class="why" { "not implanted" } }
        @else { (heat(value(ATTACK_SUCCESS_RATE), "success")) }
    }
}

/// What the rows of a grid are, their labels and those of its columns: there are at most as many columns as rows.
pub(super) fn sides<'a>(page: &Page<'a>) -> (&'static str, Vec<&'a str>, Vec<&'a str>) {
    let attacks: Vec<_> = page.plan.attacks.iter().map(|attack| attack.label.as_str()).collect();
    let defenses: Vec<_> = page.plan.defenses.iter().map(|defense| defense.label.as_str()).collect();
    if attacks.len() > defenses.len() {
        ("attack", attacks, defenses)
    } else {
        ("defense", defenses, attacks)
    }
}

pub(super) fn grid(page: &Page<'_>) -> Option<Markup> {
    let (plan, summary) = (page.plan, page.summary);
    let (first, rows, columns) = sides(page);
    Some(html! {
        p { "Clean accuracy (CA, higher is better) and attack success rate (ASR, lower is better) in percent, means over seeds ± standard deviation." }
        p class="scales" aria-hidden="true" { @for kind in ["accuracy", "success"] { span { (if kind == "accuracy" { "CA" } else { "ASR" }) " 0"
            @for step in 0..=10 { span class=(format!("heat {kind}")) style=(format!("--value:{:.1}", f64::from(step) / 10.0)) {} }
            "100" } }
        }
        @for test in &plan.tests { (wide(&format!("grid of {}", test.label), html! { table class=(if columns.len() > 5 { "many" } else { "" }) {
            caption { (test.label) @if let Some(chance) = chance(test) { ", chance " (format!("{chance:.1}")) " %" } }
            thead {
                tr { th rowspan="2" scope="col" { (first) } @for name in &columns { th colspan="2" scope="colgroup" { (name) } } }
                tr { @for _ in &columns { th scope="col" { "CA ↑" } th scope="col" { "ASR ↓" } } }
            }
            tbody { @for row in &rows { tr {
                th scope="row" { (row) }
                @for column in &columns {
                    @let (attack, defense) = if first == "attack" { (row, column) } else { (column, row) };
                    (cell(page, attack, defense, &test.label))
                }
            } } }
        } })) }
        @if let Some(test) = plan.tests.first() {
            @let rates = base_rates(plan, summary, &test.label);
            @if !rates.is_empty() { p {
                "The unpoisoned model calls images " (plan.target) " under each trigger in so many percent: "
                (rates.iter().map(|(trigger, mean)| format!("{trigger} {}", percent(mean.mean))).collect::<Vec<_>>().join(", ")) "."
            } }
        }
        @for note in summary.data.iter().filter_map(Coverage::note) { p { "Data: " (note) "." } }
        @for (attack, defense, seed, message) in &summary.failures {
            p class="bad" { (attack) "::" (defense) "::seed-" (seed) " failed: " (message) }
        }
    })
}

/// What each defense keeps; the words that its table has elsewhere say how it was found.
pub(super) fn kept(page: &Page<'_>) -> Option<Markup> {
    let (words, sheet) = frontiers(page.plan, page.summary)?;
    let header: Vec<&str> = sheet.header.iter().map(String::as_str).collect();
    Some(html! { p { (words) "." } (table("what each defense keeps", &header, sheet.names, sheet.rows)) })
}

pub(super) fn claims(page: &Page<'_>) -> Option<Markup> {
    let judged = judge(page.plan, page.summary);
    let claims: Vec<_> = judged.chunk_by(|a, b| std::ptr::eq(a.claim, b.claim)).collect();
    let header = ["claim", "cell", "metric", "found, %", "90 % interval", "band, %", "verdict"];
    let whole = |value: f64| format!("{:.0}", value * 100.0);
    (!judged.is_empty()).then(|| wide("claims", html! { table {
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
    } }))
}

pub(super) fn compared(page: &Page<'_>) -> Option<Markup> {
    let (against, compared) = page.compared?;
    let p = |value: Option<f64>| value.map_or("–".to_owned(), |p| format!("{p:.3}"));
    let points = |value: f64| format!("{:+.1}", value * 100.0);
    Some(html! {
        p { "Each defense less " (against) ", in points, over pairs of the same attack and seed whose attack implanted. "
            "Supported (bold): Wilcoxon's exact p below " (SUPPORTED_BELOW) " after Holm's correction."
            @if compared.iter().all(|row| row.differences.is_empty()) { " No attack implanted, so there is no pair." } }
        (wide("defenses compared", html! { table {
            caption class="hidden" { "Each defense less " (against) }
            thead { tr { @for name in ["defense", "quantity", "pairs", "difference", "95 % interval", "p", "corrected"] {
                th scope="col" { (name) } } } }
            tbody { @for row in compared { tr {
                th scope="row" { (row.defense) }
                td class="words" { (row.quantity) (if row.better == Direction::Higher { " ↑" } else { " ↓" }) }
                td { (row.differences.len()) @if row.left_out > 0 { " of " (row.differences.len() + row.left_out) } }
                td class=(if row.supported() { "bad" } else { "" }) {
                    (crate::statistics::mean(&row.differences).map_or("–".to_owned(), points))
                }
                td class="plain" { (row.interval.map_or("–".to_owned(), |[low, high]| format!("{} to {}", points(low), points(high)))) }
                td { (p(row.wilcoxon)) }
                td { (p(row.corrected)) }
            } } }
        } }))
    })
}
