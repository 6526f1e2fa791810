//! `cleanbench data inspect`.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use base::{errln, outln};
use datasets::source::{Captions, Inspection, LONGEST, Manifest, SIDES, inspect as look};

use super::{Chosen, bytes};
use crate::cli::InspectOptions;
use crate::{CLAIM_FAILED, SUCCESS, user_error};

/// The share of bad samples past which a run stops unless its plan says otherwise.
const BAD_SHARE: f64 = 0.01;

/// Prints what a data set of files holds. Past one bad sample in a hundred the exit code says so.
pub(crate) fn inspect(options: &InspectOptions) -> Result<u8> {
    let chosen = options.choice.open()?;
    let check = match options.check.as_str() {
        "all" => chosen.samples.len(),
        number => {
            number.parse().map_err(|_| user_error(format!("--check {number:?}: expected a number or all")))?
        }
    };
    let path = options.manifest.as_ref().or(chosen.collection.manifest());
    let manifest = path.map(|path| Manifest::read(path)).transpose()?;
    let (progress, done) = (options.choice.progress(check), AtomicUsize::new(0));
    progress.begin("images", check as f64);
    let classes = chosen.collection.class_names().len();
    let found = look(&chosen.samples, classes, check, manifest.as_ref(), &|| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        progress.advance("images", done as f64 / check.max(1) as f64, format!("{done} of {check}"));
    })?;
    progress.clear();
    print(&chosen, &found);
    if found.bad_share <= BAD_SHARE {
        return Ok(SUCCESS);
    }
    let [bad, most] = [found.bad_share, BAD_SHARE].map(|share| 100.0 * share);
    errln!(
        "exit code 1: {bad:.1} % are bad, more than the {most:.0} % at which a run stops unless its plan says \
         otherwise (data.bad-samples)"
    );
    Ok(CLAIM_FAILED)
}

fn print(chosen: &Chosen, found: &Inspection) {
    let Chosen { name, split, samples, .. } = chosen;
    outln!("{name}, {}: {}", split.name(), samples.format());
    let (shards, size) = samples.shards();
    if shards > 0 {
        outln!("  files     {shards}, {}", bytes(size));
    }
    let what = if found.labels.is_empty() { "pairs" } else { "images" };
    outln!("  {what:<9} {}", found.samples);
    if !found.labels.is_empty() {
        let (least, most) = (found.labels.iter().min(), found.labels.iter().max());
        let none = found.labels.iter().filter(|count| **count == 0).count();
        let (count, least, most) = (found.labels.len(), least.unwrap_or(&0), most.unwrap_or(&0));
        outln!("  classes   {count}, with {least} to {most} images each; {none} without any");
    }
    if let Some(Captions { lengths, repeated, cleaned, first_cleaned, cut }) = &found.captions {
        let [least, first, median, third, late, most] = lengths;
        outln!(
            "  captions  characters: least {least}, quartiles {first}, {median}, {third}, 99 % {late}, most {most}; \
             {repeated} repeat an earlier one"
        );
        outln!(
            "  cleaned   {cleaned} captions are changed as CLIP's tokenizer changes them (entities, encoding, quotes, widths)"
        );
        for [key, before, after] in first_cleaned {
            outln!("            {key}: {before:?} -> {after:?}");
        }
        outln!(
            "  cut       {cut} captions have over {LONGEST} tokens; the end token is kept, which the released code loses"
        );
    }
    let read = found.sizes.widths.iter().sum::<usize>();
    outln!("  read      {} images, {read} of them good, {}", found.checked, bytes(found.checked_bytes));
    outln!("  widths    {}", histogram(&found.sizes.widths));
    outln!("  heights   {}", histogram(&found.sizes.heights));
    outln!("  index     {} of memory", bytes(samples.memory() as u64));
    let content = if found.checked == found.samples { "images, keys" } else { "keys" };
    let notes = if what == "pairs" { "captions" } else { "labels" };
    outln!("  hash      {} of {content} and {notes}", found.hash);
    if let Some([listed, there, changed]) = found.coverage {
        let share = 100.0 * there as f64 / listed.max(1) as f64;
        outln!("  manifest  {there} of {listed} pairs are there ({share:.1} %), {changed} of them changed");
    }
    for note in samples.notes() {
        outln!("  note      {note}");
    }
    let reasons: Vec<String> = found.bad.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let reasons = if reasons.is_empty() { "none found".to_owned() } else { reasons.join(", ") };
    outln!("  bad       {reasons}");
    for sample in &found.named {
        outln!("            {sample}");
    }
    let more = found.bad.values().sum::<usize>() - found.named.len();
    if more > 0 {
        outln!("            and {more} more");
    }
}

/// How many sides fall into each class of lengths.
fn histogram(counts: &[usize; SIDES.len()]) -> String {
    let class = |(most, count): (&usize, &usize)| match most {
        &usize::MAX => format!("larger: {count}"),
        most => format!("to {most}: {count}"),
    };
    let classes: Vec<String> = SIDES.iter().zip(counts).filter(|(_, count)| **count > 0).map(class).collect();
    if classes.is_empty() { "none read".to_owned() } else { classes.join(", ") }
}
