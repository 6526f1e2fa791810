//! Refuses what single keys of a plan allow and what they say together does not.

use clip::{Image, Recipe, Seed};

use super::section::Source;
use super::{Choice, Plan, PlanError};
use crate::catalog::suggestion;
use crate::contract::{Attack, Dataset, Defense, Granted};

impl Plan {
    /// Refuses what single keys allow and what they say together does not.
    pub(super) fn check(&self, source: &Source<'_>) -> Result<(), PlanError> {
        let problem = |path: &[&str], message: String| {
            source.error(&path.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>(), message)
        };
        for attack in &self.attacks {
            check_attack(attack, self.pairs, self.model.image.resolution())
                .map_err(|message| problem(&["attacks"], message))?;
        }
        for test in &self.tests {
            check_target(test, &self.target).map_err(|message| problem(&["target"], message))?;
            self.split_of(test).map_err(|message| problem(&["data", "test", &test.label], message))?;
        }
        for defense in &self.defenses {
            let path = ["defenses", defense.family()];
            self.check_grant(defense).map_err(|message| problem(&path, message))?;
        }
        if let Some(method) = &self.pretraining {
            let message = self.check_granted(method, self.clean_pairs);
            message.map_err(|message| problem(&["pretraining", method.family()], message))?;
        }
        let Recipe { batch_size, .. } = self.recipe;
        if batch_size > self.pairs && self.pretraining.is_none() {
            let message =
                format!("one batch of {batch_size} takes more pairs than data.pairs, {}", self.pairs);
            return Err(problem(&["recipe", "batch-size"], message));
        }
        self.check_kinds().map_err(|(key, message)| problem(&["data", key], message))
    }

    /// A defense must be granted what there is, and enough of it.
    fn check_grant(&self, defense: &Choice<Defense>) -> Result<(), String> {
        let grant = self.grant(defense)?;
        self.check_granted(defense, grant.pairs)
    }

    fn check_granted(&self, defense: &Choice<Defense>, clean_pairs: usize) -> Result<(), String> {
        let (training_pairs, clean_images, recipe) = (self.pairs, self.clean_images, &self.recipe);
        let granted = Granted { training_pairs, clean_pairs, clean_images, recipe };
        let built = defense.build().and_then(|built| built.check(&granted));
        let label = if defense.label == defense.family() { "" } else { &format!("{}: ", defense.label) };
        built.map_err(|error| format!("{label}{error:#}"))
    }

    /// Data sets must have what they are for: captions to train on, labels to classify by. An error is of a key.
    fn check_kinds(&self) -> Result<(), (&'static str, String)> {
        let built =
            |key, choice: &Choice<Dataset>| choice.build().map_err(|error| (key, format!("{error:#}")));
        let train = built("train", &self.train)?;
        let no_captions = |choice: &Choice<Dataset>| format!("data set {:?} has no captions", choice.label);
        if train.pairs.is_none() {
            return Err(("train", no_captions(&self.train) + " to train on"));
        }
        for set in &self.clean {
            if built("clean", set)?.pairs.is_none() {
                return Err(("clean", no_captions(set)));
            }
        }
        let named = self.labelled.as_ref().map(|set| built("labelled", set)).transpose()?;
        match (&self.labelled, named.unwrap_or(train).classes) {
            (_, Some(_)) => Ok(()),
            (Some(set), None) => {
                Err(("labelled", format!("data set {:?} has no labelled images", set.label)))
            }
            (None, None) => {
                let label = &self.train.label;
                let message = format!(
                    "data set {label:?} has no labelled images, whose classes and prompts attacks and defenses \
                     need; data.labelled names a set that has, such as one of data.test"
                );
                Err(("train", message))
            }
        }
    }
}

/// An attack cannot edit more pairs than there are, and its trigger must fit the images.
fn check_attack(attack: &Choice<Attack>, pairs: usize, resolution: usize) -> Result<(), String> {
    let named = |error: anyhow::Error| format!("{}: {error:#}", attack.label);
    let built = attack.build().map_err(|error| format!("{error:#}"))?;
    if let Attack::PoisonData(method) = &built
        && method.budget(pairs) > pairs
    {
        let edits = method.budget(pairs);
        return Err(format!("{:?} would edit {edits} of {pairs} pairs (data.pairs)", attack.label));
    }
    let blank = Image::new(resolution, resolution, vec![128; resolution * resolution * 3]);
    let blank = blank.map_err(|error| error.to_string())?;
    built.trigger().stamp(&blank, &Seed::new(0)).map_err(named)?;
    Ok(())
}

/// The target must be a class of every test set.
pub(super) fn check_target(test: &Choice<Dataset>, target: &str) -> Result<(), String> {
    let built = test.build().map_err(|error| format!("{error:#}"))?;
    let Some(classes) = &built.classes else {
        return Err(format!("data set {:?} has no labelled images to test on", test.label));
    };
    let names: Vec<&str> = classes.classes().iter().map(String::as_str).collect();
    if let [only] = names[..] {
        return Err(format!(
            "data set {:?} has a single class, {only:?}; an attack needs another to lead to the target",
            test.label
        ));
    }
    if names.contains(&target) {
        return Ok(());
    }
    Err(format!("{target:?} is no class of data set {:?}; {}", test.label, suggestion(target, &names)))
}
