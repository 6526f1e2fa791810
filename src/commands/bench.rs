//! `cleanbench data bench`: how fast images are prepared.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use base::outln;
use clip::{Image, Seed, pixels};
use serde_json::json;

use crate::SUCCESS;
use crate::cli::BenchOptions;

/// Side of the images that models see.
const SIDE: usize = 224;

/// A step and how many images a second one core does.
struct Step {
    name: &'static str,
    per_second: f64,
}

/// Times every step on one core, over all images of a folder again and again.
pub(crate) fn bench(options: &BenchOptions) -> Result<u8> {
    let files = files(&options.folder)?;
    let read =
        |path: &PathBuf| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let bytes = files.iter().map(read).collect::<Result<Vec<_>>>()?;
    if let Some(folder) = &options.write {
        return write(&files, &bytes, folder);
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let steps = pool.install(|| steps(&bytes, options.seconds))?;
    if options.json {
        let speeds: serde_json::Map<_, _> =
            steps.iter().map(|step| (step.name.to_owned(), json!(step.per_second))).collect();
        outln!("{}", json!({ "images": files.len(), "side": SIDE, "per-second": speeds }));
        return Ok(SUCCESS);
    }
    let (count, folder) = (files.len(), options.folder.display());
    outln!("{count} images of {folder}, to {SIDE} pixels, images a second on one core");
    for Step { name, per_second } in steps {
        outln!("{name:<24} {per_second:>9.0}");
    }
    Ok(SUCCESS)
}

/// The processor time of this thread since it was started, where the system tells it; otherwise the time.
struct Clock {
    started: Instant,
    ran: Option<f64>,
}

impl Clock {
    fn start() -> Self {
        Self { started: Instant::now(), ran: Self::ran() }
    }

    fn seconds(&self) -> f64 {
        match (self.ran, Self::ran()) {
            (Some(before), Some(now)) => now - before,
            _ => self.started.elapsed().as_secs_f64(),
        }
    }

    /// As Linux counts it, in nanoseconds, up to the last tick of its clock.
    fn ran() -> Option<f64> {
        let counts = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        Some(counts.split_whitespace().next()?.parse::<f64>().ok()? * 1e-9)
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let listed =
        std::fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let mut files = listed.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|path| path.is_file());
    files.sort();
    ensure!(!files.is_empty(), "{}: no files", folder.display());
    Ok(files)
}

/// Writes the tensors that models see, to be compared with another program's.
fn write(files: &[PathBuf], bytes: &[Vec<u8>], folder: &Path) -> Result<u8> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    for (file, bytes) in files.iter().zip(bytes) {
        let values = pixels::batch(&[Image::decode(bytes)?], SIDE)?.flatten_all()?.to_vec1::<f32>()?;
        let path = folder.join(file.file_name().unwrap_or_default()).with_extension("f32");
        let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(SUCCESS)
}

fn steps(bytes: &[Vec<u8>], span: f64) -> Result<Vec<Step>> {
    let decoded = bytes.iter().map(|bytes| Ok(Image::decode(bytes)?)).collect::<Result<Vec<_>>>()?;
    let cropped = decoded.iter().map(|image| Ok(pixels::crop(image, SIDE)?)).collect::<Result<Vec<_>>>()?;
    let (seed, views) = (Seed::new(0), Cell::new(0));
    let time = |name, work: &dyn Fn(usize) -> Result<()>| -> Result<Step> {
        (0..bytes.len()).try_for_each(work)?; // caches warm
        let (clock, mut done) = (Clock::start(), 0);
        while clock.seconds() < span {
            (0..bytes.len()).try_for_each(work)?;
            done += bytes.len();
        }
        Ok(Step { name, per_second: done as f64 / clock.seconds() })
    };
    Ok(vec![
        time("decode", &|index| Ok(Image::decode(&bytes[index]).map(drop)?))?,
        time("resize and crop", &|index| Ok(pixels::crop(&decoded[index], SIDE).map(drop)?))?,
        time("normalise", &|index| Ok(pixels::batch(&cropped[index..=index], SIDE).map(drop)?))?,
        time("all three", &|index| {
            let image = Image::decode(&bytes[index])?;
            Ok(pixels::batch(std::slice::from_ref(&image), SIDE).map(drop)?)
        })?,
        time("autoaugment", &|index| {
            views.set(views.get() + 1);
            drop(defenses::augment::auto_augment(&cropped[index], 1.0, &seed.at(views.get())));
            Ok(())
        })?,
    ])
}
