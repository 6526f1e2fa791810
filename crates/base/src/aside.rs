//! Files that appear whole or not at all.

use std::fs::File;
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

/// A file that is written beside its place. Dropped, it is removed.
pub struct Aside(NamedTempFile);

/// What the names of such files begin with.
const PREFIX: &str = ".cleanbench-";

impl Aside {
    /// An empty file in a folder, which must exist. Removes those of programs that were killed.
    pub fn new_in(folder: &Path) -> io::Result<Self> {
        remove_abandoned(folder)?;
        let file = tempfile::Builder::new().prefix(PREFIX).tempfile_in(folder)?;
        // Held as long as the program lives. Where a file system knows no locks, nothing is removed.
        let _ = file.as_file().lock();
        Ok(Self(file))
    }

    /// Where it lies until it takes its place.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The file, to be written.
    pub fn file(&self) -> &File {
        self.0.as_file()
    }

    /// Puts it, synced and readable by all, in the place of what may be at `path`.
    pub fn persist(self, path: &Path) -> io::Result<()> {
        self.file().sync_all()?;
        readable_by_all(self.file())?;
        self.0.persist(path)?;
        Ok(())
    }
}

fn remove_abandoned(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        if File::options().write(true).open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = std::fs::remove_file(&path);
        }
    }
    Ok(())
}

/// Temporary files are private.
#[cfg(unix)]
fn readable_by_all(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable_by_all(_file: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_program_left_is_removed_and_nothing_else() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let names = || -> io::Result<usize> { Ok(std::fs::read_dir(folder.path())?.count()) };
        std::fs::write(folder.path().join(".cleanbench-abandoned"), "half")?;
        std::fs::write(folder.path().join(".tmpXYZ"), "another program's")?;
        let first = Aside::new_in(folder.path())?;
        let second = Aside::new_in(folder.path())?;
        assert_eq!(names()?, 3, "the two that are being written, and the other program's");
        drop(first);
        std::fs::write(second.path(), "whole")?;
        second.persist(&folder.path().join("place"))?;
        assert_eq!(std::fs::read_to_string(folder.path().join("place"))?, "whole");
        assert_eq!(names()?, 2);
        Ok(())
    }
}
