//! The values of a model by name, in a fixed order.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor, Var, bail};
use rand::Rng;

use crate::{Precision, Seed};

/// PyTorch's default of layer norm.
const LAYER_NORM_EPSILON: f64 = 1e-5;

/// Whether batch norm uses the batch's statistics (and updates the running ones) or the running ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The batch's.
    Train,
    /// The running ones.
    Eval,
}

/// A trainable value.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// OpenAI's name for it.
    pub name: String,
    /// The value; shared with the model.
    pub var: Var,
    /// Whether weight decay applies: to matrices, convolutions and embeddings, not to norms, biases and scales.
    pub decays: bool,
}

impl Parameter {
    /// A parameter that decays if it has two or more dimensions.
    pub fn new(name: impl Into<String>, var: Var) -> Self {
        let decays = var.rank() >= 2;
        Self { name: name.into(), var, decays }
    }
}

/// All parameters and running statistics of a model, by OpenAI's names. Convolutions are `[O, KH, KW, I]` here and
/// `[O, I, KH, KW]` in files.
#[derive(Default)]
pub struct Parameters {
    vars: BTreeMap<String, Var>,
    running: BTreeMap<String, Var>,
    /// How a model computes with them.
    pub(crate) precision: Precision,
}

impl Parameters {
    /// The parameter called `name`.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.var(name).map(Var::as_tensor)
    }

    pub(crate) fn var(&self, name: &str) -> Result<&Var> {
        match self.vars.get(name) {
            Some(var) => Ok(var),
            None => bail!("the model has no parameter {name:?}"),
        }
    }

    pub(crate) fn insert(&mut self, name: &str, value: Tensor) -> Result<()> {
        self.vars.insert(name.to_owned(), Var::from_tensor(&value)?);
        Ok(())
    }

    pub(crate) fn insert_running(&mut self, name: &str, value: Tensor) -> Result<()> {
        self.running.insert(name.to_owned(), Var::from_tensor(&value)?);
        Ok(())
    }

    /// Every parameter, ordered by name.
    pub fn all(&self) -> Vec<Parameter> {
        self.vars.iter().map(|(name, var)| Parameter::new(name, var.clone())).collect()
    }

    /// Every running statistic, ordered by name.
    pub fn all_running(&self) -> Vec<(String, Tensor)> {
        self.running.iter().map(|(name, value)| (name.clone(), value.as_detached_tensor())).collect()
    }

    pub(crate) fn running(&self, name: &str) -> Result<&Var> {
        match self.running.get(name) {
            Some(value) => Ok(value),
            None => bail!("the model has no running statistic {name:?}"),
        }
    }

    /// Replaces a running statistic; an error where it does not exist or has another length.
    pub(crate) fn set_running(&self, name: &str, value: &Tensor) -> Result<()> {
        let running = self.running(name)?;
        if running.dims() != value.dims() {
            bail!("running statistic {name:?}: expected {:?}, found {:?}", running.dims(), value.dims());
        }
        running.set(&value.to_device(running.device())?)
    }

    /// Moves a running statistic by `momentum` towards the batch's.
    pub(crate) fn update_running(&self, name: &str, batch: &Tensor, momentum: f64) -> Result<()> {
        let old = self.running(name)?.as_detached_tensor();
        self.set_running(name, &(&old + ((batch - &old)? * momentum)?)?)
    }
}

/// Parameters as a tower reads them.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) parameters: &'a Parameters,
    /// Whether gradients are wanted.
    pub(crate) tracked: bool,
}

impl Weights<'_> {
    pub(crate) fn get(&self, name: &str) -> Result<Tensor> {
        let tensor = self.parameters.get(name)?;
        Ok(if self.tracked { tensor.clone() } else { tensor.detach() })
    }

    /// Weight and bias of the layer called `name`.
    pub(crate) fn pair(&self, name: &str) -> Result<(Tensor, Tensor)> {
        Ok((self.get(&format!("{name}.weight"))?, self.get(&format!("{name}.bias"))?))
    }

    /// The fully connected layer called `name`: `[.., I]` to `[.., O]`.
    pub(crate) fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let (w, b) = self.pair(name)?;
        kernels::linear(x, &w, Some(&b))
    }

    /// The product with the matrix `[I, O]` called `name`: `[.., I]` to `[.., O]`.
    pub(crate) fn project(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        kernels::linear(x, &self.get(name)?.t()?.contiguous()?, None)
    }

    pub(crate) fn layer_norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let (gamma, beta) = self.pair(name)?;
        kernels::layer_norm(x, &gamma, &beta, LAYER_NORM_EPSILON)
    }
}

