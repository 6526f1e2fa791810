//! Refuses what single keys of a plan allow and what they say together does not.

use base::suggestion;
use clip::{Image, Recipe, Seed};
use contract::{Attack, Dataset, Defense, Granted, Split};

use crate::choice::Choice;
use crate::grant::{Grant, SPLIT, read};
use crate::plan::Plan;
use crate::section::{PlanError, Source};

fn problem(source: &Source<'_>, path: &[&str], message: String) -> PlanError {
    source.error(&path.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>(), message)
}

/// Resolves what each defense is granted.
pub(crate) fn grant(plan: &mut Plan, source: &Source<'_>) -> Result<(), PlanError> {
    for defense in &plan.defenses {
        let granted = Grant::of(defense, plan.clean_pairs, &plan.train, &plan.clean);
        let granted = granted.map_err(|message| problem(source, &["defenses", &defense.family], message))?;
        plan.grants.insert(defense.label.clone(), granted);
    }
    Ok(())
}

/// Refuses what single keys allow and what they say together does not.
pub(crate) fn check(plan: &Plan, source: &Source<'_>) -> Result<(), PlanError> {
    let problem = |path: &[&str], message: String| problem(source, path, message);
    for attack in &plan.attacks {
        check_attack(attack, plan.pairs, plan.model.image.resolution())
            .map_err(|message| problem(&["attacks"], message))?;
    }
    for test in &plan.tests {
        check_target(test, &plan.target).map_err(|message| problem(&["target"], message))?;
        let split = read::<_, Split>(test, SPLIT);
        split.map_err(|message| problem(&["data", "test", &test.label], message))?;
    }
    plan.check_captions().map_err(|(key, message)| problem(&["data", key], message))?;
    for defense in &plan.defenses {
        let message = plan.check_granted(defense, plan.grant(defense).pairs);
        message.map_err(|message| problem(&["defenses", &defense.family], message))?;
    }
    if let Some(method) = &plan.pretraining {
        let message = plan.check_granted(method, plan.clean_pairs);
        message.map_err(|message| problem(&["pretraining", &method.family], message))?;
    }
    let Recipe { batch_size, .. } = plan.recipe;
    if batch_size > plan.pairs && plan.pretraining.is_none() {
        let message = format!("one batch of {batch_size} takes more pairs than data.pairs, {}", plan.pairs);
        return Err(problem(&["recipe", "batch-size"], message));
    }
    plan.check_kinds().map_err(|(key, message)| problem(&["data", key], message))
}

impl Plan {
    /// What a defense may use of everything, before any of it is read.
    pub fn granted(&self, clean_pairs: usize) -> Granted<'_> {
        let Self { pairs: training_pairs, clean_images, recipe, .. } = self;
        Granted { training_pairs: *training_pairs, clean_pairs, clean_images: *clean_images, recipe }
    }

    fn check_granted(&self, defense: &Choice<Defense>, clean_pairs: usize) -> Result<(), String> {
        let built = defense.build().and_then(|built| built.check(&self.granted(clean_pairs)));
        let label = if defense.label == defense.family { "" } else { &format!("{}: ", defense.label) };
        built.map_err(|error| format!("{label}{error:#}"))
    }

    /// Where pairs are tested on, one of the test sets must have captions.
    fn check_captions(&self) -> Result<(), (&'static str, String)> {
        let captioned = |test: &Choice<Dataset>| test.build().is_ok_and(|built| built.pairs.is_some());
        if self.test_pairs == 0 || self.tests.iter().any(captioned) {
            return Ok(());
        }
        let labels: Vec<&str> = self.tests.iter().map(|test| test.label.as_str()).collect();
        let message = format!("no test set of {labels:?} has captions; leave it out or set it to 0");
        Err(("test-pairs", message))
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
pub(crate) fn check_target(test: &Choice<Dataset>, target: &str) -> Result<(), String> {
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
    Err(format!("{target:?} is not a class of data set {:?}; {}", test.label, suggestion(target, &names)))
}
