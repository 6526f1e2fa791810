//! A metric of your own, outside the repository: the whole program with one more metric.

use std::process::ExitCode;

use cleanbench::RunCli;
use cleanbench::record::Metric;
use cleanbench::record::metric::{Direction, Measured, Needs, Unit};

static FLIPS: Metric = Metric {
    name: "prediction-flip-rate",
    definition: "images whose highest-scoring class changes when the trigger is stamped",
    unit: Unit::Fraction,
    range: [0.0, 1.0],
    direction: Direction::Lower,
    needs: Needs::Images,
    measure: |set| {
        let pairs = set.clean.iter().zip(&set.triggered);
        let flips = pairs.filter(|(clean, triggered)| clean.prediction != triggered.prediction).count();
        let samples = set.labels.len();
        (samples > 0).then(|| Measured { value: flips as f64 / samples as f64, samples })
    },
};

fn main() -> ExitCode {
    cleanbench::builtin().metric(&FLIPS).run_cli()
}
