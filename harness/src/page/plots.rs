//! Frontiers, trajectories and histograms of a record.

use std::collections::BTreeMap;

use anyhow::Result;
use maud::{Markup, html};
use polars::prelude::DataFrame;

use super::Page;
use super::figure::{Axes, Drawn, Figure, Key, Look, SMALL, Series, WIDE, beside, draw, legend};
use crate::contract::Attack;
use crate::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY};
use crate::plan::Choice;
use crate::report::{chooser, families, front};
use crate::run::BASELINE;
use crate::statistics::mean;

/// The attacks of a plan that attack.
pub(super) fn attacks<'a>(page: &Page<'a>) -> impl Iterator<Item = &'a Choice<Attack>> + use<'a> {
    page.plan.attacks.iter().filter(|attack| attack.entry.card.name != BASELINE)
}

/// Success rate below which a setting counts as one that removes a backdoor, in the choice of what is shown.
const REMOVED: f64 = 0.10;

/// One label for each family of defenses; of a sweep the setting that keeps the most clean accuracy at a success rate
/// of at most [`REMOVED`] after its last epoch, or else has the lowest success rate: means over seeds, on the set that
/// models are chosen on.
pub(super) fn settings_shown<'a>(page: &Page<'a>, attack: &str) -> Vec<&'a str> {
    let set = chooser(page.plan).map_or_else(String::new, |(set, _)| set);
    let shown = |family: &str| {
        let labels = page.plan.defenses.iter().filter(|defense| defense.family() == family);
        let values =
            labels.map(|defense| (defense.label.as_str(), page.summary.pair(attack, &defense.label, &set)));
        let rank = |(_, pair): &(&str, Option<_>)| match pair {
            None => (0, 0.0),
            Some((accuracy, success)) => {
                let (accuracy, success): (&crate::report::Mean, &crate::report::Mean) = (accuracy, success);
                if success.mean <= REMOVED { (2, accuracy.mean) } else { (1, -success.mean) }
            }
        };
        // The first of those that are as good.
        let best = values.reduce(|best, other| {
            let order = rank(&other).0.cmp(&rank(&best).0).then(rank(&other).1.total_cmp(&rank(&best).1));
            if order.is_gt() { other } else { best }
        });
        best.map(|(label, _)| label)
    };
    families(page.plan).into_iter().filter_map(shown).collect()
}

/// Clean accuracy and success rate, in percent, of every model of an attack under its own trigger on the set judged,
/// by label of the defense, seed and epoch (none: the last).
fn models(page: &Page<'_>, attack: &str) -> BTreeMap<(String, u64, Option<usize>), [Option<f64>; 2]> {
    let test = page.plan.tests.first().map_or("", |test| test.label.as_str());
    let mut models = BTreeMap::new();
    let own =
        |row: &&crate::record::Row| row.attack == attack && row.trigger == attack && row.test_set == test;
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
fn staircase(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let points = points.iter().map(|(accuracy, success)| ([*accuracy, *success], ()));
    let mut stairs: Vec<(f64, f64)> = Vec::new();
    for ([accuracy, success], ()) in front(points.collect()) {
        stairs.extend(stairs.last().map(|(best, _)| (*best, success)));
        stairs.push((accuracy, success));
    }
    stairs
}

/// A legend of all families.
fn families_key(page: &Page<'_>) -> Vec<Key> {
    let key = |(style, family): (usize, &str)| Key { style, look: Look::Plain, name: family.to_owned() };
    families(page.plan).into_iter().enumerate().map(key).collect()
}

/// Published points of an attack that belong to a family of the plan, with the family's number.
pub(super) fn published<'a>(page: &Page<'a>, attack: &Choice<Attack>) -> Vec<(usize, &'a super::Published)> {
    let families = families(page.plan);
    let style = |defense: &str| {
        let own = page.plan.defenses.iter().find(|choice| choice.entry.card.name == defense)?;
        families.iter().position(|family| *family == own.family())
    };
    let points = page.published.iter().filter(|point| point.attack == attack.entry.card.name);
    points.filter_map(|point| Some((style(point.defense)?, point))).collect()
}

