//! Programs in any language as methods: a job in, files out.
//!
//! A program is started as `PROGRAM job.json` in a folder of its own, which is deleted afterwards. `job.json` says what
//! to do; `input/` holds what the method may see, read-only; results go to `output/`. Its exit code says how it went:
//! 0 done, 69 the job is not one that it can do, anything else a failure. The end of what it prints stands in the
//! message of a failure, without control characters.
//!
//! Its environment is cleared but for what `process` passes on. Its process group is killed at the time limit, on
//! Ctrl-C, and when it ends. Afterwards its input and the files that its command names must be as they were. That is
//! no sandbox: what it writes elsewhere on the disk is not noticed (`HOME` and `TMPDIR` lead into its folder), and a
//! process that leaves its group lives on.

mod printed;
mod process;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clip::{Pairs, Seed, Stopped};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::Labelled;
use base::archive::append;
use base::hash_file;
use process::Ended;

/// Raised whenever a program would have to read its job in another way.
pub const FORMAT: u32 = 1;

/// Exit code of a program that the job is not for: `EX_UNAVAILABLE` of `sysexits.h`. Python itself ends with 1 and 2.
const NOT_A_JOB_FOR_IT: i32 = 69;

/// Settings of every method that runs a program.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProgramSettings {
    /// The command, one line of words apart by spaces, without quotes: `python3 defense.py`. A word that is a path to a
    /// file, seen from where cleanbench was started, is that file.
    pub program: Option<String>,
    /// Its version, at least 1: raised by its author whenever it would give another result.
    pub program_version: Option<u32>,
    /// Seconds after which it is killed.
    pub time_limit: u64,
    /// Threads that it is told to use. Results may depend on it, so it is part of the key.
    pub threads: u32,
    /// Whatever else the program takes, passed on as it is; `null` is nothing.
    pub settings: Option<Map<String, Value>>,
}

impl ProgramSettings {
    /// No program yet: a plan must name one.
    pub fn unnamed(time_limit: u64) -> Self {
        Self { program: None, program_version: None, time_limit, threads: 1, settings: None }
    }
}

/// Settings that name no program, as the presets do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unnamed(&'static str);

/// A program and how it is run.
pub struct Program {
    /// The command's first word as it was given.
    given: String,
    words: Vec<String>,
    time_limit: Duration,
    threads: u32,
    settings: Map<String, Value>,
}

impl Program {
    /// From its settings; an error names the first one that is missing or that no run can have.
    pub fn new(settings: ProgramSettings) -> Result<Self> {
        let ProgramSettings { program, program_version, time_limit, threads, settings } = settings;
        let program =
            program.ok_or(Unnamed("program must be given: the command, such as \"python3 defense.py\""))?;
        let words: Vec<String> = program.split_whitespace().map(absolute).collect();
        let given = program.split_whitespace().next().map(str::to_owned);
        let given = given.with_context(|| format!("program must name a command, found {program:?}"))?;
        let version = program_version.ok_or(Unnamed(
            "program-version must be given: a number that its author raises whenever it would give another result",
        ))?;
        ensure!(version >= 1, "program-version begins with 1");
        ensure!(time_limit >= 1, "time-limit must be at least 1 second");
        ensure!(threads >= 1, "threads must be at least 1");
        let time_limit = Duration::from_secs(time_limit);
        Ok(Self { given, words, time_limit, threads, settings: settings.unwrap_or_default() })
    }

    /// An error where there is no such program on this machine, or it cannot be executed.
    pub fn check(&self) -> Result<()> {
        process::find(&self.words[0]).map_err(|why| {
            let given = &self.given;
            anyhow!("program: {given:?} {why} (program is one line of words, such as \"python3 mine.py\"; a list is a sweep)")
        })
    }
}

/// A path to a file as seen from anywhere; other words as they are.
fn absolute(word: &str) -> String {
    let path = Path::new(word);
    let whole = std::path::absolute(path).ok().filter(|_| path.is_file());
    whole.map_or_else(|| word.to_owned(), |path| path.to_string_lossy().into_owned())
}

/// A job that is being made ready: its folder, with what the program may see.
pub struct Job {
    folder: tempfile::TempDir,
    description: Map<String, Value>,
}

