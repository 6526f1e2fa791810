//! Runs the built program in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A folder with a plan, a store and a record.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// A folder whose `plan.yaml` is `tests/plans/<name>.yaml`, with `edits` replaced in it.
    pub(crate) fn with(name: &str, edits: &[(&str, &str)]) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans").join(format!("{name}.yaml"));
        let mut text = std::fs::read_to_string(path).expect("a plan");
        for (old, new) in edits {
            assert!(text.contains(old), "{name}.yaml holds no {old:?}");
            text = text.replace(old, new);
        }
        let bench = Self { folder: tempfile::tempdir().expect("a folder") };
        std::fs::write(bench.path("plan.yaml"), text).expect("a plan written");
        bench
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cleanbench"));
        // candle puts backtraces into its messages then, which are never to be seen.
        command.env("RUST_BACKTRACE", "1");
        command.args(arguments).current_dir(self.folder.path()).env_remove("CLEANBENCH_STORE");
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    /// Starts the program.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts")
    }

    /// A file's bytes.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Rows, evidence and maps of a record: what must not depend on how it was run.
    pub(crate) fn result(&self, record: &str) -> [Vec<u8>; 3] {
        ["rows.csv", "evidence.parquet", "map.parquet"].map(|name| self.read(&format!("{record}/{name}")))
    }
}

/// What a run printed on stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a run printed on stdout.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
