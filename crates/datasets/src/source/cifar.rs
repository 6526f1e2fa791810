//! Reads the index of a copy of CIFAR.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clip::BadSample;

use super::cifar_layout::CifarLayout;
use super::files::Files;
use super::place::Place;
use super::samples::Samples;

/// The binary files of one side below a path; `None` where there are none.
pub(crate) fn read_cifar(path: &Path, test: bool, layout: &CifarLayout) -> Result<Option<Samples>> {
    let names = if test { layout.test } else { layout.train };
    let folders = [path.to_owned(), path.join(layout.folder)];
    let Some(folder) = folders.iter().find(|folder| folder.join(names[0]).is_file()) else {
        let (below, file) = layout.pickled;
        if path.join(file).is_file() || path.join(below).is_dir() {
            bail!(
                "{}: holds CIFAR as pickles, which are programs and are not read; download {} instead",
                path.display(),
                layout.download
            )
        }
        return Ok(None);
    };
    let files: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    let mut samples = Samples::new(folder.display().to_string(), "CIFAR's binary version");
    for (number, file) in files.iter().enumerate() {
        let named = || format!("cannot read {}", file.display());
        read_file(file, number as u16, layout, &mut samples).with_context(named)?;
    }
    ensure!(!samples.is_empty(), "{}: no images", folder.display());
    samples.records = Some(*layout);
    samples.files = Files::new(files);
    Ok(Some(samples))
}

fn read_file(path: &Path, file: u16, layout: &CifarLayout, samples: &mut Samples) -> Result<()> {
    let opened = std::fs::File::open(path)?;
    let (length, record) = (opened.metadata()?.len(), layout.record() as u64);
    let (records, left) = (length / record, length % record);
    let mut reader = BufReader::new(opened);
    let mut bytes = vec![0; layout.record()];
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    for record in 0..u32::try_from(records).context("too many records")? {
        reader.read_exact(&mut bytes)?;
        let label = Some(u64::from(bytes[layout.label]));
        samples.push_labelled(
            &format!("{stem}-{record}"),
            label,
            layout.classes,
            Place::Record { file, record },
        );
    }
    if left > 0 {
        let place = Place::Bad { file, reason: BadSample::Truncated };
        samples.push_labelled(&format!("{stem}-{records}"), Some(0), layout.classes, place);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::cifar_layout::{CIFAR_10, CIFAR_100, PIXELS};
    use super::*;

    #[test]
    fn records_are_read_with_their_labels_and_a_cut_one_is_counted() {
        for (layout, name, labels) in
            [(CIFAR_10, "test_batch.bin", vec![7]), (CIFAR_100, "test.bin", vec![3, 77])]
        {
            let folder = tempfile::tempdir().unwrap();
            let mut bytes = labels.clone();
            bytes
                .extend((0..3).flat_map(|channel| (0..PIXELS).map(move |at| (at / 32 + channel * 50) as u8)));
            bytes.extend([200; 40]);
            std::fs::create_dir(folder.path().join(layout.folder)).unwrap();
            std::fs::write(folder.path().join(layout.folder).join(name), bytes).unwrap();
            let samples = read_cifar(folder.path(), true, &layout).unwrap().unwrap();
            assert_eq!((samples.len(), samples.label(0).unwrap()), (2, usize::from(*labels.last().unwrap())));
            let image = samples.image(0).unwrap();
            assert_eq!((image.pixel(0, 0), image.pixel(31, 2)), ([0, 50, 100], [2, 52, 102]));
            assert_eq!(samples.bad(1), Some(BadSample::Truncated));
        }
    }

    #[test]
    fn pickles_are_refused_with_what_to_download() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("cifar-10-batches-py")).unwrap();
        let error = read_cifar(folder.path(), true, &CIFAR_10).err().unwrap().to_string();
        assert!(error.contains("pickles") && error.contains("cifar-10-binary.tar.gz"), "{error}");
    }
}
