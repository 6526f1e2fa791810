//! The folder below which images lie that are files of their own.

use std::path::{Component, Path, PathBuf};

use clip::{BadSample, candle_core};

/// A folder, and what of it may be read.
#[derive(Debug, Default)]
pub(crate) struct Root {
    folder: PathBuf,
    /// Where it really is, if what a list names may not lie elsewhere.
    confined: Option<PathBuf>,
}

impl Root {
    /// A folder whose own files are listed; links in it are followed.
    pub(crate) fn listed(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), confined: None }
    }

    /// The folder that the paths of a table may not leave, by themselves or by links.
    pub(crate) fn confined(folder: &Path) -> Self {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let real = folder.canonicalize().or_else(|_| std::path::absolute(folder));
        Self { folder: folder.to_owned(), confined: Some(real.unwrap_or_else(|_| folder.to_owned())) }
    }

    /// The folder, as it was named.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path below it that a table's path is; `None` for one that leads out of it.
    pub(crate) fn below<'a>(&self, path: &'a str) -> Option<&'a str> {
        let below = |folder: &Path| Path::new(path).strip_prefix(folder).ok()?.to_str();
        let absolute = || below(&std::path::absolute(&self.folder).ok()?);
        let path = match Path::new(path).is_absolute() {
            true => self.confined.as_deref().and_then(below).or_else(absolute)?,
            false => path,
        };
        Some(path).filter(|path| stays_inside(path))
    }

    /// Where a sample's file is.
    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.folder.join(key)
    }

    /// The same; an error where a link leads out of it.
    pub(crate) fn checked(&self, key: &str) -> candle_core::Result<PathBuf> {
        let path = self.path(key);
        let Some(root) = &self.confined else { return Ok(path) };
        let real = path.canonicalize()?;
        if !real.starts_with(root) {
            let outside = format!("a link to {}, outside {}", real.display(), root.display());
            return Err(BadSample::OutsidePath.because(outside));
        }
        Ok(path)
    }
}

/// Whether a path stays in the folder that it is relative to.
pub(crate) fn stays_inside(path: &str) -> bool {
    let normal = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    Path::new(path).components().all(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_the_root_are_read_and_no_others() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let [images, other] = ["images", "other"].map(|name| folder.path().join(name));
        for folder in [&images, &other] {
            std::fs::create_dir(folder)?;
            std::fs::write(folder.join("a.png"), "")?;
        }
        std::os::unix::fs::symlink(other.join("a.png"), images.join("out.png"))?;
        std::os::unix::fs::symlink(images.join("a.png"), images.join("in.png"))?;
        let root = Root::confined(&images);
        let absolute = images.join("a.png").display().to_string();
        for path in ["a.png", "./a.png", &absolute] {
            let key = root.below(path).unwrap_or_else(|| panic!("{path}"));
            assert!(!Path::new(key).is_absolute() && root.checked(key).is_ok(), "{path}");
        }
        let outside = other.join("a.png").display().to_string();
        let twisted = images.join("../other/a.png").display().to_string();
        for path in ["../other/a.png", "x/../../other/a.png", &outside, &twisted, "/etc/hostname"] {
            assert_eq!(root.below(path), None, "{path}");
        }
        assert!(root.checked("in.png").is_ok());
        let error = root.checked("out.png").unwrap_err();
        assert_eq!(BadSample::of(&error), Some(BadSample::OutsidePath), "{error}");
        Ok(())
    }
}
