//! The sections of a page; each is nothing where the record has nothing for it.

use std::collections::BTreeMap;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, PreEscaped, html};
use polars::prelude::DataFrame;

use super::Page;
use super::figure::{Axes, Series, color, draw, mark};
use crate::coverage::Coverage;
use crate::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY, Direction};
use crate::record::Row;
use crate::report::{Mean, SUPPORTED_BELOW, Verdict, cell_name, families, found, interval, judge, short};
use crate::run::BASELINE;

fn percent(value: f64) -> String {
    format!("{:.1}", value * 100.0)
}

/// A mean as a cell of a heat map.
fn heat(mean: Option<Mean>, kind: &str) -> Markup {
    let Some(Mean { mean, deviation, seeds }) = mean else { return html! { td { "–" } } };
    let title = if seeds == 1 { "one seed".to_owned() } else { format!("mean of {seeds} seeds") };
    html! {
        td class=(format!("heat {kind}")) style=(format!("--value:{:.3}", mean.clamp(0.0, 1.0))) title=(title) {
            (percent(mean))
            @if let Some(deviation) = deviation { " ± " (percent(deviation)) }
        }
    }
}

pub(super) fn claims(page: &Page<'_>) -> Option<Markup> {
    let judged = judge(page.plan, page.summary);
    let claims: Vec<_> = judged.chunk_by(|a, b| std::ptr::eq(a.claim, b.claim)).collect();
    (!judged.is_empty()).then(|| {
        html! {
            div class="wide" { table {
                thead { tr { @for name in ["claim", "cell", "metric", "found, %", "90 % interval", "band, %", "verdict"] { th scope="col" { (name) } } } }
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
            } }
        }
    })
}

fn whole(value: f64) -> String {
    format!("{:.0}", value * 100.0)
}

pub(super) fn grid(page: &Page<'_>) -> Option<Markup> {
    let (plan, summary) = (page.plan, page.summary);
    let value = |attack: &str, defense: &str, set: &str, metric: &str| {
        summary.get(attack, defense, attack, set, metric)
    };
    Some(html! {
        @for set in &plan.tests { div class="wide" { table {
            caption { (set.label) ": clean accuracy (CA, higher is better) and attack success rate (ASR, lower is better) in percent" }
            thead {
                tr { th rowspan="2" scope="col" { "defense" } @for attack in &plan.attacks { th colspan="2" scope="colgroup" { (attack.label) } } }
                tr { @for _ in &plan.attacks { th scope="col" { "CA ↑" } th scope="col" { "ASR ↓" } } }
            }
            tbody { @for defense in &plan.defenses { tr {
                th scope="row" { (defense.label) }
                @for attack in &plan.attacks {
                    (heat(value(&attack.label, &defense.label, &set.label, CLEAN_ACCURACY), "accuracy"))
                    (heat(value(&attack.label, &defense.label, &set.label, ATTACK_SUCCESS_RATE), "success"))
                }
            } } }
        } } }
        @for note in summary.data.iter().filter_map(Coverage::note) { p { "Data: " (note) "." } }
        @for (attack, defense, seed, message) in &summary.failures {
            p class="bad" { (attack) "::" (defense) "::seed-" (seed) " failed: " (message) }
        }
    })
}

pub(super) fn compared(page: &Page<'_>) -> Option<Markup> {
    let (against, compared) = page.compared?;
    Some(html! {
        p { "Each defense less " (against) ", in points, over pairs of the same attack and seed whose attack implanted. "
            "Supported (bold): Wilcoxon's exact p below " (SUPPORTED_BELOW) " after Holm's correction." }
        div class="wide" { table {
            thead { tr { @for name in ["defense", "quantity", "pairs", "difference", "95 % interval", "p", "corrected"] {
                th scope="col" { (name) } } } }
            tbody { @for row in compared { tr {
                th scope="row" { (row.defense) }
                td class="words" { (row.quantity) (if row.better == Direction::Higher { " ↑" } else { " ↓" }) }
                td { (row.differences.len()) @if row.left_out > 0 { " of " (row.differences.len() + row.left_out) } }
                td class=(if row.supported() { "bad" } else { "" }) {
                    (crate::statistics::mean(&row.differences).map_or("–".to_owned(), |mean| format!("{:+.1}", mean * 100.0)))
                }
                td { @if let Some([low, high]) = row.interval { (format!("{:+.1} to {:+.1}", low * 100.0, high * 100.0)) } @else { "–" } }
                td { (row.wilcoxon.map_or("–".to_owned(), |p| format!("{p:.3}"))) }
                td { (row.corrected.map_or("–".to_owned(), |p| format!("{p:.3}"))) }
            } } }
        } }
    })
}

