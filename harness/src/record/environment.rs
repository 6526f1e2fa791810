//! Where a record was made: an allow-list, and nothing else of the environment is read.

use std::path::Path;
use std::process::Command;

use clip::DeviceChoice;
use serde::Serialize;

use super::FORMAT;
use crate::hash_file;

/// `environment.yaml`.
#[derive(Serialize)]
pub(super) struct Environment {
    format: u32,
    program: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    program_blake3: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
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
}

impl Environment {
    /// Of this process, on this machine, now.
    pub(super) fn here(
        device: DeviceChoice,
        threads: usize,
        [wall_seconds, stage_seconds]: [u64; 2],
    ) -> Self {
        let finished = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            format: FORMAT,
            program: program(),
            program_blake3: std::env::current_exe().and_then(|path| hash_file(&path)).ok(),
            source: source(),
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
        }
    }
}

/// The program and its version.
pub(super) fn program() -> String {
    format!("cleanbench {}", env!("CARGO_PKG_VERSION"))
}

/// The commit that is checked out where the program was built from, with `-dirty` where files differ from it; `None`
/// where that is gone or no repository.
fn source() -> Option<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    said("git", &["-C", folder.to_str()?, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"])
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

/// What a program says, on one line; `None` where it is not there, fails or says nothing.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
