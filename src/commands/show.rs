//! `cleanbench show` and `cleanbench data show`: pictures to look at.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use base::{describe, errln, outln};
use clip::{BadSample, Image, Seed, pixels};
use contract::{Split, find};
use harness::trigger_sizes;
use plan::{Catalog, Plan};
use report::page::Gallery;

use super::fetch::remedy;
use super::load;
use crate::cli::{SceneOptions, ShowOptions};
use crate::{SUCCESS, user_error};

/// Images side by side in the gallery, and in the contact sheet, and its rows.
const GALLERY: usize = 8;
const SHEET: (usize, usize) = (10, 6);
/// Pixels between images.
const GAP: usize = 2;
/// Small images are enlarged to about this side.
const SHOWN_SIDE: usize = 96;
/// Differences are multiplied by this in the gallery.
const AMPLIFIED: i32 = 10;

/// What the trigger of an attack makes of some images, as a model sees them, and what it changes.
struct Stamped {
    attack: String,
    triggered: Vec<Image>,
    changed: Vec<Image>,
}

/// The first test images of a plan.
struct Shown {
    /// Widths and heights as they are stored, in pixels.
    sizes: Vec<[usize; 2]>,
    clean: Vec<Image>,
    attacks: Vec<Stamped>,
}

/// The first test images of a plan, clean and under every attack's trigger.
fn stamped(plan: &Plan) -> Result<Shown> {
    let test = plan.judged();
    let classes = test.build()?.classes.context("a test set has labelled images")?;
    let (resolution, seed) = (plan.model.image.resolution(), Seed::new(plan.data_seed).child("data"));
    let labelled = classes.images(plan.split, GALLERY, resolution, &seed)?;
    let images = (0..GALLERY).map(|index| Ok(labelled.image(index)?)).collect::<Result<Vec<_>>>()?;
    let seen = |image: &Image| Ok::<_, anyhow::Error>(pixels::crop(image, resolution)?);
    let clean = images.iter().map(seen).collect::<Result<Vec<_>>>()?;
    let seed = Seed::new(plan.seeds.first().copied().unwrap_or(0)).child("observe").child(&test.label);
    let sizes = images.iter().map(|image| [image.width(), image.height()]).collect();
    let mut attacks = Vec::new();
    for attack in &plan.attacks {
        let method = attack.build()?;
        let stamp = |(index, image)| seen(&method.trigger().stamp(image, &seed.at(index as u64))?);
        let triggered = images.iter().enumerate().map(stamp).collect::<Result<Vec<_>>>()?;
        let changed = clean.iter().zip(&triggered).map(|(before, after)| difference(before, after));
        let changed = changed.collect::<Result<Vec<_>>>()?;
        attacks.push(Stamped { attack: attack.label.clone(), triggered, changed });
    }
    Ok(Shown { sizes, clean, attacks })
}

/// Draws clean images in the first row, then for each attack the triggered ones and, below, what changed.
pub(crate) fn triggers(catalog: &Catalog, options: &ShowOptions) -> Result<u8> {
    let plan = load(catalog, options.plan.as_deref())?;
    let Shown { sizes, clean, attacks } = stamped(&plan)?;
    let mut rows = vec![clean];
    outln!("row 1: clean");
    for Stamped { attack, triggered, changed } in attacks {
        let (first, second) = (rows.len() + 1, rows.len() + 2);
        outln!("rows {first} and {second}: {attack}, and what it changes (x{AMPLIFIED})");
        rows.extend([triggered, changed]);
    }
    for trigger in trigger_sizes(&plan, &sizes)? {
        outln!("trigger of {}", trigger.in_words());
    }
    draw(&rows, &options.output)
}