/// Names, marks and colours of the families of defenses.
fn legend(names: &[&str]) -> Markup {
    html! { ul class="legend" { @for (index, name) in names.iter().enumerate() {
        li { span style=(format!("color:{}", color(index))) aria-hidden="true" { (mark(index)) } " " (name) }
    } } }
}

fn figure(svg: &str, caption: &str) -> Markup {
    html! { figure { div role="img" aria-label=(caption) { (PreEscaped(svg)) } figcaption { (caption) } } }
}

/// Clean accuracy and success rate of every model of an attack under its own trigger on the set judged, by label of
/// the defense, seed and epoch (none: the last).
fn models(page: &Page<'_>, attack: &str) -> BTreeMap<(String, u64, Option<usize>), [Option<f64>; 2]> {
    let test = page.plan.tests.first().map_or("", |test| test.label.as_str());
    let mut models = BTreeMap::new();
    let own = |row: &&Row| row.attack == attack && row.trigger == attack && row.test_set == test;
    for row in page.rows.iter().filter(own) {
        let axis = match row.metric.as_str() {
            CLEAN_ACCURACY => 0,
            ATTACK_SUCCESS_RATE => 1,
            _ => continue,
        };
        let place = (row.defense.clone(), row.seed, row.epoch);
        models.entry(place).or_insert([None; 2])[axis] = row.value.map(|value| value * 100.0);
    }
    models
}

/// The staircase of points that no other beats in both: accuracy up, success rate down.
fn front(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a.1.total_cmp(&b.1).then(b.0.total_cmp(&a.0)));
    let mut front: Vec<(f64, f64)> = Vec::new();
    for (accuracy, success) in sorted {
        match front.last().copied() {
            Some((best, _)) if accuracy <= best => {}
            Some((best, _)) => front.extend([(best, success), (accuracy, success)]),
            None => front.push((accuracy, success)),
        }
    }
    front
}

/// Figures with what each shows, and the names of their series.
pub(super) struct Drawn<'a> {
    pub(super) figures: Vec<(String, String)>,
    pub(super) series: Vec<&'a str>,
}

pub(super) fn drawn_frontiers<'a>(page: &Page<'a>) -> Result<Drawn<'a>> {
    let (plan, families) = (page.plan, families(page.plan));
    let mut figures = Vec::new();
    for attack in plan.attacks.iter().filter(|attack| attack.entry.card.name != BASELINE) {
        let models = models(page, &attack.label);
        let highest = models.values().filter_map(|[accuracy, _]| *accuracy).fold(1.0, f64::max);
        let mut series = Vec::new();
        for (index, family) in families.iter().enumerate() {
            let own = models.iter().filter(|((label, ..), _)| label.split('[').next() == Some(family));
            let points: Vec<(f64, f64)> = own.filter_map(|(_, [x, y])| Some(((*x)?, (*y)?))).collect();
            series.push((index, Series { line: front(&points), points }));
        }
        let axes = Axes {
            x: ("clean accuracy, %".into(), 0.0..highest * 1.05),
            y: ("attack success rate, %".into(), 0.0..102.0),
        };
        figures.push((draw(&series, axes)?, attack.label.clone()));
    }
    Ok(Drawn { figures, series: families })
}

pub(super) fn frontiers(page: &Page<'_>) -> Result<Option<Markup>> {
    let Drawn { figures, series } = drawn_frontiers(page)?;
    Ok((!figures.is_empty()).then(|| html! {
        p { "Every model of every seed, setting and epoch; lines join those that no other of the same defense beats in both, over all seeds. Better is down and to the right." }
        (legend(&series))
        div class="figures" { @for (svg, attack) in &figures { (figure(svg, attack)) } }
    }))
}

