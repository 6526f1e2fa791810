//! Runs the built program in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use record::{Record, Row};

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_cleanbench");

/// A folder with a plan, a store and a record.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// A folder whose `plan.yaml` is `tests/plans/<name>.yaml`, with `edits` replaced in it.
    pub(crate) fn with(name: &str, edits: &[(&str, &str)]) -> Self {
        let text = std::fs::read_to_string(root(&format!("tests/plans/{name}.yaml"))).expect("a plan");
        let bench = Self { folder: tempfile::tempdir().expect("a folder") };
        std::fs::write(bench.path("plan.yaml"), edited(text, edits)).expect("a plan written");
        bench
    }

    /// The micro plan with these defenses beside `none`.
    pub(crate) fn defended(rows: &str) -> Self {
        let row = ("  - { name: cleanclip, preset: smoke }\n", rows);
        Self::with("micro", &[row, ("    defense: cleanclip\n", "    defense: none\n")])
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with these arguments, in the folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(Path::new(PROGRAM), arguments)
    }

    /// A copy of the program, or a program that starts it.
    pub(crate) fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        // candle puts backtraces into its messages then, which are never to be seen.
        command.env("RUST_BACKTRACE", "1");
        command.args(arguments).current_dir(self.folder.path()).env_remove("CLEANBENCH_STORE");
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Runs the program; fails where it ends with another exit code.
    #[track_caller]
    pub(crate) fn exits(&self, code: i32, arguments: &[&str]) -> Ran {
        self.run(arguments).exits(code)
    }

    /// Starts the program.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts")
    }

    /// A file's bytes.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A file's text.
    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).expect("text")
    }

    /// Writes the plan with `edits` replaced in it as `name`.
    pub(crate) fn plan(&self, name: &str, edits: &[(&str, &str)]) {
        std::fs::write(self.path(name), edited(self.text("plan.yaml"), edits)).expect("a plan written");
    }

    /// The page of a record, written to `page.html`.
    #[track_caller]
    pub(crate) fn page(&self, record: &str) -> String {
        self.exits(0, &["report", record, "--format", "html", "--output", "page.html"]);
        self.text("page.html")
    }

    /// Rows, evidence and maps of a record: what must not depend on how it was run.
    pub(crate) fn result(&self, record: &str) -> [Vec<u8>; 3] {
        ["rows.csv", "evidence.parquet", "map.parquet"].map(|name| self.read(&format!("{record}/{name}")))
    }

    /// The rows of a record.
    pub(crate) fn rows(&self, record: &str) -> Vec<Row> {
        Record::open(&self.path(record)).and_then(|record| record.rows()).expect("rows")
    }

    /// What lies in a folder.
    pub(crate) fn list(&self, folder: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path(folder)).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }
}

/// The exit code of a program that ended, if it had one, and what it printed.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(Output { status, stdout, stderr }: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: status.code(), out: text(stdout), err: text(stderr) }
    }
}

impl Ran {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Self {
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}")).into()
    }

    /// Waits for a program that was started.
    pub(crate) fn after(child: Child) -> Self {
        child.wait_with_output().expect("waited for").into()
    }

    /// Fails where the exit code is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.said());
        self
    }

    /// Fails where it failed, whether or not claims hold.
    #[track_caller]
    pub(crate) fn judged(self) -> Self {
        assert!(matches!(self.code, Some(0 | 1)), "{}", self.said());
        self
    }

    /// All that was printed.
    pub(crate) fn said(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

/// Fails where `text` lacks one of `words`.
#[track_caller]
pub(crate) fn holds(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

/// A text with `edits` replaced in it, each of which it must hold.
#[track_caller]
pub(crate) fn edited(mut text: String, edits: &[(&str, &str)]) -> String {
    for (old, new) in edits {
        holds(&text, &[old]);
        text = text.replace(old, new);
    }
    text
}

/// A file of the repository.
pub(crate) fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Waits at most a minute.
#[track_caller]
pub(crate) fn wait(what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends Ctrl-C to a program, and waits for it.
pub(crate) fn interrupt(child: Child) -> Ran {
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("kill runs").success());
    Ran::after(child)
}
