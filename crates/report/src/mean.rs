//! Means over seeds.

use record::statistics::variance;

/// The mean of a metric over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// The mean, in the metric's unit.
    pub mean: f64,
    /// Standard deviation (n − 1); `None` for one seed.
    pub deviation: Option<f64>,
    /// Number of seeds.
    pub seeds: usize,
}

impl Mean {
    /// The mean of some values; `None` where there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mean = record::statistics::mean(values)?;
        Some(Self { mean, deviation: variance(values).map(f64::sqrt), seeds: values.len() })
    }
}

/// In percent with one decimal: `71.3 ± 0.4`, or `71.3` for one seed.
impl std::fmt::Display for Mean {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:.1}", self.mean * 100.0)?;
        match self.deviation {
            Some(deviation) => write!(formatter, " ± {:.1}", deviation * 100.0),
            None => Ok(()),
        }
    }
}
