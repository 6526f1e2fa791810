//! Which build of the program made something.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::hash_file;

/// Name and version of the program.
pub const NAME: &str = concat!("cleanbench ", env!("CARGO_PKG_VERSION"));
/// The compiler that built it, as `rustc --version` names it.
pub const COMPILER: &str = env!("CLEANBENCH_COMPILER");

/// A build of the program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Build {
    /// Name and version.
    pub program: String,
    /// BLAKE3 of the executable; `None` where it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program_blake3: Option<String>,
    /// The commit that it was built from; `None` where the sources are gone, no repository, or newer than the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl Build {
    /// This one.
    pub fn this() -> &'static Self {
        static THIS: OnceLock<Build> = OnceLock::new();
        THIS.get_or_init(|| {
            let executable = executable();
            Self {
                program: NAME.to_owned(),
                program_blake3: executable.as_deref().and_then(|path| hash_file(path).ok()),
                source: executable.as_deref().and_then(source),
            }
        })
    }

    /// For entries of versions that did not record their build.
    pub fn unknown() -> Self {
        Self { program: "unknown".to_owned(), program_blake3: None, source: None }
    }
}

/// Name and version, then the beginnings of hash and commit.
impl std::fmt::Display for Build {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start =
            |text: &Option<String>| text.as_deref().map_or("?".to_owned(), |text| format!("{text:.12}"));
        write!(
            formatter,
            "{} (program {}, source {})",
            self.program,
            start(&self.program_blake3),
            start(&self.source)
        )
    }
}

/// The file that this process runs, also where another was built in its place since.
fn executable() -> Option<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { Some(running) } else { std::env::current_exe().ok() }
}

/// What the program is built from: all files of the repository but results and texts.
const SOURCES: [&str; 4] = ["--", ":/", ":(top,exclude)results", ":(top,exclude)*.md"];

/// The commit that is checked out where the program was built, with `-dirty` where sources differ from it.
fn source(executable: &Path) -> Option<String> {
    let folder = env!("CARGO_MANIFEST_DIR");
    let git = |arguments: &[&str]| command_output("git", &[&["-C", folder], arguments].concat());
    let commit = git(&["rev-parse", "HEAD"])?;
    let root = PathBuf::from(git(&["rev-parse", "--show-toplevel"])?);
    let built = std::fs::metadata(executable).and_then(|file| file.modified()).ok()?;
    let files = git(&[&["ls-files", "-z", "--full-name"][..], &SOURCES].concat())?;
    let changed = |name: &str| modified(&root.join(name)).is_some_and(|time| time > built);
    if files.split_terminator('\0').any(changed) {
        return None;
    }
    let differs = git(&[&["status", "--porcelain"][..], &SOURCES].concat()).is_some();
    Some(if differs { format!("{commit}-dirty") } else { commit })
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

/// Standard output of another program, trimmed; `None` where it is missing, fails or prints nothing.
pub fn command_output(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