pub(super) fn drawn_trajectories<'a>(page: &Page<'a>) -> Result<Drawn<'a>> {
    let (plan, families) = (page.plan, families(page.plan));
    let mut figures = Vec::new();
    let Some(last) = page.rows.iter().filter_map(|row| row.epoch).max() else {
        return Ok(Drawn { figures, series: families });
    };
    for attack in plan.attacks.iter().filter(|attack| attack.entry.card.name != BASELINE) {
        let models = models(page, &attack.label);
        for (axis, words) in ["clean accuracy, %", "attack success rate, %"].into_iter().enumerate() {
            let mut series = Vec::new();
            for defense in &plan.defenses {
                let Some(index) = families.iter().position(|family| *family == defense.family()) else {
                    continue;
                };
                let mut epochs: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
                for ((_, _, epoch), values) in
                    models.iter().filter(|((label, ..), _)| *label == defense.label)
                {
                    // What is measured after the last epoch stands there as the end.
                    let epoch = epoch.unwrap_or(last + 1);
                    epochs.entry(epoch).or_default().extend(values[axis]);
                }
                let mean = |(epoch, values): (&usize, &Vec<f64>)| {
                    Some((*epoch as f64, crate::statistics::mean(values)?))
                };
                let line: Vec<(f64, f64)> = epochs.iter().filter_map(mean).collect();
                series.push((index, Series { points: line.clone(), line }));
            }
            let axes = Axes {
                x: ("epoch of the defense".into(), 1.0..last as f64 + 1.0),
                y: (words.into(), 0.0..102.0),
            };
            figures.push((draw(&series, axes)?, format!("{}: {words}", attack.label)));
        }
    }
    Ok(Drawn { figures, series: families })
}

pub(super) fn trajectories(page: &Page<'_>) -> Result<Option<Markup>> {
    let Drawn { figures, series } = drawn_trajectories(page)?;
    Ok((!figures.is_empty()).then(|| {
        html! {
            p { "What a defense does epoch by epoch: a line for each of its settings, means over seeds." }
            (legend(&series))
            div class="figures" { @for (svg, caption) in &figures { (figure(svg, caption)) } }
        }
    }))
}

pub(super) fn triggers(page: &Page<'_>) -> Option<Markup> {
    let uri = |png: &[u8]| format!("data:image/png;base64,{}", STANDARD.encode(png));
    (!page.gallery.is_empty()).then(|| html! {
        p { "Clean, triggered, and ten times what the trigger changes, around grey." }
        @for row in page.gallery {
            h3 { (row.attack) }
            @for (at, words) in ["clean", "triggered", "change times ten"].into_iter().enumerate() {
                div class="gallery" { @for (number, images) in row.images.iter().enumerate() {
                    img src=(uri(&images[at])) alt=(format!("{}, image {}, {words}", row.attack, number + 1));
                } }
            }
        }
    })
}

/// Bins of a histogram.
const BINS: usize = 40;

/// Shares of values by bin, as a line.
fn histogram(values: &[f64], [low, high]: [f64; 2]) -> Vec<(f64, f64)> {
    let width = (high - low).max(f64::MIN_POSITIVE) / BINS as f64;
    let mut counts = vec![0usize; BINS];
    for value in values {
        counts[(((value - low) / width) as usize).min(BINS - 1)] += 1;
    }
    let share = |count: usize| 100.0 * count as f64 / values.len().max(1) as f64;
    counts
        .into_iter()
        .enumerate()
        .map(|(bin, count)| (low + (bin as f64 + 0.5) * width, share(count)))
        .collect()
}

