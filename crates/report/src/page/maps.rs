//! Where models put test images, and what the triggers look like.

use std::ops::Range;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use record::evidence::map::{EmbeddingMap, IMAGES};
use record::{CellId, View};

use super::figure::{Axes, Drawn, Figure, Key, Look, SQUARE, Series, beside, draw, legend};
use super::input::{CHOSEN, Page};

/// The maps of an attack with what each shows: the unpoisoned model's, then one for each family of defenses, all of the
/// first seed that has one.
fn of_attack<'a>(page: &Page<'a>, attack: &str) -> Vec<(String, &'a EmbeddingMap)> {
    let first = |trained: &str, defense: &str| {
        page.design().seeds.iter().find_map(|seed| {
            let cell = CellId::new(trained, defense, *seed);
            page.maps.get(&View { cell, trigger: attack.to_owned(), epoch: None })
        })
    };
    let (unpoisoned, undefended) = (page.design().unpoisoned(), page.design().undefended());
    let mut found = Vec::new();
    if let (Some(unpoisoned), Some(undefended)) = (unpoisoned, undefended)
        && let Some(map) = first(&unpoisoned.label, &undefended.label)
    {
        found.push(("unpoisoned model".to_owned(), map));
    }
    for label in page.settings_shown(attack) {
        if let Some(map) = first(attack, label) {
            let before = undefended.is_some_and(|defense| defense.label == label);
            found.push((if before { "undefended".to_owned() } else { label.to_owned() }, map));
        }
    }
    found
}

/// The places on a map that are drawn with one mark: all of `places` where `of_target` is as `wanted`, if that matters.
fn some(places: &[[f32; 2]], of_target: &[bool], wanted: Option<bool>) -> Vec<(f64, f64)> {
    let own = places.iter().zip(of_target).filter(|(_, of)| wanted.is_none_or(|wanted| wanted == **of));
    own.map(|([x, y], _)| (f64::from(*x), f64::from(*y))).collect()
}

/// Between what the places on a map lie, along `axis`.
fn edges(map: &EmbeddingMap, axis: usize) -> Range<f64> {
    let places = map.clean.iter().chain(&map.triggered).map(|place| f64::from(place[axis]));
    let (low, high) =
        places.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    low..high
}

fn distance(a: &[(f64, f64)], b: &[(f64, f64)]) -> f64 {
    let center = |places: &[(f64, f64)]| {
        let sum = places.iter().fold((0.0, 0.0), |(x, y), place| (x + place.0, y + place.1));
        (sum.0 / places.len() as f64, sum.1 / places.len() as f64)
    };
    let ((x, y), (other_x, other_y)) = (center(a), center(b));
    (x - other_x).hypot(y - other_y)
}

/// A map; `span` is how much of the plane it shows each way.
fn figure((name, map): &(String, &EmbeddingMap), attack: &str, span: f64) -> Result<Figure> {
    let clean = some(&map.clean, &map.of_target, Some(false));
    let target = some(&map.clean, &map.of_target, Some(true));
    let triggered = some(&map.triggered, &map.of_target, None);
    let description = format!(
        "the centre of the triggered images lies {:.2} from that of the clean ones and {:.2} from that of the target class",
        distance(&triggered, &clean),
        distance(&triggered, &target)
    );
    let series = [(0, clean, Look::Faint(0.45)), (1, triggered, Look::Faint(0.45)), (3, target, Look::Plain)];
    let series = series.map(|(style, points, look)| Series { style, look, points, line: Vec::new() });
    let around = |Range { start, end }: Range<f64>| {
        let middle = (start + end) / 2.0;
        middle - span / 2.0..middle + span / 2.0
    };
    let axes = Axes { size: SQUARE, x: around(edges(map, 0)), y: around(edges(map, 1)), names: None };
    let [x, y] = map.explained.map(|share| format!("{:.0}", share * 100.0));
    let (caption, note) = (format!("{attack}, {name}"), format!("{x} + {y} % of variance"));
    Ok(Figure { svg: draw(&series, &axes)?, caption, note, description })
}

type Maps = Vec<(String, Vec<Figure>)>;

/// The maps of each attack by its label, and what their marks mean.
fn drawn(page: &Page<'_>) -> Result<(Maps, Vec<Key>)> {
    let target = format!("clean {}", page.design().target);
    let names = [(0, "clean".to_owned()), (1, "triggered".to_owned()), (3, target)];
    let key = |(style, name)| Key { style, look: Look::Plain, name };
    let mut all = Vec::new();
    for attack in page.design().poisoned() {
        let maps = of_attack(page, &attack.label);
        let widths = maps.iter().flat_map(|(_, map)| [edges(map, 0), edges(map, 1)]);
        let span = widths.map(|edges| edges.end - edges.start).fold(0.0, f64::max) * 1.08;
        let span = if span > 0.0 { span } else { 1.0 };
        let figures = maps.iter().map(|map| figure(map, &attack.label, span)).collect::<Result<Vec<_>>>()?;
        if !figures.is_empty() {
            all.push((attack.label.clone(), figures));
        }
    }
    Ok((all, names.map(key).into()))
}

/// The same as figures that stand alone.
pub(super) fn drawn_alone(page: &Page<'_>) -> Result<Drawn> {
    let (all, legend) = drawn(page)?;
    Ok(Drawn { figures: all.into_iter().flat_map(|(_, figures)| figures).collect(), legend })
}

pub(super) fn maps(page: &Page<'_>) -> Result<Option<Markup>> {
    let (all, keys) = drawn(page)?;
    if all.is_empty() {
        return Ok(None);
    }
    Ok(Some(html! {
        p { "Where a model puts test images of the first set (at most " (IMAGES) "): their normalised features on the first two principal components of clean and triggered ones together. Each model has components of its own, so that distances within a map count and places do not; maps of one attack have one scale. Lines meet at the middle of all. First seed. " (CHOSEN) }
        (legend(&keys)?)
        @for (index, (attack, figures)) in all.iter().enumerate() {
            h3 { (attack) }
            div class="small" { (beside(figures, &format!("map-{index}"))) }
        }
    }))
}

pub(super) fn triggers(page: &Page<'_>) -> Option<Markup> {
    let uri = |png: &[u8]| format!("data:image/png;base64,{}", STANDARD.encode(png));
    let sides = [
        ("clean", "clean"),
        ("triggered", "triggered"),
        ("difference × 10", "ten times the difference, around grey"),
    ];
    // Attacks that differ in something else than their trigger have one row of pictures.
    let mut rows: Vec<(Vec<&str>, &[_])> = Vec::new();
    for row in page.gallery {
        match rows.iter_mut().find(|(_, images)| *images == row.images) {
            Some((attacks, _)) => attacks.push(&row.attack),
            None => rows.push((vec![&row.attack], &row.images)),
        }
    }
    (!rows.is_empty()).then(|| html! {
        p { "The first test images as a model sees them: clean, with the trigger, and ten times what the trigger changes, around grey." }
        @for (attacks, images) in &rows {
            table class="gallery" {
                caption { (attacks.join(", ")) }
                tbody { @for (at, (name, words)) in sides.iter().enumerate() { tr {
                    th scope="row" { (name) }
                    @for (number, images) in images.iter().enumerate() { td {
                        img src=(uri(&images[at])) alt=(format!("{}, image {}: {words}", attacks[0], number + 1));
                    } }
                } } }
            }
        }
    })
}