pub(super) fn drawn_frontiers(page: &Page<'_>) -> Result<Drawn> {
    let (families, mut legend) = (families(page.plan), families_key(page));
    let (mut figures, mut known) = (Vec::new(), Vec::new());
    if page.plan.defenses.iter().all(|defense| defense.entry.card.name == BASELINE) {
        return Ok(Drawn { figures, legend });
    }
    for attack in attacks(page) {
        let models = models(page, &attack.label);
        let (mut series, mut words, mut highest) = (Vec::new(), Vec::new(), 1.0f64);
        for (style, family) in families.iter().enumerate() {
            let own = models.iter().filter(|((label, ..), _)| label.split('[').next() == Some(family));
            let points: Vec<(f64, f64)> = own.filter_map(|(_, [x, y])| Some(((*x)?, (*y)?))).collect();
            highest = points.iter().fold(highest, |highest, (accuracy, _)| highest.max(*accuracy));
            let removed = points.iter().filter(|(_, success)| *success <= REMOVED * 100.0);
            let kept = removed.map(|(accuracy, _)| *accuracy).reduce(f64::max);
            let kept = kept.map_or("none".to_owned(), |kept| format!("{kept:.1} %"));
            words.push(format!(
                "{family}: {} models, highest clean accuracy at ASR of at most 10 %: {kept}",
                points.len()
            ));
            let look = if points.len() > 40 { Look::Faint(0.5) } else { Look::Plain };
            series.push(Series { style, look: Look::Plain, line: staircase(&points), points: Vec::new() });
            series.push(Series { style, look, line: Vec::new(), points });
        }
        for (style, point) in published(page, attack) {
            let (x, y) = (point.clean_accuracy * 100.0, point.attack_success_rate * 100.0);
            words.push(format!("published for {}: {x:.1} / {y:.1} %", point.defense));
            highest = highest.max(x);
            known.push(style);
            series.push(Series { style, look: Look::Hollow, points: vec![(x, y)], line: Vec::new() });
        }
        let names = ["clean accuracy, %", "attack success rate, %"].map(str::to_owned);
        let axes = Axes { size: WIDE, x: 0.0..highest * 1.05, y: 0.0..102.0, names: Some(names) };
        let (svg, caption) = (draw(&series, &axes)?, attack.label.clone());
        figures.push(Figure { svg, caption, note: String::new(), description: words.join("; ") });
    }
    for (style, family) in families.iter().enumerate().filter(|(style, _)| known.contains(style)) {
        let name = format!("{family}, published: RN50, CC3M, ImageNet; not ours");
        legend.push(Key { style, look: Look::Hollow, name });
    }
    Ok(Drawn { figures, legend })
}

pub(super) fn frontiers(page: &Page<'_>) -> Result<Option<Markup>> {
    let drawn = drawn_frontiers(page)?;
    if drawn.figures.is_empty() {
        return Ok(None);
    }
    let known: Vec<_> =
        attacks(page).flat_map(|attack| published(page, attack)).map(|(_, point)| point).collect();
    Ok(Some(html! {
        p { "Every model of every seed, setting and epoch; lines join those that no other of the same defense beats in both, over all seeds. Better is down and to the right." }
        (legend(&drawn.legend)?)
        (beside(&drawn.figures, "frontier"))
        @if let Some(kept) = super::tables::kept(page) { (kept) }
        @if !known.is_empty() {
            details { summary { "Where the published points come from" }
                p { "Large outlines: models of another size, other training data, other classes. They show the shape of a frontier, not a value to be met." }
                (super::tables::table("published points", &["attack", "defense", "CA, %", "ASR, %", "setting", "source"], 2,
                    known.iter().map(|point| vec![
                        point.attack.to_owned(), point.defense.to_owned(),
                        format!("{:.2}", point.clean_accuracy * 100.0), format!("{:.2}", point.attack_success_rate * 100.0),
                        point.setting.to_owned(), point.source.to_owned(),
                    ]).collect()))
            }
        }
    }))
}

/// The strength of the lines of a family with several settings: from faint to full in the order of the plan.
fn strength(page: &Page<'_>, label: &str, family: &str) -> Look {
    let own: Vec<_> = page.plan.defenses.iter().filter(|defense| defense.family() == family).collect();
    let place = own.iter().position(|defense| defense.label == label).unwrap_or(0);
    match own.len() {
        0 | 1 => Look::Plain,
        count => Look::Faint(0.35 + 0.65 * place as f64 / (count - 1) as f64),
    }
}