pub(super) fn drawn_similarities<'a>(page: &Page<'a>) -> Result<Drawn<'a>> {
    let plan = page.plan;
    let mut drawn = Drawn { figures: Vec::new(), series: vec!["clean", "triggered"] };
    let Some(test) = plan.tests.first() else { return Ok(drawn) };
    // One setting of each defense: all of a sweep would fill pages.
    let shown: Vec<&str> = families(plan)
        .into_iter()
        .filter_map(|family| plan.defenses.iter().find(|defense| defense.family() == family))
        .map(|defense| defense.label.as_str())
        .collect();
    for attack in plan.attacks.iter().filter(|attack| attack.entry.card.name != BASELINE) {
        for defense in &shown {
            let scores = scores(page.evidence, &attack.label, defense, &test.label)?;
            let all = scores.iter().flatten();
            let (low, high) =
                all.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
            if low > high {
                continue; // failed, or without evidence
            }
            let lines = scores.map(|values| histogram(&values, [low, high]));
            let top = lines.iter().flatten().map(|(_, share)| *share).fold(1.0, f64::max);
            let series: Vec<_> =
                lines.into_iter().map(|line| Series { points: Vec::new(), line }).enumerate().collect();
            let axes = Axes {
                x: (format!("score of {}", plan.target), low..high),
                y: ("images, %".into(), 0.0..top * 1.05),
            };
            drawn.figures.push((draw(&series, axes)?, format!("{} after {defense}", attack.label)));
        }
    }
    Ok(drawn)
}

pub(super) fn similarities(page: &Page<'_>) -> Result<Option<Markup>> {
    let Drawn { figures, series } = drawn_similarities(page)?;
    Ok((!figures.is_empty()).then(|| html! {
        p { "How near test images come to the target class, clean and with the trigger (cosine similarities, or logits of a trained head); all seeds." }
        (legend(&series))
        div class="figures" { @for (svg, caption) in &figures { (figure(svg, caption)) } }
    }))
}

/// Scores of the target of a cell's images, clean and triggered.
fn scores(evidence: &DataFrame, attack: &str, defense: &str, set: &str) -> Result<[Vec<f64>; 2]> {
    let mut scores = [Vec::new(), Vec::new()];
    if evidence.height() == 0 {
        return Ok(scores);
    }
    let words = |name: &str| -> Result<Vec<&str>> {
        Ok(evidence.column(name)?.str()?.iter().map(Option::unwrap_or_default).collect())
    };
    let (attacks, defenses, triggers, sets) =
        (words("attack")?, words("defense")?, words("trigger")?, words("test_set")?);
    for (values, name) in scores.iter_mut().zip(["clean_target_score", "triggered_target_score"]) {
        for (row, value) in evidence.column(name)?.f32()?.iter().enumerate() {
            if attacks[row] == attack
                && triggers[row] == attack
                && defenses[row] == defense
                && sets[row] == set
            {
                values.extend(value.map(f64::from));
            }
        }
    }
    Ok(scores)
}

pub(super) fn cells(page: &Page<'_>) -> Option<Markup> {
    let settings = |value: &serde_json::Value| serde_json::to_string_pretty(value).unwrap_or_default();
    let plan = page.plan;
    let mut evidence: BTreeMap<(&str, &str, u64), &str> = BTreeMap::new();
    for row in page.rows.iter().filter(|row| row.epoch.is_none() && row.trigger == row.attack) {
        evidence.insert((&row.attack, &row.defense, row.seed), &row.evidence);
    }
    Some(html! {
        @for attack in &plan.attacks { details { summary { "attack " (attack.label) ": settings" } pre { (settings(&attack.settings)) } } }
        @for defense in &plan.defenses { details { summary { "defense " (defense.label) ": settings" } pre { (settings(&defense.settings)) } } }
        details { summary { "evidence of each cell" }
            div class="wide" { table {
                thead { tr { th scope="col" { "cell" } th scope="col" { "key of its evidence" } } }
                tbody { @for ((attack, defense, seed), key) in &evidence { tr {
                    th scope="row" { (attack) "::" (defense) "::seed-" (seed) }
                    td class="words" { code { (key) } }
                } } }
            } }
        }
    })
}

pub(super) fn record(page: &Page<'_>) -> Option<Markup> {
    Some(html! {
        h3 { "To make it again" }
        pre { "cleanbench run plan.resolved.yaml --record again\ncleanbench report " (page.name) " --rescore" }
        h3 { "Where it ran" }
        pre { (page.environment) }
    })
}
