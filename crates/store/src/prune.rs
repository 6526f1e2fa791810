//! Removes what nobody needs any more.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use base::Build;

use crate::entries::{PARTIAL, Store, TEMPORARY, children, name_of, remove_folder};
use crate::ledger::{age_of, bytes_of};
use crate::stage::OF_CELLS;

/// What pruning leaves.
#[derive(Default)]
pub struct Keep {
    /// Hashes that are needed; `None` where that is not asked.
    pub needed: Option<BTreeSet<String>>,
    /// The age up to which entries stay; `None` where it is not asked.
    pub younger: Option<Duration>,
    /// Whether all entries stay that this build of the program made.
    pub own: bool,
    /// Whether snapshots of stages that are not done stay.
    pub partial: bool,
}

/// Something that may go.
pub struct Garbage {
    /// Its folder.
    pub folder: PathBuf,
    /// What it is: a stage, `partial` or `temporary`.
    pub kind: String,
    /// The key's hash.
    pub hash: String,
    /// Bytes.
    pub bytes: u64,
}

impl Store {
    /// What may go: entries that are not needed, too old and of another build, as far as each is asked, and then
    /// snapshots and what died processes left.
    pub fn garbage(&self, keep: &Keep) -> Result<Vec<Garbage>> {
        let mut garbage = Vec::new();
        if keep.needed.is_some() || keep.younger.is_some() || keep.own {
            for entry in self.entries()?.0 {
                // Other stages, such as checks of data, are small, expensive to repeat and serve any plan: only age
                // removes them.
                let unneeded = match &keep.needed {
                    Some(needed) => OF_CELLS.contains(&&*entry.stage) && !needed.contains(&entry.hash),
                    None => true,
                };
                let stays = keep.own && entry.made_by.as_ref() == Some(Build::this());
                if unneeded && !stays && keep.younger.is_none_or(|younger| entry.age > younger) {
                    let (folder, bytes) = (entry.folder, entry.bytes);
                    garbage.push(Garbage { folder, kind: entry.stage, hash: entry.hash, bytes });
                }
            }
        }
        let kinds: &[&str] = if keep.partial { &[] } else { &[PARTIAL, TEMPORARY] };
        for kind in kinds {
            for folder in children(&self.root.join(kind))? {
                // Some of the other criteria holds for snapshots too.
                let needed = keep.needed.as_ref().is_some_and(|needed| {
                    needed.iter().any(|hash| *kind == PARTIAL && name_of(&folder).starts_with(hash.as_str()))
                });
                if !needed && keep.younger.is_none_or(|younger| age_of(&folder) > younger) {
                    let (bytes, hash) = (bytes_of(&folder), name_of(&folder));
                    garbage.push(Garbage { folder, kind: (*kind).to_owned(), hash, bytes });
                }
            }
        }
        Ok(garbage)
    }

    /// Removes it; refuses while a run uses the store.
    pub fn remove_garbage(&self, garbage: &[Garbage]) -> Result<()> {
        let _lock = self.lock_all()?;
        garbage.iter().try_for_each(|garbage| remove_folder(&garbage.folder))
    }
}

#[cfg(test)]
mod tests {
    use base::NAME;

    use super::*;
    use crate::Key;
    use serde_json::json;

    #[test]
    fn what_is_needed_young_or_in_use_stays() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let keys = [("train", 1), ("train", 2), ("check", 3)]
            .map(|(stage, number)| Key::new(stage, 1, "cpu", json!({ "number": number })));
        for key in &keys {
            store.put(key, 1.0, 1.0, |folder| Ok(std::fs::write(folder.join("value"), "12345")?))?;
        }
        store.partial(&keys[0])?;
        let hashes = |keep: &Keep| -> Result<Vec<(String, String)>> {
            let garbage = store.garbage(keep)?;
            Ok(garbage.into_iter().map(|garbage| (garbage.kind, garbage.hash)).collect())
        };
        let named = |kind: &str, key: &Key| (kind.to_owned(), key.hash().to_owned());
        let needed = Some(BTreeSet::from([keys[0].hash().to_owned()]));
        let keep = |younger, partial| Keep { needed: needed.clone(), younger, own: false, partial };
        assert_eq!(hashes(&keep(None, true))?, [named("train", &keys[1])]);
        assert_eq!(hashes(&keep(Some(Duration::from_secs(60)), true))?, []);
        assert_eq!(hashes(&keep(None, false))?, [named("train", &keys[1])], "its snapshot is needed too");
        assert_eq!(hashes(&Keep::default())?, [named("partial", &keys[0])]);
        let own = Keep { own: true, partial: true, ..Keep::default() };
        assert_eq!(hashes(&own)?, [], "this build made all");
        let path = store.folder(&keys[2]).join(crate::entries::ENTRY);
        let other = std::fs::read_to_string(&path)?.replace(NAME, "cleanbench 0.0.1");
        std::fs::write(&path, other)?;
        assert_eq!(hashes(&own)?, [named("check", &keys[2])]);
        let garbage = store.garbage(&keep(None, true))?;
        assert!(garbage[0].bytes > 5);
        assert!(store.remove_garbage(&garbage).is_err(), "a run has the store open");
        drop(store);
        Store::at(folder.path()).remove_garbage(&garbage)?;
        assert!(!Store::at(folder.path()).has(&keys[1]) && Store::at(folder.path()).has(&keys[0]));
        Ok(())
    }
}
