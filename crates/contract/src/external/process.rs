//! One process, watched.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Variables of the environment that a program sees as they are; all others are hidden, but for those that are set.
const PASSED: &[&str] = &["PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "CUDA_VISIBLE_DEVICES"];
/// From one look at a program to the next.
const PAUSE: Duration = Duration::from_millis(20);

/// How a program ended.
pub(super) enum Ended {
    /// With this exit code.
    Exit(i32),
    /// By a signal; says which.
    Killed(String),
    /// It was killed at its time limit.
    TooLong,
    /// It was killed because the user stopped the run.
    Stopped,
}

/// An error, that goes on after the program's name, where `word` is no program that can be started.
pub(super) fn find(word: &str) -> Result<(), &'static str> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut known = std::env::split_paths(&folders).map(|folder| folder.join(word));
    match word.contains('/') {
        true if !Path::new(word).is_file() => Err("is no file"),
        true if !is_executable(Path::new(word)) => Err("is no executable file"),
        false if !known.any(|path| path.is_file() && is_executable(&path)) => {
            Err("is neither a file nor a program in PATH")
        }
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|found| found.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(_path: &Path) -> bool {
    true
}

/// Runs a program in the folder of its job to its end, and what it started with it.
pub(super) fn run(
    words: &[String],
    job: &Path,
    log: &Path,
    threads: u32,
    limit: Duration,
    stops: &mut dyn FnMut() -> bool,
) -> Result<Ended> {
    let work = job.parent().context("a job lies in a folder")?;
    let output = File::create(log)?;
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(job).current_dir(work).env_clear();
    command.envs(PASSED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.env("HOME", work).env("TMPDIR", work.join("tmp")).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("PYTHONHASHSEED", "0");
    for name in ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"] {
        command.env(name, threads.to_string());
    }
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    set_apart(&mut command);
    let mut child = command.spawn().with_context(|| format!("cannot start the program {:?}", words[0]))?;
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            kill_all(&mut child);
            return Ok(status.code().map_or_else(|| Ended::Killed(status.to_string()), Ended::Exit));
        }
        let (stopped, too_long) = (stops(), started.elapsed() >= limit);
        if stopped || too_long {
            kill_all(&mut child);
            child.wait()?;
            return Ok(if stopped { Ended::Stopped } else { Ended::TooLong });
        }
        std::thread::sleep(PAUSE);
    }
}

/// Gives the program a process group, so that Ctrl-C does not reach it before us and all that it starts can be killed.
#[cfg(unix)]
fn set_apart(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

#[cfg(not(unix))]
fn set_apart(_command: &mut Command) {}

/// Kills a program and all that it started and that did not leave its group.
#[cfg(unix)]
fn kill_all(child: &mut Child) {
    use nix::sys::signal::{Signal, killpg};
    // Where none of them is left there is nothing to kill.
    if let Ok(group) = i32::try_from(child.id()) {
        killpg(nix::unistd::Pid::from_raw(group), Signal::SIGKILL).unwrap_or_default();
    }
}

#[cfg(not(unix))]
fn kill_all(child: &mut Child) {
    child.kill().unwrap_or_default();
}

/// Makes a file or folder and all in it read-only, or the folders writable again.
pub(super) fn protect(path: &Path, read_only: bool) -> Result<()> {
    if path.is_dir() {
        if !read_only {
            set_mode(path, false)?;
        }
        for entry in fs::read_dir(path)? {
            protect(&entry?.path(), read_only)?;
        }
    }
    if read_only { set_mode(path, true) } else { Ok(()) }
}

#[cfg(unix)]
fn set_mode(path: &Path, read_only: bool) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = match (path.is_dir(), read_only) {
        (true, true) => 0o555,
        (true, false) => 0o755,
        (false, _) => 0o444,
    };
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

#[cfg(not(unix))]
fn set_mode(_path: &Path, _read_only: bool) -> Result<()> {
    Ok(())
}
