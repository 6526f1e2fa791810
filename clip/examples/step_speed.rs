//! How fast the tiny model trains on this machine: pairs a second of a contrastive step (128 pairs) and of a
//! CleanCLIP step (64 pairs and their augmented views) with 1 and 2 threads, and with two pools of one thread each;
//! then the share of time of each part of the step.
//!
//! `cargo run --release -p clip --example step_speed -- [repetitions]`. Variants are interleaved and medians taken,
//! since others may use the machine.

use std::time::Instant;

use clip::candle_core::{Result, Tensor};
use clip::kernels::{self, Optimizer};
use clip::loss;
use clip::{
    Clip, Contrastive, Image, MemoryPairs, Mode, ModelConfig, Objective, Pair, Pairs, Parameter, Recipe,
    Seed, Tokenizer,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Multiplications and additions of one pair's forward and backward pass, counted as the towers are written: three
/// times the forward pass.
const FLOP_PER_PAIR: f64 = 3.0 * 2.0 * 10.8e6;

/// What a step does.
#[derive(Clone, Copy)]
enum Kind {
    Contrastive,
    CleanClip,
}

/// A model, a batch and the optimizer.
struct Bench {
    model: Clip,
    pixels: Tensor,
    tokens: Tensor,
    optimizer: Optimizer,
}

/// Times of one step's parts, in seconds.
#[derive(Clone, Copy, Default)]
struct Parts {
    image: f64,
    text: f64,
    loss: f64,
    backward: f64,
    optimizer: f64,
    /// What the first thread ran, a measure that others on the machine disturb less: all of the step with one
    /// thread, its share and what only one thread does with two.
    processor: f64,
}

impl Bench {
    fn new() -> Result<Self> {
        let pairs = synthetic(128)?;
        let captions = (0..128).map(|index| Ok(pairs.pair(index)?.caption)).collect::<Result<Vec<_>>>()?;
        let tokenizer = Tokenizer::cut(captions.iter().map(String::as_str))?;
        let model = Clip::new(&ModelConfig::tiny(), tokenizer, &Seed::new(0))?;
        let indices: Vec<usize> = (0..128).collect();
        let (pixels, tokens) = Contrastive::new(&model, &pairs)?.batch(&indices, 0, &Seed::new(1))?;
        let parameters = model.all_parameters().into_iter();
        let optimizer =
            Optimizer::new(parameters.map(|Parameter { name, var, decays }| (name, var, decays)).collect())?;
        Ok(Self { model, pixels, tokens, optimizer })
    }

    /// One step of training; the times of its parts.
    fn step(&mut self, kind: Kind) -> Result<Parts> {
        let clock = &mut Instant::now();
        let mut lap = || std::mem::replace(clock, Instant::now()).elapsed().as_secs_f64();
        let images = self.model.encode_image(&self.pixels, Mode::Train)?;
        let image = lap();
        let texts = self.model.encode_text(&self.tokens)?;
        let text = lap();
        let scale = self.model.logit_scale()?;
        let objective = match kind {
            Kind::Contrastive => loss::info_nce(&images, &texts, scale)?,
            Kind::CleanClip => {
                let (images, texts) = (images.chunk(2, 0)?, texts.chunk(2, 0)?);
                let within = (loss::in_modal(&images[0], &images[1], scale)?
                    + loss::in_modal(&texts[0], &texts[1], scale)?)?;
                (loss::info_nce(&images[0], &texts[0], scale)? + (within * 0.5)?)?
            }
        };
        let loss = lap();
        let gradients = kernels::backward(&objective)?;
        let backward = lap();
        self.optimizer.step(&gradients, &Recipe::paper().adamw(1e-4))?;
        Ok(Parts { image, text, loss, backward, optimizer: lap(), processor: 0.0 })
    }
}

/// Pairs of noise and captions of about 14 tokens.
fn synthetic(count: usize) -> Result<MemoryPairs> {
    let words =
        ["red", "cat", "small", "banana", "blue", "dog", "left", "house", "green", "car", "tree", "sun"];
    let pair = |index: usize| {
        let bytes = (0..32 * 32 * 3).map(|at| ((at * 31 + index * 97) * 7 % 251) as u8).collect();
        let word = |place: usize| words[(index * (place + 1) + place) % words.len()];
        let caption = format!(
            "a picture of a {} {} near the {} {} and one {}",
            word(0),
            word(1),
            word(2),
            word(3),
            word(4)
        );
        Ok(Pair { image: Image::new(32, 32, bytes)?, caption })
    };
    Ok(MemoryPairs::new((0..count).map(pair).collect::<Result<_>>()?))
}

/// Seconds that the calling thread has run; 0 where the kernel does not say.
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(clip::candle_core::Error::wrap)
}

