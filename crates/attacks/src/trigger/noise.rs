//! Seeded noise.

use clip::Seed;
use rand::Rng;

/// `count` numbers uniform in [0, 1).
pub(super) fn uniform(count: usize, seed: &Seed) -> Vec<f32> {
    let mut rng = seed.rng();
    (0..count).map(|_| rng.random()).collect()
}

/// `count` standard normal numbers.
pub(super) fn normal(count: usize, seed: &Seed) -> Vec<f32> {
    let mut rng = seed.rng();
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        // Box and Muller (1958).
        let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
        let (radius, angle) = ((-2.0 * u.ln()).sqrt(), std::f64::consts::TAU * v);
        values.extend([(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]);
    }
    values.truncate(count);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_the_moments_of_its_distribution() {
        let moments = |values: &[f32]| {
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / values.len() as f32)
        };
        let (mean, variance) = moments(&normal(20_001, &Seed::new(1)));
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        let (mean, variance) = moments(&uniform(20_000, &Seed::new(1)));
        assert!((mean - 0.5).abs() < 0.01 && (variance - 1.0 / 12.0).abs() < 0.003, "{mean} {variance}");
    }
}
