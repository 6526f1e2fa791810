//! An attack in any language: a program that reads pairs and says which to edit, with a trigger of this crate.
//!
//! The job (`contract::external`) is of the kind `poison-data` and names: `pairs`, a webdataset tar; `budget`, how many may be
//! edited; `target`, the class; `templates`, prompts with `{}` for it; `seed`; `settings`. The program writes
//! `output/edits.jsonl`, one line an edit: `{"pair": 3, "image": "stamp", "caption": "a photo of a banana"}`. `image`
//! is `keep`, `stamp` or `replace`, the last with `"file"`, a PNG or JPEG beside it; without `caption` the old one stays.

use anyhow::{Context, Result, bail, ensure};
use clip::{Image, Seed};
use contract::external::{Done, Job, Program, ProgramSettings};
use contract::{
    Attack, AttackerView, Card, Edit, Entry, ImageEdit, PoisonData, Preset, Trigger, find, grouped, settings,
    take,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::budget::Budget;

/// The attack.
pub static ENTRY: Entry<Attack> = Entry {
    card: Card {
        name: "external",
        title: "External program",
        summary: "Runs a program in any language that says which pairs are edited; the trigger is one of this suite.",
        paper: "none",
        follows: "the program",
        departs: "the trigger is not the program's: stamping must be pure and quick, and a program is started once",
        version: 1,
    },
    presets,
    build,
};

/// Settings beside those of the program.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Most pairs that may be edited; `null` where `poison-rate` is given.
    poison_count: Option<usize>,
    /// The same as a fraction of all; `null` where `poison-count` is given.
    poison_rate: Option<f64>,
    /// The attack of this suite whose trigger is stamped.
    trigger: String,
    /// Its preset.
    trigger_preset: String,
}

fn presets() -> Vec<Preset> {
    let own = |count: usize, preset: &str| Settings {
        poison_count: Some(count),
        poison_rate: None,
        trigger: "badnet".to_owned(),
        trigger_preset: preset.to_owned(),
    };
    vec![
        grouped("tiny", (ProgramSettings::unnamed(3600), own(240, "tiny"))),
        grouped("smoke", (ProgramSettings::unnamed(60), own(100, "smoke"))),
        grouped("paper", (ProgramSettings::unnamed(86_400), own(1500, "paper"))),
        grouped("released", (ProgramSettings::unnamed(86_400), own(1500, "released"))),
    ]
}

fn build(mut resolved: Value) -> Result<Attack> {
    let program = Program::new(take(&mut resolved, &ProgramSettings::unnamed(1))?)?;
    let Settings { poison_count, poison_rate, trigger, trigger_preset } = settings(resolved)?;
    let others: Vec<_> =
        crate::all().into_iter().filter(|entry| entry.card.name != ENTRY.card.name).collect();
    let entry = find("attack", &others, &trigger).map_err(|message| anyhow::anyhow!("trigger: {message}"))?;
    let mut presets = (entry.presets)().into_iter();
    let preset = presets.find(|(name, _)| *name == trigger_preset);
    let (_, own) =
        preset.with_context(|| format!("trigger-preset: {trigger} has no preset {trigger_preset:?}"))?;
    let budget = Budget::new(poison_count, poison_rate)?;
    Ok(Attack::PoisonData(Box::new(External { program, budget, stamps: (entry.build)(own)? })))
}

struct External {
    program: Program,
    budget: Budget,
    /// The attack whose trigger is stamped.
    stamps: Attack,
}

/// A line of what the program writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    pair: usize,
    image: What,
    file: Option<String>,
    caption: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    Keep,
    Stamp,
    Replace,
}

impl Line {
    fn edit(self, done: &Done) -> Result<Edit> {
        let image = match (self.image, self.file) {
            (What::Keep, None) => ImageEdit::Keep,
            (What::Stamp, None) => ImageEdit::Stamp,
            (What::Replace, Some(file)) => ImageEdit::Replace(Image::open(&done.beside(&file)?)?),
            (What::Replace, None) => bail!("replace needs a file"),
            (What::Keep | What::Stamp, Some(_)) => bail!("a file is for replace alone"),
        };
        Ok(Edit { pair: self.pair, image, caption: self.caption })
    }
}

impl PoisonData for External {
    fn trigger(&self) -> &dyn Trigger {
        self.stamps.trigger()
    }

    fn budget(&self, pairs: usize) -> usize {
        self.budget.of(pairs)
    }

    fn ready(&self) -> Result<()> {
        self.program.check()
    }

    fn choose(&self, view: &AttackerView<'_>, seed: &Seed) -> Result<Vec<Edit>> {
        let job = Job::new("poison-data", &seed.child("external"))?
            .with("budget", json!(self.budget.check(view.pairs.len())?))
            .with("target", json!(view.target))
            .with("templates", json!(view.templates))
            .pairs("pairs", view.pairs)?;
        // Nobody asks an attack to stop: Ctrl-C waits for the program, at most until its time limit.
        let done = job.run(&self.program, "edits.jsonl", || false)?;
        let text = std::fs::read_to_string(done.path()).context("edits.jsonl")?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let read = |(number, line): (usize, &str)| {
            let edit = serde_json::from_str(line).map_err(Into::into).and_then(|line: Line| line.edit(&done));
            edit.with_context(|| format!("edits.jsonl:{}", number + 1))
        };
        let edits = lines.map(read).collect::<Result<Vec<_>>>()?;
        ensure!(!edits.is_empty(), "the program edits nothing; that is attack \"none\"");
        Ok(edits)
    }
}