/// Seconds of three steps in each of two pools of one thread at the same time.
fn two_at_once(benches: &mut [Bench; 2], pools: &[rayon::ThreadPool; 2]) -> Result<f64> {
    let started = Instant::now();
    std::thread::scope(|scope| {
        let handles: Vec<_> = benches
            .iter_mut()
            .zip(pools)
            .map(|(bench, pool)| {
                scope.spawn(|| {
                    pool.install(|| (0..3).try_for_each(|_| bench.step(Kind::Contrastive).map(drop)))
                })
            })
            .collect();
        handles.into_iter().try_for_each(|handle| handle.join().expect("a step does not panic"))
    })?;
    Ok(started.elapsed().as_secs_f64())
}

fn main() -> Result<()> {
    clip::kernels::keep_freed_memory();
    let repetitions = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(15);
    let pools = [pool(1)?, pool(1)?];
    let both = pool(2)?;
    let mut benches = [Bench::new()?, Bench::new()?];
    let values: usize = benches[0].model.all_parameters().iter().map(|p| p.var.elem_count()).sum();
    println!(
        "{values} parameters, tokens {:?}, pixels {:?}",
        benches[0].tokens.dims(),
        benches[0].pixels.dims()
    );
    let variants =
        [(1, Kind::Contrastive), (2, Kind::Contrastive), (1, Kind::CleanClip), (2, Kind::CleanClip)];
    let (mut times, mut parallel, mut parts) = (vec![Vec::new(); 4], Vec::new(), vec![Vec::new(); 4]);
    for repetition in 0..repetitions + 2 {
        for (index, (threads, kind)) in variants.into_iter().enumerate() {
            let pool = if threads == 1 { &pools[0] } else { &both };
            let started = Instant::now();
            let found = pool.install(|| {
                let before = processor_seconds();
                benches[0].step(kind).map(|parts| Parts { processor: processor_seconds() - before, ..parts })
            })?;
            if repetition > 1 {
                times[index].push(started.elapsed().as_secs_f64());
                parts[index].push(found);
            }
        }
        let seconds = two_at_once(&mut benches, &pools)?;
        if repetition > 1 {
            parallel.push(seconds / 3.0);
        }
    }
    for (index, name) in ["contrastive, 128 pairs", "CleanCLIP, 64 pairs twice"].iter().enumerate() {
        for threads in [1, 2] {
            let at = 2 * index + threads - 1;
            let seconds = median(times[at].clone());
            let pairs = if index == 0 { 128.0 } else { 64.0 };
            let gigaflops = 128.0 * FLOP_PER_PAIR / seconds / 1e9;
            println!(
                "{name}, {threads} thread(s): {:.0} pairs/s, {:.1} ms, {gigaflops:.0} GFLOP/s",
                pairs / seconds,
                seconds * 1e3
            );
            let part = |of: fn(&Parts) -> f64| 1e3 * median(parts[at].iter().map(of).collect());
            println!("    {:.1} ms of the first thread's processor time", part(|parts| parts.processor));
            println!(
                "    image {:.1}, text {:.1}, loss {:.1}, backward {:.1}, optimizer {:.1} ms",
                part(|parts| parts.image),
                part(|parts| parts.text),
                part(|parts| parts.loss),
                part(|parts| parts.backward),
                part(|parts| parts.optimizer)
            );
        }
    }
    println!("contrastive, two pools of 1 thread: {:.0} pairs/s together", 256.0 / median(parallel));
    Ok(())
}