pub(super) fn drawn_trajectories(page: &Page<'_>) -> Result<Drawn> {
    let (families, mut figures) = (families(page.plan), Vec::new());
    let Some(last) = page.rows.iter().filter_map(|row| row.epoch).max() else {
        return Ok(Drawn { figures, legend: Vec::new() });
    };
    for attack in attacks(page) {
        let models = models(page, &attack.label);
        for (axis, name) in ["clean accuracy, %", "attack success rate, %"].into_iter().enumerate() {
            let (mut series, mut words) = (Vec::new(), Vec::new());
            for defense in &page.plan.defenses {
                let Some(style) = families.iter().position(|family| *family == defense.family()) else {
                    continue;
                };
                let mut epochs: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
                for ((_, _, epoch), values) in
                    models.iter().filter(|((label, ..), _)| *label == defense.label)
                {
                    // What is measured after the last epoch stands there as the end.
                    epochs.entry(epoch.unwrap_or(last + 1)).or_default().extend(values[axis]);
                }
                let point = |(epoch, values): (&usize, &Vec<f64>)| Some((*epoch as f64, mean(values)?));
                let line: Vec<(f64, f64)> = epochs.iter().filter_map(point).collect();
                if let (Some((_, from)), Some((_, to))) = (line.first(), line.last()) {
                    words.push(format!("{}: from {from:.1} to {to:.1}", defense.label));
                }
                let look = strength(page, &defense.label, defense.family());
                series.push(Series { style, look, points: line.clone(), line });
            }
            let names = ["epoch of the defense".to_owned(), name.to_owned()];
            let axes = Axes { size: WIDE, x: 0.8..last as f64 + 1.2, y: 0.0..102.0, names: Some(names) };
            let (svg, caption) = (draw(&series, &axes)?, format!("{}: {name}", attack.label));
            figures.push(Figure { svg, caption, note: String::new(), description: words.join("; ") });
        }
    }
    Ok(Drawn { figures, legend: families_key(page) })
}

pub(super) fn trajectories(page: &Page<'_>) -> Result<Option<Markup>> {
    let drawn = drawn_trajectories(page)?;
    if drawn.figures.is_empty() {
        return Ok(None);
    }
    Ok(Some(html! {
        p { "What a defense does epoch by epoch, means over seeds: a line for each of its settings, from faint to full in the order of the plan. A single point at the end was not looked at on the way." }
        (legend(&drawn.legend)?)
        (beside(&drawn.figures, "epochs"))
    }))
}

/// Bins of a histogram, and how many of them have one mark.
const BINS: usize = 40;
const MARKED: usize = 3;

/// Shares of values by bin.
fn histogram(values: &[f64], [low, high]: [f64; 2]) -> Vec<(f64, f64)> {
    let width = (high - low).max(f64::MIN_POSITIVE) / BINS as f64;
    let mut counts = vec![0usize; BINS];
    for value in values {
        counts[(((value - low) / width) as usize).min(BINS - 1)] += 1;
    }
    let share = |count: usize| 100.0 * count as f64 / values.len().max(1) as f64;
    let center = |bin: usize| low + (bin as f64 + 0.5) * width;
    counts.into_iter().enumerate().map(|(bin, count)| (center(bin), share(count))).collect()
}

const SIDES: [&str; 2] = ["clean", "triggered"];

pub(super) fn drawn_similarities(page: &Page<'_>) -> Result<Drawn> {
    let key = |(style, name): (usize, &str)| Key { style, look: Look::Plain, name: name.to_owned() };
    let legend = SIDES.into_iter().enumerate().map(key).collect();
    let mut drawn = Drawn { figures: Vec::new(), legend };
    let Some(test) = page.plan.tests.first() else { return Ok(drawn) };
    for attack in attacks(page) {
        for defense in settings_shown(page, &attack.label) {
            let scores = scores(page.evidence, &attack.label, defense, &test.label)?;
            let all = scores.iter().flatten();
            let (low, high) =
                all.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
            if low > high {
                continue; // failed, or without evidence
            }
            let middle = scores.each_ref().map(|values| mean(values).unwrap_or(f64::NAN));
            let lines = scores.map(|values| histogram(&values, [low, high]));
            let top = lines.iter().flatten().map(|(_, share)| *share).fold(1.0, f64::max);
            let series = lines.into_iter().enumerate().map(|(style, line)| {
                let points = line.iter().skip(style).step_by(MARKED).filter(|(_, share)| *share > 0.0);
                Series { style, look: Look::Plain, points: points.copied().collect(), line }
            });
            let names = [format!("score of {}", page.plan.target), "images, %".to_owned()];
            let axes = Axes { size: SMALL, x: low..high, y: 0.0..top * 1.05, names: Some(names) };
            let svg = draw(&series.collect::<Vec<_>>(), &axes)?;
            let caption = format!("{} after {defense}", attack.label);
            let description = format!("mean clean {:.3}, triggered {:.3}", middle[0], middle[1]);
            drawn.figures.push(Figure { svg, caption, note: String::new(), description });
        }
    }
    Ok(drawn)
}

pub(super) fn similarities(page: &Page<'_>) -> Result<Option<Markup>> {
    let drawn = drawn_similarities(page)?;
    if drawn.figures.is_empty() {
        return Ok(None);
    }
    Ok(Some(html! {
        p { "How near test images come to the target class, clean and with the trigger (cosine similarities, or logits of a trained head), all seeds. " (super::CHOSEN) }
        (legend(&drawn.legend)?)
        div class="middle" { (beside(&drawn.figures, "similarity")) }
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
