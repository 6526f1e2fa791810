//! Looks at a model that no plan made.

use anyhow::{Context, Result};
use clip::Seed;

use super::data::TestSet;
use super::observe::observe_set;
use crate::contract::Model;
use crate::evidence::SetEvidence;
use crate::plan::CheckpointClaims;

/// What a model says of the test images that `claims` name, clean and under the trigger: what a cell of that seed would
/// observe. An image that cannot be read is an error.
pub fn measure_checkpoint(model: &Model, claims: &CheckpointClaims) -> Result<SetEvidence> {
    let label = &claims.test.label;
    let set = claims.test.build()?;
    let source =
        set.classes.as_deref().with_context(|| format!("data set {label:?} has no labelled images"))?;
    let (resolution, seed) =
        (model.clip.config.image.resolution(), Seed::new(claims.data_seed).child("data"));
    let test = TestSet {
        label: label.clone(),
        classes: source.classes().to_vec(),
        templates: source.templates().to_vec(),
        images: source.images(claims.split, claims.test_images, resolution, &seed)?,
        pairs: None,
    };
    let seed = Seed::new(claims.seed).child("observe").child(label);
    observe_set(model, claims.attack.build()?.trigger(), &test, &claims.target, &seed, false)
        .with_context(|| format!("test set {label:?}"))
}
