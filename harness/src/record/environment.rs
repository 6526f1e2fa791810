//! Where a record was made: an allow-list, and nothing else of the environment is read.

use clip::DeviceChoice;
use serde::Serialize;

use super::FORMAT;
use crate::program::{Build, said};

/// `environment.yaml`.
#[derive(Serialize)]
pub(super) struct Environment<'a> {
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
    /// Of this process, on this machine, now.
    pub(super) fn here(
        device: DeviceChoice,
        threads: usize,
        [wall_seconds, stage_seconds]: [u64; 2],
        others: &'a [Build],
    ) -> Self {
        let finished = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            format: FORMAT,
            program: Build::this(),
            compiler: env!("CLEANBENCH_COMPILER"),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" },
            operating_system: std::env::consts::OS,
            architecture: std::env::consts::ARCH,
            processor: processor().unwrap_or_else(|| "unknown".to_owned()),
            threads,
            device: device.to_string(),
            gpu: gpu(device),
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

/// Name and driver of the GPU that a run was on, as `nvidia-smi` tells them.
fn gpu(device: DeviceChoice) -> Option<String> {
    let DeviceChoice::Cuda(number) = device else { return None };
    let number = number.to_string();
    said("nvidia-smi", &["--id", &number, "--query-gpu=name,driver_version", "--format=csv,noheader"])
}
