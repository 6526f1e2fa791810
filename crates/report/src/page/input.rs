//! What a page is made from.

use std::collections::BTreeMap;

use record::evidence::map::EmbeddingMap;
use record::{Design, Manifest, Method, Row, TargetScores, View};

use crate::comparison::Comparison;
use crate::frontier::chooser;
use crate::sheet::Sheet;
use crate::summary::Summary;

/// Which setting stands for a defense where not all can.
pub(crate) const CHOSEN: &str = "Of a swept defense the setting is shown that keeps the most clean accuracy at an attack success \
                      rate of at most 10 % after its last epoch, or else has the lowest.";

/// What a page is made from.
pub struct Page<'a> {
    /// What the record is called.
    pub name: &'a str,
    /// What the report of it says.
    pub sheet: &'a Sheet<'a>,
    /// Its rows.
    pub rows: &'a [Row],
    /// Its means.
    pub summary: &'a Summary,
    /// The models' scores of the target class.
    pub scores: &'a TargetScores,
    /// Each defense beside one of them, and which.
    pub compared: Option<(&'a str, &'a [Comparison])>,
    /// Where images lie, by cell; empty for records of older programs.
    pub maps: &'a BTreeMap<View, EmbeddingMap>,
    /// What the attacks did to training pairs, by seed and label of the attack.
    pub manifests: &'a BTreeMap<(u64, String), Manifest>,
    /// What others published.
    pub published: &'a [Published],
    /// What the triggers look like.
    pub gallery: &'a [Gallery],
    /// BLAKE3 of the record's files, by name.
    pub files: &'a BTreeMap<String, String>,
    /// The record's environment, as it stands in its file.
    pub environment: &'a str,
}

/// What the trigger of one attack looks like.
pub struct Gallery {
    /// Label of the attack.
    pub attack: String,
    /// For each image: clean, triggered, and ten times what changed around grey, as PNG files.
    pub images: Vec<[Vec<u8>; 3]>,
}

/// A published model, plotted beside the record's own.
pub struct Published {
    /// Name of the attack's entry.
    pub attack: &'static str,
    /// Name of the defense's entry.
    pub defense: &'static str,
    /// Its clean accuracy, a fraction.
    pub clean_accuracy: f64,
    /// Its attack success rate, a fraction.
    pub attack_success_rate: f64,
    /// Which of the published models it is.
    pub setting: &'static str,
    /// Where it is published.
    pub source: &'static str,
    /// Model, training and test data.
    pub scale: &'static str,
}

/// Success rate up to which a setting counts as one that removes a backdoor, when the setting to show is chosen.
pub(crate) const REMOVED: f64 = 0.10;

impl<'a> Page<'a> {
    /// The experiment.
    pub(crate) fn design(&self) -> &'a Design {
        self.sheet.design
    }

    /// One label for each family of defenses; of a sweep the setting that keeps the most clean accuracy at a success rate
    /// of at most [`REMOVED`] after its last epoch, otherwise the one with the lowest success rate: means over seeds, on the
    /// set where models are chosen.
    pub(crate) fn settings_shown(&self, attack: &str) -> Vec<&'a str> {
        let (set, _) = chooser(self.design());
        let rank = |label: &str| match self.summary.pair(attack, label, set) {
            None => (0, 0.0),
            Some([accuracy, success]) if success.mean <= REMOVED => (2, accuracy.mean),
            Some([_, success]) => (1, -success.mean),
        };
        let shown = |family: &'a str| {
            let family = self.design().family(family);
            let labels = family.map(|Method { label, .. }| (rank(label), label.as_str()));
            // The first of equally good ones.
            let best = labels.reduce(|best, other| {
                let order = other.0.0.cmp(&best.0.0).then(other.0.1.total_cmp(&best.0.1));
                if order.is_gt() { other } else { best }
            });
            best.map(|(_, label)| label)
        };
        self.design().families().into_iter().filter_map(shown).collect()
    }
}
