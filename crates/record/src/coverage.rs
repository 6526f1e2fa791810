//! How much of the requested data a run found in files and could use. Synthetic data are always complete and have no
//! entry.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What was found of the samples that a plan asks for, for one purpose; an entry of `data.yaml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Coverage {
    /// Label of the data set in the plan.
    pub set: String,
    /// What its samples were used for.
    pub used_for: String,
    /// How many the plan asks for.
    pub asked: usize,
    /// How many were there.
    pub found: usize,
    /// How many of them could be used.
    pub usable: usize,
    /// BLAKE3 of the usable ones in their order, pixels and captions or labels.
    pub content: String,
    /// How many could not be used, by reason.
    pub unusable: BTreeMap<String, usize>,
    /// The first hundred of those.
    pub first_unusable: Vec<BadSample>,
    /// What was noticed in their files: members of tars that belong to no sample, downloads that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// Names that several classes of a test set have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_names: Vec<String>,
}

impl Coverage {
    /// What readers of a table must know; nothing where all that the plan asks for was used, its files held nothing else,
    /// and classes have names of their own.
    pub fn notes(&self) -> Vec<String> {
        let Self { set, used_for, remarks, .. } = self;
        let remarks = remarks.iter().map(|remark| format!("{set}, {used_for}: {remark}"));
        self.incomplete().into_iter().chain(remarks).chain(self.ambiguous()).collect()
    }

    /// Classes of one name have the same prompts, hence equal scores, of which the lower index counts.
    fn ambiguous(&self) -> Option<String> {
        let Self { set, used_for, shared_names, .. } = self;
        (!shared_names.is_empty()).then(|| {
            format!(
                "{set}, {used_for}: several classes are called {}; prompts recognise only the first of each name, so the \
                 images of the others count as wrong",
                shared_names.join(" and ")
            )
        })
    }

    fn incomplete(&self) -> Option<String> {
        let Self { set, used_for, asked, found, usable, .. } = self;
        if usable == asked {
            return None;
        }
        let share = 100.0 * *usable as f64 / *asked as f64;
        let reasons = self.unusable.iter().map(|(reason, count)| format!("{count} {reason}"));
        let absent = asked.saturating_sub(*found);
        let absent = (absent > 0).then(|| format!("{absent} not there"));
        let why: Vec<String> = absent.into_iter().chain(reasons).collect();
        Some(format!("{set}, {used_for}: {usable} of {asked} ({share:.1} %); {}", why.join(", ")))
    }
}

/// A sample that cannot be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BadSample {
    /// The file, and its member where it holds many.
    pub sample: String,
    /// The reason, by which such samples are counted.
    pub reason: String,
    /// The whole error.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_whole_is_noted() {
        let mut coverage = Coverage {
            set: "cc3m".into(),
            used_for: "training pairs".into(),
            asked: 1000,
            found: 1000,
            usable: 1000,
            content: String::new(),
            unusable: BTreeMap::new(),
            first_unusable: Vec::new(),
            remarks: Vec::new(),
            shared_names: Vec::new(),
        };
        assert_eq!(coverage.notes(), [""; 0]);
        (coverage.found, coverage.usable) = (972, 970);
        coverage.unusable = BTreeMap::from([("cut off".into(), 2)]);
        let note = "cc3m, training pairs: 970 of 1000 (97.0 %); 28 not there, 2 cut off";
        assert_eq!(coverage.notes(), [note]);
        coverage.shared_names = vec!["missile".into(), "sunglasses".into()];
        assert!(coverage.notes()[1].contains("several classes are called missile and sunglasses"));
    }
}
