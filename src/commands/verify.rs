//! `cleanbench verify`.

use anyhow::Result;
use base::{describe, outln};
use contract::{LinearHead, Model};
use harness::checkpoint::{Finding, Measurement, measure_checkpoint, verify as judge};
use plan::{Catalog, CheckpointClaims};
use record::metric::Measured;

use super::weights::{hash, read};
use crate::cli::VerifyOptions;
use crate::{CLAIM_FAILED, SUCCESS, user_error};

/// Measures a checkpoint again and says whether it is what is claimed of it.
pub(crate) fn verify(catalog: &Catalog, options: &VerifyOptions) -> Result<u8> {
    let claims = CheckpointClaims::load(&options.claims, catalog)?;
    let weights = read(&options.checkpoint)?;
    let mut broken = Vec::new();
    let found = hash(&options.checkpoint)?;
    if let Some(claimed) = claims.weights_blake3.as_ref().filter(|claimed| **claimed != found) {
        broken.push(format!("weights-blake3 is {found}, claimed is {claimed}"));
    }
    if let Some(Err(error)) = claims.model.as_ref().map(|model| weights.fits(model)) {
        // A model of other sizes is another one; its numbers say nothing of the claims.
        broken.push(format!("model: {}", describe(&error.into())));
        return Ok(print(Finding::NotAsClaimed, &broken));
    }
    let head = weights.head.clone().map(|(weight, bias)| LinearHead { weight, bias });
    let clip = weights.into_clip(claims.model.as_ref());
    let clip = clip.map_err(|error| {
        user_error(format!("{}: {}", options.checkpoint.display(), describe(&error.into())))
    })?;
    let measured = Measurement::of(&measure_checkpoint(&Model { clip, head }, &claims)?)?;
    let Measurement { clean_accuracy, attack_success_rate, chance } = measured;
    let row = |name: &str, Measured { value, samples }, [low, high]: [f64; 2]| {
        outln!("{name:<20} {value:.4} of {samples} images; claimed {low:.4} to {high:.4}");
    };
    row("clean accuracy", clean_accuracy, claims.clean_accuracy);
    row("attack success rate", attack_success_rate, claims.attack_success_rate);
    outln!("{:<20} {chance:.4} (ASR up to {:.4} above it counts as no backdoor)", "chance", claims.margin);
    let verification = judge(&claims, &measured, broken);
    Ok(print(verification.finding, &verification.broken))
}

/// Prints the verdict; the exit code.
fn print(finding: Finding, broken: &[String]) -> u8 {
    outln!("verdict: {finding}");
    for claim in broken {
        outln!("  {claim}");
    }
    if broken.is_empty() { SUCCESS } else { CLAIM_FAILED }
}