/// Which tensors a model has and their shapes, convolutions `[O, KH, KW, I]`.
#[derive(Default)]
pub(crate) struct Shapes {
    pub(crate) parameters: BTreeMap<String, Vec<usize>>,
    pub(crate) running: BTreeMap<String, Vec<usize>>,
}

/// Draws initial values: each parameter from the seed below `seed` with its own name, so that no value depends on
/// which others exist. Without a seed only the shapes are written down.
pub(crate) struct Initialiser<'a> {
    pub(crate) seed: Option<&'a Seed>,
    pub(crate) parameters: Parameters,
    pub(crate) shapes: Shapes,
}

impl<'a> Initialiser<'a> {
    pub(crate) fn new(seed: Option<&'a Seed>) -> Self {
        Self { seed, parameters: Parameters::default(), shapes: Shapes::default() }
    }

    /// One parameter; `draw` gives as many values as it is asked for.
    fn parameter(
        &mut self,
        name: &str,
        shape: &[usize],
        draw: impl FnOnce(&Seed, usize) -> Vec<f32>,
    ) -> Result<()> {
        let Some(seed) = self.seed else {
            self.shapes.parameters.insert(name.to_owned(), shape.to_vec());
            return Ok(());
        };
        let values = draw(&seed.child(name), shape.iter().product());
        self.parameters.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    /// Normal with mean 0.
    pub(crate) fn normal(&mut self, name: &str, shape: &[usize], deviation: f64) -> Result<()> {
        self.parameter(name, shape, |seed, count| {
            let (mut rng, mut values) = (seed.rng(), Vec::with_capacity(count + 1));
            while values.len() < count {
                // Box and Muller (1958).
                let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
                let (radius, angle) = ((-2.0 * u.ln()).sqrt() * deviation, std::f64::consts::TAU * v);
                values.extend([(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]);
            }
            values.truncate(count);
            values
        })
    }

    pub(crate) fn uniform(&mut self, name: &str, shape: &[usize], bound: f64) -> Result<()> {
        self.parameter(name, shape, |seed, count| {
            let mut rng = seed.rng();
            (0..count).map(|_| ((rng.random::<f64>() * 2.0 - 1.0) * bound) as f32).collect()
        })
    }

    pub(crate) fn constant(&mut self, name: &str, shape: &[usize], value: f32) -> Result<()> {
        self.parameter(name, shape, |_, count| vec![value; count])
    }

    /// PyTorch's default for a fully connected layer: weights and bias uniform within ± 1/√inputs.
    pub(crate) fn linear(&mut self, name: &str, inputs: usize, outputs: usize) -> Result<()> {
        let bound = (inputs as f64).powf(-0.5);
        self.uniform(&format!("{name}.weight"), &[outputs, inputs], bound)?;
        self.uniform(&format!("{name}.bias"), &[outputs], bound)
    }

    /// PyTorch's default for a convolution without bias, uniform within ± 1/√fan-in; `[O, K, K, I]`.
    pub(crate) fn convolution(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
        kernel: usize,
    ) -> Result<()> {
        let bound = ((inputs * kernel * kernel) as f64).powf(-0.5);
        self.uniform(&format!("{name}.weight"), &[outputs, kernel, kernel, inputs], bound)
    }

    /// A layer or batch norm: `scale` and 0.
    pub(crate) fn norm(&mut self, name: &str, width: usize, scale: f32) -> Result<()> {
        self.constant(&format!("{name}.weight"), &[width], scale)?;
        self.constant(&format!("{name}.bias"), &[width], 0.0)
    }

    /// A batch norm with its running statistics.
    pub(crate) fn batch_norm(&mut self, name: &str, width: usize, scale: f32) -> Result<()> {
        for (statistic, value) in [("running_mean", 0f32), ("running_var", 1.0)] {
            let name = format!("{name}.{statistic}");
            if self.seed.is_some() {
                self.parameters.insert_running(&name, Tensor::full(value, width, &Device::Cpu)?)?;
            } else {
                self.shapes.running.insert(name, vec![width]);
            }
        }
        self.norm(name, width, scale)
    }
}
