//! `cleanbench data subset`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};
use base::{errln, outln};
use clip::{BadSample, Seed};
use datasets::source::{Line, Manifest, Resize, Samples, expected_bytes, write_shards};
use rayon::prelude::*;
use serde_json::json;

use super::{Chosen, bytes};
use crate::cli::{FilesChoice, SubsetOptions};
use crate::commands::weights::check_new;
use crate::{SUCCESS, user_error};

/// Pairs that are looked at between two looks at the clock.
const AT_ONCE: usize = 1024;

/// Lists pairs in a manifest, and writes them as tars where that is asked for.
pub(crate) fn subset(options: &SubsetOptions) -> Result<u8> {
    check_new(&options.output, options.force)?;
    let chosen = options.choice.open()?;
    let Chosen { name, settings, split, collection, .. } = &chosen;
    if !collection.class_names().is_empty() {
        return Err(user_error(format!("{name} has labelled images; a manifest lists image-caption pairs")));
    }
    let samples = collection.samples_with_urls(*split)?;
    // As the harness draws them.
    let seed = Seed::new(options.seed).child("data");
    let order = collection.order(*split, samples.len(), &seed, &samples)?;
    let lines = usable(&samples, &order, options.pairs as usize, &options.choice)?;
    let about = [
        ("source", (*name).to_owned()),
        ("settings", settings.to_string()),
        ("split", split.name().to_owned()),
        ("seed", options.seed.to_string()),
        ("program", format!("cleanbench {}", env!("CARGO_PKG_VERSION"))),
    ];
    Manifest::write(&options.output, &lines, &samples, &about)?;
    outln!("{}: {} of {} pairs", options.output.display(), lines.len(), samples.len());
    if let Some(folder) = &options.write {
        write(folder, &samples, &lines, options)?;
    }
    Ok(SUCCESS)
}

/// The first `count` pairs of an order that can be used; says how many could not.
fn usable(samples: &Samples, order: &[u32], count: usize, choice: &FilesChoice) -> Result<Vec<Line>> {
    let progress = choice.progress(count);
    progress.begin("pairs", count as f64);
    let (mut lines, mut bad): (Vec<Line>, BTreeMap<String, usize>) = (Vec::new(), BTreeMap::new());
    for some in order.chunks(AT_ONCE) {
        let look = |pair: &u32| {
            samples.caption(*pair as usize)?;
            Ok((*pair, samples.image(*pair as usize)?.hash()))
        };
        for looked in some.par_iter().map(look).collect::<Vec<_>>() {
            match looked {
                Ok((pair, image_hash)) if lines.len() < count => lines.push(Line { pair, image_hash }),
                Ok(_) => {}
                Err(error) => {
                    let reason = BadSample::of(&error).ok_or(error)?.to_string();
                    *bad.entry(reason).or_default() += 1;
                }
            }
        }
        let done = lines.len();
        progress.advance("pairs", done as f64 / count as f64, format!("{done} of {count}"));
        if done == count {
            break;
        }
    }
    progress.clear();
    let reasons: Vec<String> = bad.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    if !reasons.is_empty() {
        outln!("left out: {}", reasons.join(", "));
    }
    let (usable, all) = (lines.len(), samples.len());
    ensure!(usable == count, "--pairs {count}: only {usable} of {all} pairs can be used");
    Ok(lines)
}

fn write(folder: &Path, samples: &Samples, lines: &[Line], options: &SubsetOptions) -> Result<()> {
    let resize = options.resize.map_or(Resize::Keep, |side| Resize::Square(usize::from(side)));
    let pairs: Vec<u32> = lines.iter().map(|line| line.pair).collect();
    let expected = bytes(expected_bytes(samples, &pairs, resize)?);
    errln!("writing {} pairs to {}, about {expected}", pairs.len(), folder.display());
    let progress = options.choice.progress(pairs.len());
    progress.begin("written", pairs.len() as f64);
    write_shards(folder, samples, &pairs, resize, |done| {
        let share = done as f64 / pairs.len() as f64;
        progress.advance("written", share, format!("{done} of {}", pairs.len()));
    })?;
    progress.clear();
    outln!("{}: {} pairs", folder.display(), pairs.len());
    if resize == Resize::Keep {
        return Ok(());
    }
    // Images that were encoded again are others: they get a manifest of their own.
    let mut sets = datasets::files().into_iter();
    let set = sets.find(|(entry, _)| entry.card.name == "pairs");
    let (entry, open) = set.ok_or_else(|| user_error("the data set pairs is not there"))?;
    let (_, mut settings) = (entry.presets)().swap_remove(0);
    ["train", "validation"].into_iter().for_each(|side| settings[side] = json!(folder));
    let written = open(settings)?.samples(contract::Split::Train)?;
    let order: Vec<u32> = (0..written.len() as u32).collect();
    let lines = usable(&written, &order, written.len(), &options.choice)?;
    let path = folder.join("manifest.parquet");
    let about = [("source", options.output.display().to_string()), ("resize", format!("{resize:?}"))];
    Manifest::write(&path, &lines, &written, &about)?;
    outln!("{}: {} pairs", path.display(), lines.len());
    Ok(())
}
