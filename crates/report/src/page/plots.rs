//! Frontiers, trajectories and histograms of a record.

use std::collections::BTreeMap;

use anyhow::Result;
use maud::{Markup, html};
use record::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY};
use record::statistics::mean;
use record::{CellId, Method};

use super::figure::{Axes, Drawn, Figure, Key, Look, SMALL, Series, WIDE, beside, draw, legend};
use super::input::{CHOSEN, Page, Published, REMOVED};
use super::tables::{kept, table};
use crate::frontier::front;

/// Clean accuracy and success rate, in percent, of every model of an attack under its own trigger on the set judged,
/// by label of the defense, seed and epoch (none: the last).
fn models(page: &Page<'_>, attack: &str) -> BTreeMap<(String, u64, Option<usize>), [Option<f64>; 2]> {
    let test = page.design().judged();
    let mut models = BTreeMap::new();
    let own = |row: &&record::Row| row.attack == attack && row.trigger == attack && row.test_set == test;
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
    page.design().families().into_iter().enumerate().map(key).collect()
}

/// Published points of an attack that belong to a family of the plan, with the family's number.
pub(super) fn published<'a>(page: &Page<'a>, attack: &Method) -> Vec<(usize, &'a Published)> {
    let families = page.design().families();
    let style = |defense: &str| {
        let own = page.design().defenses.iter().find(|own| own.name == defense)?;
        families.iter().position(|family| *family == own.family)
    };
    let points = page.published.iter().filter(|point| point.attack == attack.name);
    points.filter_map(|point| Some((style(point.defense)?, point))).collect()
}

pub(super) fn drawn_frontiers(page: &Page<'_>) -> Result<Drawn> {
    let (families, mut legend) = (page.design().families(), families_key(page));
    let (mut figures, mut known) = (Vec::new(), Vec::new());
    if page.design().defenses.iter().all(Method::is_baseline) {
        return Ok(Drawn { figures, legend });
    }
    for attack in page.design().poisoned() {
        let models = models(page, &attack.label);
        let (mut series, mut words, mut highest) = (Vec::new(), Vec::new(), 1.0f64);
        for (style, family) in families.iter().enumerate() {
            let of_family = |label: &str| page.design().family(family).any(|own| own.label == label);
            let own = models.iter().filter(|((label, ..), _)| of_family(label));
            let points: Vec<(f64, f64)> = own.filter_map(|(_, [x, y])| Some(((*x)?, (*y)?))).collect();
            highest = points.iter().fold(highest, |highest, (accuracy, _)| highest.max(*accuracy));
            let removed = points.iter().filter(|(_, success)| *success <= REMOVED * 100.0);
            let kept = removed.map(|(accuracy, _)| *accuracy).reduce(f64::max);
            let kept = kept.map_or("none".to_owned(), |kept| format!("{kept:.1} %"));
            let count = points.len();
            words.push(format!(
                "{family}: {count} models, highest clean accuracy at ASR of at most 10 %: {kept}"
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
        let scale = page.published.first().map_or("", |point| point.scale);
        let name = format!("{family}, published: {scale}");
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
        page.design().poisoned().flat_map(|attack| published(page, attack)).map(|(_, point)| point).collect();
    Ok(Some(html! {
        p { "Every model of every seed, setting and epoch; lines join those that no other of the same defense beats in both, over all seeds. Better is down and to the right." }
        (legend(&drawn.legend)?)
        (beside(&drawn.figures, "frontier"))
        @if let Some(kept) = kept(page) { (kept) }
        @if !known.is_empty() {
            details { summary { "Where the published points come from" }
                p { "Large outlines: models of another size, other training data, other classes. They show the shape of a frontier, not a value to be met." }
                (table("published points", &["attack", "defense", "CA, %", "ASR, %", "setting", "source"], 2,
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
    let own: Vec<_> = page.design().family(family).collect();
    let place = own.iter().position(|defense| defense.label == label).unwrap_or(0);
    match own.len() {
        0 | 1 => Look::Plain,
        count => Look::Faint(0.35 + 0.65 * place as f64 / (count - 1) as f64),
    }
}

pub(super) fn drawn_trajectories(page: &Page<'_>) -> Result<Drawn> {
    let (families, mut figures) = (page.design().families(), Vec::new());
    let Some(last) = page.rows.iter().filter_map(|row| row.epoch).max() else {
        return Ok(Drawn { figures, legend: Vec::new() });
    };
    for attack in page.design().poisoned() {
        let models = models(page, &attack.label);
        for (axis, name) in ["clean accuracy, %", "attack success rate, %"].into_iter().enumerate() {
            let (mut series, mut words) = (Vec::new(), Vec::new());
            for defense in &page.design().defenses {
                let Some(style) = families.iter().position(|family| *family == defense.family) else {
                    continue;
                };
                let mut epochs: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
                let own = models.iter().filter(|((label, ..), _)| *label == defense.label);
                for ((_, _, epoch), values) in own {
                    // What is measured after the last epoch stands there as the end.
                    epochs.entry(epoch.unwrap_or(last + 1)).or_default().extend(values[axis]);
                }
                let point = |(epoch, values): (&usize, &Vec<f64>)| Some((*epoch as f64, mean(values)?));
                let line: Vec<(f64, f64)> = epochs.iter().filter_map(point).collect();
                if let (Some((_, from)), Some((_, to))) = (line.first(), line.last()) {
                    words.push(format!("{}: from {from:.1} to {to:.1}", defense.label));
                }
                let look = strength(page, &defense.label, &defense.family);
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
    let test = page.design().judged();
    for attack in page.design().poisoned() {
        for defense in page.settings_shown(&attack.label) {
            let scores = scores(page, &attack.label, defense, test);
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
            let names = [format!("score of {}", page.design().target), "images, %".to_owned()];
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
        p { "How near test images come to the target class, clean and with the trigger (cosine similarities, or logits of a trained head), all seeds. " (CHOSEN) }
        (legend(&drawn.legend)?)
        div class="middle" { (beside(&drawn.figures, "similarity")) }
    }))
}

/// Scores of the target class on clean and triggered images of a cell, over all seeds.
fn scores(page: &Page<'_>, attack: &str, defense: &str, set: &str) -> [Vec<f64>; 2] {
    let mut scores = [Vec::new(), Vec::new()];
    for seed in &page.design().seeds {
        let view = CellId::new(attack, defense, *seed).final_view();
        let Some(own) = page.scores.get(&(view, set.to_owned())) else { continue };
        scores.iter_mut().zip(own).for_each(|(all, own)| all.extend(own));
    }
    scores
}