/// The same for a page.
pub(crate) fn gallery(plan: &Plan) -> Result<Vec<Gallery>> {
    let Shown { clean, attacks, .. } = stamped(plan)?;
    let of = |Stamped { attack, triggered, changed }: Stamped| {
        let images = clean.iter().zip(triggered.iter().zip(&changed));
        let images = images.map(|(clean, (triggered, changed))| {
            Ok([clean.to_png()?, triggered.to_png()?, changed.to_png()?])
        });
        Ok(Gallery { attack, images: images.collect::<Result<_>>()? })
    };
    let is_changed = |image: &Image| image.rgb().iter().any(|level| *level != 128);
    let stamps = |stamped: &Stamped| stamped.changed.iter().any(is_changed);
    attacks.into_iter().filter(stamps).map(of).collect()
}

/// What changed, around grey.
fn difference(before: &Image, after: &Image) -> Result<Image> {
    let change = |(before, after): (&u8, &u8)| {
        (128 + (i32::from(*after) - i32::from(*before)) * AMPLIFIED).clamp(0, 255) as u8
    };
    let rgb = before.rgb().iter().zip(after.rgb()).map(change).collect();
    Ok(Image::new(before.width(), before.height(), rgb)?)
}

/// Draws training pairs and prints their captions.
pub(crate) fn scenes(catalog: &Catalog, options: &SceneOptions) -> Result<u8> {
    let entry = find("data set", &catalog.datasets, &options.name).map_err(user_error)?;
    let presets = (entry.presets)();
    let names: Vec<&str> = presets.iter().map(|(name, _)| *name).collect();
    let chosen = match &options.preset {
        None => presets.first(),
        Some(wanted) => presets.iter().find(|(name, _)| name == wanted),
    };
    let (_, settings) =
        chosen.ok_or_else(|| user_error(format!("no such preset; there are: {}", names.join(", "))))?;
    let source = (entry.build)(settings.clone())?.pairs.context("the data set has no pairs")?;
    let seed = Seed::new(options.seed).child("data");
    let pairs = source.pairs(Split::Train, SHEET.0 * SHEET.1, usize::from(options.resolution), &seed);
    let pairs = pairs.map_err(|error| {
        let said = describe(&error);
        anyhow!("{said}{}", remedy(&said))
    })?;
    let (mut images, mut bad) = (Vec::new(), BTreeMap::<String, usize>::new());
    for index in 0..pairs.len() {
        let pair = match pairs.pair(index) {
            Ok(pair) => pair,
            Err(error) => {
                let reason = BadSample::of(&error).ok_or(error)?.to_string();
                *bad.entry(reason).or_default() += 1;
                continue;
            }
        };
        let (row, column) = (images.len() / SHEET.0 + 1, images.len() % SHEET.0 + 1);
        outln!("row {row}, image {column:>2}: {}", pair.caption);
        // Those that are read have any size.
        images.push(pixels::crop(&pair.image, usize::from(options.resolution))?);
    }
    for (reason, count) in &bad {
        errln!("left out: {count} {reason}");
    }
    let rows: Vec<Vec<Image>> = images.chunks(SHEET.0).map(<[Image]>::to_vec).collect();
    draw(&rows, &options.output)
}

/// Writes rows of equally large images as one PNG.
fn draw(rows: &[Vec<Image>], output: &Path) -> Result<u8> {
    let first = rows.iter().flatten().next().context("no images")?;
    let scale = (SHOWN_SIDE / first.width().max(first.height())).max(1);
    let (width, height) = (first.width() * scale + GAP, first.height() * scale + GAP);
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let size = ((width * columns + GAP) as u32, (height * rows.len() + GAP) as u32);
    let mut sheet = image::RgbImage::from_pixel(size.0, size.1, image::Rgb([255; 3]));
    for (row, images) in rows.iter().enumerate() {
        for (column, image) in images.iter().enumerate() {
            let (left, top) = (GAP + column * width, GAP + row * height);
            for y in 0..image.height() * scale {
                for x in 0..image.width() * scale {
                    let pixel = image::Rgb(image.pixel(x / scale, y / scale));
                    sheet.put_pixel((left + x) as u32, (top + y) as u32, pixel);
                }
            }
        }
    }
    let written = sheet.save_with_format(output, image::ImageFormat::Png);
    written.with_context(|| format!("cannot write {}", output.display()))?;
    outln!("{}", output.display());
    Ok(SUCCESS)
}
