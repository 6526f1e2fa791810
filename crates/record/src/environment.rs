//! Where a record was made: an allow-list, and nothing else of the environment is read.

use base::{Build, COMPILER};
use serde::Serialize;

use crate::layout::FORMAT;

/// `environment.yaml`.
#[derive(Serialize)]
pub struct Environment<'a> {
    format: u32,
    #[serde(flatten)]
    program: &'static Build,
    compiler: &'static str,
    profile: &'static str,
    operating_system: &'static str,
    architecture: &'static str,
    processor: String,
    threads: usize,
    device: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu: Option<String>,
    finished_unix_seconds: u64,
    wall_seconds: u64,
    stage_seconds: u64,
    /// Other builds that made something of what the record is of.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    others: &'a [Build],
}

impl<'a> Environment<'a> {
    /// Of this process, on this machine, now. `device` is the one that models were trained on, `gpu` its name and
    /// driver, and the two times are those of the run and of its trainings and defenses when they were computed.
    pub fn here(
        device: String,
        gpu: Option<String>,
        threads: usize,
        [wall_seconds, stage_seconds]: [u64; 2],
        others: &'a [Build],
    ) -> Self {
        let finished = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            format: FORMAT,
            program: Build::this(),
            compiler: COMPILER,
            profile: if cfg!(debug_assertions) { "debug" } else { "release" },
            operating_system: std::env::consts::OS,
            architecture: std::env::consts::ARCH,
            processor: processor().unwrap_or_else(|| "unknown".to_owned()),
            threads,
            device,
            gpu,
            finished_unix_seconds: finished.map_or(0, |since| since.as_secs()),
            wall_seconds,
            stage_seconds,
            others,
        }
    }
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let (_, name) = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "))?;
    Some(name.to_owned())
}