impl Job {
    /// A job of this kind.
    pub fn new(kind: &str, seed: &Seed) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("cleanbench-job-").tempdir();
        let folder = folder.context("cannot make a folder for the program; TMPDIR names another place")?;
        for name in ["input", "output", "tmp"] {
            fs::create_dir_all(folder.path().join("work").join(name))?;
        }
        let job = Self { folder, description: Map::new() };
        // What most generators take for a seed: 32 bits.
        let seed = u32::from_str_radix(&seed.to_hex()[..8], 16)?;
        Ok(job.with("format", json!(FORMAT)).with("kind", json!(kind)).with("seed", json!(seed)))
    }

    /// The same with one more key.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.description.insert(key.to_owned(), value);
        self
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Where an input file goes, and its path in the job.
    pub fn input(&self, name: &str) -> (PathBuf, Value) {
        let path = format!("input/{name}");
        (self.work().join(&path), json!(path))
    }

    /// Writes pairs as a webdataset tar of `000000.png` and `000000.txt` by index.
    pub fn pairs(self, key: &str, pairs: &dyn Pairs) -> Result<Self> {
        self.samples(key, pairs.len(), "txt", |index| Ok((pairs.image(index)?, pairs.caption(index)?)))
    }

    /// Writes labelled images as a webdataset tar of `000000.png` and `000000.cls` by index.
    pub fn images(self, key: &str, images: &dyn Labelled) -> Result<Self> {
        self.samples(key, images.len(), "cls", |index| {
            Ok((images.image(index)?, images.label(index)?.to_string()))
        })
    }

    fn samples(
        self,
        key: &str,
        count: usize,
        ending: &str,
        sample: impl Fn(usize) -> Result<(clip::Image, String)>,
    ) -> Result<Self> {
        let (path, named) = self.input(&format!("{key}.tar"));
        let file = fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut archive = tar::Builder::new(BufWriter::new(file));
        for index in 0..count {
            let (image, text) = sample(index)?;
            append(&mut archive, &format!("{index:06}.png"), &image.to_png()?)?;
            append(&mut archive, &format!("{index:06}.{ending}"), text.as_bytes())?;
        }
        archive.into_inner()?.flush()?;
        Ok(self.with(key, json!({ "tar": named, "count": count })))
    }

    /// Runs the program, which shall write `output/NAME`; [`Stopped`] where `stops` said so. Refused are a program that
    /// fails, takes too long, changes its input or itself, or writes no such file.
    pub fn run(self, program: &Program, output: &str, mut stops: impl FnMut() -> bool) -> Result<Done> {
        let work = self.work();
        let path = work.join("output").join(output);
        let Self { folder, description } = self
            .with("settings", program.settings.clone().into())
            .with("output", json!(format!("output/{output}")));
        let job = work.join("job.json");
        fs::write(&job, serde_json::to_string_pretty(&description)?)?;
        let own = program.words.iter().map(PathBuf::from).filter(|word| word.is_absolute());
        let watched: Vec<PathBuf> = [job.clone(), work.join("input")].into_iter().chain(own).collect();
        let before = hashes(&watched)?;
        let done = Done { folder, path };
        process::protect(&work.join("input"), true)?;
        process::protect(&job, true)?;
        let log = done.folder.path().join("log");
        let ended =
            process::run(&program.words, &job, &log, program.threads, program.time_limit, &mut stops)?;
        process::protect(&work.join("input"), false)?;
        let said = || printed::end(&log);
        match ended {
            Ended::Stopped => return Err(Stopped.into()),
            Ended::TooLong => {
                bail!("killed at its time-limit of {} s: {}", program.time_limit.as_secs(), said())
            }
            Ended::Killed(status) => bail!("the program ended with {status}: {}", said()),
            Ended::Exit(0) => {}
            Ended::Exit(NOT_A_JOB_FOR_IT) => bail!("the program cannot do this job: {}", said()),
            Ended::Exit(code) => bail!("the program failed with exit code {code}: {}", said()),
        }
        let after = hashes(&watched)?;
        // A file that is new, gone or another one.
        let mut names = before.keys().chain(after.keys());
        if let Some(name) = names.find(|name| before.get(*name) != after.get(*name)) {
            let name = name.strip_prefix(&work).unwrap_or(name);
            bail!("the program changed {}, which it may only read", name.display());
        }
        ensure!(done.path.is_file(), "the program left no output/{output}: {}", said());
        Ok(done)
    }
}

/// What a program left; deleted when this is dropped.
pub struct Done {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Done {
    /// The file that was asked for.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file beside it; an error where the name would lead elsewhere.
    pub fn beside(&self, name: &str) -> Result<PathBuf> {
        ensure!(
            !name.is_empty() && !name.contains(['/', '\\']),
            "{name:?} is not the name of a file in output/"
        );
        Ok(self.folder.path().join("work/output").join(name))
    }
}

/// The hash of every file of these files and folders.
fn hashes(paths: &[PathBuf]) -> Result<BTreeMap<PathBuf, String>> {
    let (mut found, mut left) = (BTreeMap::new(), paths.to_vec());
    while let Some(path) = left.pop() {
        // What a program removed is missing afterwards, and that is a change too.
        let Ok(kind) = fs::symlink_metadata(&path) else { continue };
        if kind.is_dir() {
            left.extend(fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?);
        } else {
            let hash = hash_file(&path).with_context(|| format!("{}", path.display()))?;
            found.insert(path, hash);
        }
    }
    Ok(found)
}
