//! What a plan is going to cost, in floating-point operations of matrix products and convolutions, and in memory.

use clip::flop;
use contract::{Attack, Dataset, Defense};

use crate::choice::Choice;
use crate::plan::Plan;

/// Bytes of the program, its vocabulary and what the allocator keeps.
const PROGRAM: f64 = 80e6;

/// Bytes of memory that cells at a time take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// Together, however many they are.
    pub shared: f64,
    /// Each of them.
    pub each: f64,
}

impl Memory {
    /// With `jobs` cells at a time.
    pub fn of(&self, jobs: usize) -> f64 {
        self.shared + jobs as f64 * self.each
    }
}

/// Floating-point operations of the stages of a plan.
pub struct Cost<'a> {
    plan: &'a Plan,
}

/// Checking a sample (reading and hashing it), in training examples: no pass through a tower.
const CHECK: f64 = 0.1;

impl<'a> Cost<'a> {
    /// The costs of a plan's stages.
    pub fn of(plan: &'a Plan) -> Self {
        Self { plan }
    }

    /// A training step's share of one image–caption pair, at full caption length.
    fn example(&self) -> f64 {
        let batch = self.plan.recipe.batch_size;
        flop::step(&self.plan.model, batch, self.plan.model.text.context_length) / batch as f64
    }

    /// Training one model.
    pub fn training(&self) -> f64 {
        let plan = self.plan;
        let recipe = (plan.pairs * plan.recipe.epochs) as f64;
        let work = match plan.pretraining.as_ref().map(Choice::build) {
            Some(Ok(method)) => method.work(&plan.granted(plan.clean_pairs)).unwrap_or(recipe),
            _ => recipe,
        };
        work * self.example()
    }

    /// Applying a defense: what it says of its own work, or a training for those that only choose training pairs.
    pub fn defense(&self, defense: &Choice<Defense>) -> f64 {
        let granted = self.plan.granted(self.plan.grant(defense).pairs);
        let work = defense.build().ok().and_then(|method| method.work(&granted));
        work.map_or_else(|| self.training(), |examples| examples * self.example())
    }

    /// Evaluating one model under one trigger: every test image, clean and triggered.
    pub fn observation(&self) -> f64 {
        let images = 2 * self.plan.test_images * self.plan.tests.len();
        images as f64 * flop::image(&self.plan.model).iter().sum::<f64>()
    }

    /// Checking samples that are read from files.
    pub fn check(&self, samples: usize) -> f64 {
        samples as f64 * CHECK * self.example()
    }

    /// What cells at a time will take of memory: the program and images that are drawn (those that are read from files are
    /// not kept), and a training for each cell ([`clip::footprint`]). Builds the plan's data sets.
    pub fn memory(&self) -> Memory {
        let plan = self.plan;
        let drawn = |set: &Choice<Dataset>| set.build().is_ok_and(|set| set.drawn);
        let of_training_set = [(&plan.train, plan.pairs + plan.clean_pairs)];
        let labelled = [(plan.labelled.as_ref().unwrap_or(&plan.train), plan.clean_images)];
        let tests = plan.tests.iter().map(|set| (set, plan.test_images + plan.test_pairs));
        let images = of_training_set.into_iter().chain(labelled).chain(tests);
        let images: usize = images.filter(|(set, _)| drawn(set)).map(|(_, count)| count).sum();
        let image = 3.0 * plan.model.image.resolution().pow(2) as f64;
        let each = clip::footprint::training(&plan.model, plan.recipe.batch_size);
        Memory { shared: PROGRAM + images as f64 * image, each }
    }

    /// Pairs that are poisoned under an attack, as far as it says before it sees them.
    pub fn poisoned(&self, attack: &Choice<Attack>) -> usize {
        match attack.build() {
            Ok(Attack::PoisonData(method)) => method.budget(self.plan.pairs),
            _ => 0,
        }
    }
}
