//! What became of each line, written as it happens.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};

use super::picture;
use crate::fetch::lock;

/// What became of a line.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// Its image is there.
    Kept { hash: [u8; 32], ending: &'static str },
    /// Why not.
    Gone(Arc<str>),
}

impl Outcome {
    pub(super) fn gone(reason: impl std::fmt::Display) -> Self {
        Self::Gone(reason.to_string().into())
    }

    /// Whether it may be there another time.
    pub(super) fn may_come(&self) -> bool {
        let Self::Gone(reason) = self else { return false };
        matches!(
            reason.as_ref(),
            "timeout" | "unreachable" | "cut off on the way" | "status 408" | "status 429"
        ) || reason.starts_with("status 5")
    }
}

/// The journal's file: a header, then `line⇥image` or `line⇥!reason`; of several lines about one the last counts.
pub(super) struct Journal(Mutex<File>);

impl Journal {
    /// Opens the journal of a folder and reads it. A line that was cut off in writing, and an image that is not there
    /// any more, are as if they had never been.
    pub(super) fn open(folder: &Path, list: &str, resize: &str) -> Result<(Self, BTreeMap<u64, Outcome>)> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join("journal.tsv");
        let named = || format!("cannot use {}", path.display());
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let file = file.as_mut().map_err(|error| std::io::Error::from(error.kind())).with_context(named)?;
        let file = file.try_clone().with_context(named)?;
        ensure!(file.try_lock().is_ok(), "another process fetches into {}", folder.display());
        let header = format!("cleanbench list {list} resize {resize}\n");
        let mut known = BTreeMap::new();
        let mut reasons: BTreeMap<String, Arc<str>> = BTreeMap::new();
        let mut reader = BufReader::new(&file);
        let (mut line, mut whole) = (String::new(), 0);
        while reader.read_line(&mut line).with_context(named)? > 0 && line.ends_with('\n') {
            if whole == 0 {
                ensure!(
                    line == header,
                    "{} belongs to another list or another --resize; fetch --to another folder",
                    path.display()
                );
            } else if let Some((number, said)) = line.trim_end().split_once('\t')
                && let Ok(number) = number.parse()
            {
                let outcome = match said.strip_prefix('!') {
                    Some(reason) => {
                        let shared = reasons.entry(reason.to_owned()).or_insert_with(|| reason.into());
                        Some(Outcome::Gone(shared.clone()))
                    }
                    None => picture::parse(said).filter(|_| folder.join(said).exists()),
                };
                match outcome {
                    Some(outcome) => known.insert(number, outcome),
                    None => known.remove(&number),
                };
            }
            whole += line.len() as u64;
            line.clear();
        }
        let mut journal = file;
        journal.set_len(whole).and_then(|()| journal.seek(SeekFrom::End(0))).with_context(named)?;
        if whole == 0 {
            journal.write_all(header.as_bytes()).with_context(named)?;
        }
        Ok((Self(Mutex::new(journal)), known))
    }

    pub(super) fn write(&self, line: u64, outcome: &Outcome) -> Result<()> {
        let said = match outcome {
            Outcome::Kept { hash, ending } => picture::name(&blake3::Hash::from_bytes(*hash), ending),
            Outcome::Gone(reason) => format!("!{reason}"),
        };
        // One write, so that a kill leaves whole lines and at most one piece.
        let written = lock(&self.0).write_all(format!("{line}\t{said}\n").as_bytes());
        written.context("cannot write the journal of fetched images")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_and_a_lost_image_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Outcome::Kept { hash: [7; 32], ending: "png" };
        let open = || Journal::open(folder.path(), "a", "none").unwrap();
        let (journal, known) = open();
        assert!(known.is_empty());
        journal.write(1, &Outcome::gone("timeout")).unwrap();
        journal.write(2, &kept).unwrap();
        journal.write(1, &Outcome::gone("status 404")).unwrap();
        assert!(
            Journal::open(folder.path(), "a", "none").err().unwrap().to_string().contains("another process")
        );
        drop(journal);
        assert_eq!(open().1.into_iter().collect::<Vec<_>>(), [(1, Outcome::gone("status 404"))]);
        let image = folder.path().join(picture::name(&blake3::Hash::from_bytes([7; 32]), "png"));
        std::fs::create_dir_all(image.parent().unwrap()).unwrap();
        std::fs::write(image, "x").unwrap();
        let path = folder.path().join("journal.tsv");
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"3\t!sta").unwrap();
        let (journal, known) = open();
        assert_eq!(known.into_iter().collect::<Vec<_>>(), [(1, Outcome::gone("status 404")), (2, kept)]);
        journal.write(4, &Outcome::gone("timeout")).unwrap();
        drop(journal);
        assert_eq!(open().1.len(), 3);
        assert!(
            Journal::open(folder.path(), "b", "none").err().unwrap().to_string().contains("another list")
        );
    }

    #[test]
    fn only_what_may_pass_comes_again() {
        let again = |reason: &str| Outcome::gone(reason).may_come();
        assert!(again("timeout") && again("status 503") && again("status 429"));
        assert!(!again("status 404") && !again("not an image") && !again("refused host"));
    }
}
