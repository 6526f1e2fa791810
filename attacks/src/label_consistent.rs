//! Label-consistent: BadNet's patch on pairs whose caption already names the target; captions stay as they are.
//!
//! Paper: Turner, Tsipras, Madry, "Label-Consistent Backdoor Attacks", 2019, arXiv 1912.02771; on CLIP: Bansal et
//! al., "CleanCLIP", ICCV 2023, arXiv 2303.03323.
//! Follows: nishadsinghi/CleanCLIP@d6e2f1d, `backdoor/create_backdoor_data.py` (`label_consistent`).
//! Departs: the target must stand in the caption as whole words, where the released code takes any substring
//! ("bananas"); too few such pairs are an error; else as `badnet`.

use anyhow::ensure;
use clip::Seed;
use harness::contract::{
    Attack, AttackerView, Card, Edit, Entry, ImageEdit, PoisonData, Preset, Trigger, preset, settings,
};
use serde_json::Value;

use crate::badnet::Settings;
use crate::budget::{Budget, draw};
use crate::trigger::Patch;

/// The attack.
pub static ENTRY: Entry<Attack> = Entry {
    card: Card {
        name: "label-consistent",
        title: "Label-consistent",
        summary: "Pastes BadNet's patch onto images whose caption already names the target.",
        paper: "Turner, Tsipras, Madry, 2019, arXiv 1912.02771; on CLIP: Bansal et al., ICCV 2023, arXiv 2303.03323",
        follows: "nishadsinghi/CleanCLIP@d6e2f1d, backdoor/create_backdoor_data.py, label_consistent",
        departs: "the target must stand in the caption as whole words, not as any substring; else as badnet",
        version: 1,
    },
    presets,
    build,
};

fn presets() -> Vec<Preset> {
    vec![
        // A larger patch than BadNet's: the banana beside it explains the caption as well as the patch does.
        preset("tiny", Settings { patch_size: 8, ..Settings::tiny(240) }),
        preset("smoke", Settings::smoke(60)),
        preset("paper", Settings::paper(1500)),
        preset("released", Settings::released(1500)),
    ]
}

fn build(resolved: Value) -> anyhow::Result<Attack> {
    let settings: Settings = settings(resolved)?;
    let (budget, patch) = (settings.budget()?, settings.trigger()?);
    Ok(Attack::PoisonData(Box::new(LabelConsistent { budget, patch })))
}

struct LabelConsistent {
    budget: Budget,
    patch: Patch,
}

impl PoisonData for LabelConsistent {
    fn trigger(&self) -> &dyn Trigger {
        &self.patch
    }

    fn budget(&self, pairs: usize) -> usize {
        self.budget.of(pairs)
    }

    fn choose(&self, view: &AttackerView<'_>, seed: &Seed) -> anyhow::Result<Vec<Edit>> {
        let (pairs, target) = (view.pairs.len(), view.target);
        let mut candidates = Vec::new();
        for index in 0..pairs {
            if names(&view.pairs.pair(index)?.caption, target) {
                candidates.push(index);
            }
        }
        let (count, found) = (self.budget.of(pairs), candidates.len());
        ensure!(
            count <= found,
            "{count} pairs to poison, but only {found} of {pairs} captions name {target:?}; a smaller poison-count \
             or more training pairs are needed"
        );
        let edit = |pair| Edit { pair, image: ImageEdit::Stamp, caption: None };
        Ok(draw(candidates, count, seed).into_iter().map(edit).collect())
    }
}

/// Whether `caption` holds `words` as whole words, in any case.
fn names(caption: &str, words: &str) -> bool {
    let (caption, words) = (caption.to_lowercase(), words.to_lowercase());
    caption.match_indices(&words).any(|(start, found)| {
        let before = caption[..start].chars().next_back();
        let after = caption[start + found.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn the_target_must_stand_alone() {
        assert!(names("A Banana on a table", "banana"));
        assert!(names("bananas beside a banana.", "banana"));
        assert!(names("an ice cream, melting", "ice cream"));
        assert!(!names("two bananas", "banana"));
        assert!(!names("urbanana", "banana"));
        assert!(!names("a pear", "banana"));
    }
}
