//! Mutations, drawn from a fixed seed. `CLEANBENCH_MUTATIONS=N` makes N of each kind, `CLEANBENCH_MUTATION_SEED=S` draws
//! others; a file that kills the process is left in the target folder (`tmp/damage`).

use std::path::{Path, PathBuf};
use std::time::Instant;

use clip::Seed;
use rand::Rng;

/// Mutations of each kind, eight in all; of records, which take longest to read, half as many.
const MUTATIONS: usize = 4000;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: {text:?}")))
}

/// Bytes that lengths, counts and signs turn on.
const TELLING: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b'0', b'-', b'\n'];

/// One to four changes of a file.
fn mutated(whole: &[u8], rng: &mut impl Rng) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.random_range(0..bytes.len());
        let some = rng.random_range(1..=(bytes.len() - at).min(32));
        match rng.random_range(0..8) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random(),
            2 => bytes[at] = TELLING[rng.random_range(0..TELLING.len())],
            3 => bytes[at..at + some].fill(TELLING[rng.random_range(0..TELLING.len())]),
            4 => drop(bytes.drain(at..at + some)),
            5 => drop(bytes.splice(at..at, bytes[at..at + some].to_vec())),
            6 => {
                let from = rng.random_range(0..=bytes.len() - some);
                bytes.copy_within(from..from + some, at);
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// Reads mutations of the files of one kind, each time all but one whole; `read` is told which one was changed, and says
/// whether they could be read.
#[track_caller]
pub(crate) fn withstands(kind: &str, files: &[(&Path, Vec<u8>)], read: impl Fn(&Path) -> bool) {
    let count = number("CLEANBENCH_MUTATIONS", if kind == "records" { MUTATIONS / 2 } else { MUTATIONS });
    let started = Instant::now();
    let seed = Seed::new(number("CLEANBENCH_MUTATION_SEED", 0) as u64).child(kind);
    for (path, whole) in files {
        std::fs::write(path, whole).expect("a file");
        assert!(read(path), "{} is whole", path.display());
    }
    let mut refused = 0;
    for index in 0..count {
        let (path, whole) = &files[index % files.len()];
        std::fs::write(path, mutated(whole, &mut seed.at(index as u64).rng())).expect("a file");
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read(path)));
        refused +=
            usize::from(!done.unwrap_or_else(|_| panic!("mutation {index} of {} panics", path.display())));
        std::fs::write(path, whole).expect("a file");
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{kind}: {count} mutations, {refused} refused, {} read, {seconds:.1} s", count - refused);
    assert!(refused > 0, "{kind}: nothing was refused");
}

/// A folder that outlives the process.
pub(crate) fn folder(kind: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("damage").join(kind);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Copies of files in a folder, and their bytes.
pub(crate) fn copies(folder: &Path, files: impl IntoIterator<Item = PathBuf>) -> Vec<(PathBuf, Vec<u8>)> {
    let copy = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (folder.join(path.file_name().expect("a name")), bytes)
    };
    files.into_iter().map(copy).collect()
}

pub(crate) fn borrowed(files: &[(PathBuf, Vec<u8>)]) -> Vec<(&Path, Vec<u8>)> {
    files.iter().map(|(path, bytes)| (path.as_path(), bytes.clone())).collect()
}

pub(crate) fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
