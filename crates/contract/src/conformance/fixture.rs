//! The small data, model and monitor that entries are tried on; also for tests of single entries.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clip::candle_core::Result as ClipResult;
use clip::{
    Clip, Contrastive, Image, MemoryPairs, ModelConfig, Monitor, Origin, Pair, Recipe, Seed, Snapshot, Step,
    Tokenizer,
};
use rand::Rng;

use crate::{DefenderView, Defense, Labelled, Model};

/// The classes of the pictures, and their levels of red, green and blue.
pub const COLORS: [(&str, [u8; 3]); 4] =
    [("red", [220, 30, 30]), ("green", [30, 200, 30]), ("blue", [30, 30, 220]), ("white", [240, 240, 240])];
/// Pairs and labelled images that a defense is granted.
pub const GRANTED: usize = 128;

/// A noisy square of one of four colours, of this side in pixels.
pub fn picture(index: usize, side: usize) -> ClipResult<Image> {
    let mut rng = Seed::new(index as u64).child("picture").rng();
    let color = COLORS[index % COLORS.len()].1;
    let level = |at: usize| color[at % 3].saturating_add(rng.random_range(0..16));
    Image::new(side, side, (0..side * side * 3).map(level).collect())
}

/// So many pairs of a picture of this side and its caption.
pub fn pairs(count: usize, side: usize) -> ClipResult<MemoryPairs> {
    let pair = |index: usize| {
        let caption = format!("a photo of a {} square number {index}", COLORS[index % COLORS.len()].0);
        Ok(Pair { image: picture(index, side)?, caption })
    };
    Ok(MemoryPairs::new((0..count).map(pair).collect::<ClipResult<_>>()?))
}

/// So many labelled pictures of 16 pixels a side.
pub struct Squares(pub usize);

impl Labelled for Squares {
    fn len(&self) -> usize {
        self.0
    }

    fn label(&self, index: usize) -> ClipResult<usize> {
        Ok(index % COLORS.len())
    }

    fn image(&self, index: usize) -> ClipResult<Image> {
        picture(index, 16)
    }

    fn read_from(&self, _index: usize) -> Option<Origin> {
        None
    }
}

/// Saves every epoch to `file`, and stops after the step `stop_after`.
#[derive(Default)]
pub struct Watch {
    /// Where snapshots go, and come from.
    pub file: Option<PathBuf>,
    /// The step, counted from 1, after which it stops.
    pub stop_after: Option<usize>,
    /// Losses of the steps seen.
    pub losses: Vec<f32>,
}

impl Monitor for Watch {
    fn resume(&mut self) -> Option<PathBuf> {
        self.file.clone().filter(|file| file.exists())
    }

    fn step(&mut self, step: &Step) -> ControlFlow<()> {
        self.losses.push(step.loss);
        if self.stop_after == Some(step.step) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn stops(&mut self) -> bool {
        false
    }

    fn epoch_end(&mut self, _epoch: usize, snapshot: &Snapshot<'_>) -> ClipResult<()> {
        self.file.as_ref().map_or(Ok(()), |file| snapshot.save(file))
    }
}

/// The smallest model, with its initial weights.
pub fn model() -> ClipResult<Clip> {
    let captions = ["a photo of a red green blue white square number"];
    Clip::new(&ModelConfig::nano(), Tokenizer::cut(captions.into_iter())?, &Seed::new(0))
}

/// Two epochs of four steps for [`GRANTED`] pairs.
pub fn recipe() -> Recipe {
    Recipe { epochs: 2, batch_size: 32, ..Recipe::smoke() }
}

/// Writes the moments that training left to `file`.
pub fn write_moments(file: &Path) -> ClipResult<()> {
    let (model, pairs) = (model()?, pairs(GRANTED, 16)?);
    let mut watch = Watch { file: Some(file.to_owned()), ..Watch::default() };
    clip::train(&model, &Contrastive::new(&model, &pairs)?, &recipe(), &Seed::new(9), &mut watch)?
        .map_err(clip::candle_core::Error::wrap)
}

/// Lets a defense act on `model` that repairs or trains one; an error for other defenses, and [`clip::Stopped`] where it was stopped.
pub fn repair(
    defense: &Defense,
    model: Clip,
    seed: u64,
    optimizer: Option<&Path>,
    watch: &mut Watch,
) -> Result<Model> {
    let pairs = pairs(GRANTED, 16)?;
    with_view(&pairs, seed, optimizer, |view| match defense {
        Defense::RepairModel(defense) => defense.repair(model, view, watch),
        Defense::TrainSafely(defense) => {
            defense.train(&model, view, watch)?;
            Ok(Model { clip: model, head: None })
        }
        Defense::FilterData(_) | Defense::Anchor(_) => anyhow::bail!("it neither repairs nor trains a model"),
    })
}

/// Shows what a defender sees to `act`.
pub fn with_view<T>(
    pairs: &dyn clip::Pairs,
    seed: u64,
    optimizer: Option<&Path>,
    act: impl FnOnce(&DefenderView<'_>) -> T,
) -> T {
    let view = DefenderView {
        training_pairs: pairs,
        clean_pairs: pairs,
        clean_images: &Squares(GRANTED),
        classes: &COLORS.map(|(name, _)| name.to_owned()),
        recipe: &recipe(),
        optimizer,
        seed: Seed::new(seed).child("defense"),
    };
    act(&view)
}

/// Every number of a model by the name of its tensor, bit by bit.
pub fn numbers(model: &Model) -> ClipResult<Vec<(String, Vec<u32>)>> {
    let bits = |(name, tensor): (String, clip::candle_core::Tensor)| {
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        Ok((name, values.into_iter().map(f32::to_bits).collect()))
    };
    model.tensors().into_iter().map(bits).collect()
}
