//! Label-consistent: BadNet's patch on pairs whose caption already names the target; captions stay as they are.

use anyhow::ensure;
use clip::Seed;
use contract::{
    Attack, AttackerView, Card, Edit, Entry, ImageEdit, PoisonData, Preset, Trigger, grouped, settings, take,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::badnet::Settings as PatchSettings;
use crate::budget::{Budget, draw};
use crate::poisoning::Poisoning;
use crate::trigger::{Fitted, Noise, Patch};

/// The attack.
pub static ENTRY: Entry<Attack> = Entry {
    card: Card {
        name: "label-consistent",
        title: "Label-consistent",
        summary: "Pastes BadNet's patch onto images whose caption already names the target.",
        paper: "Turner, Tsipras, Madry, \"Label-Consistent Backdoor Attacks\", 2019, arXiv 1912.02771; on CLIP: \
                Bansal et al., \"CleanCLIP\", ICCV 2023, arXiv 2303.03323",
        follows: "nishadsinghi/CleanCLIP@d6e2f1d, `backdoor/create_backdoor_data.py` (`label_consistent`)",
        departs: "in `paper`, `tiny` and `smoke` the target must stand in the caption as whole words of any case, \
                  where the released code takes any substring of the same case (\"bananas\"); too few such pairs \
                  are an error; else as `badnet`",
        version: 1,
    },
    presets,
    build,
};

/// The settings beside those of the patch.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Captions {
    /// How a caption must name the target.
    r#match: Match,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Match {
    /// As whole words, in any case.
    WholeWord,
    /// Anywhere, in the same case.
    Substring,
}

fn presets() -> Vec<Preset> {
    let preset = |name, poisoning: Poisoning, how, patch: PatchSettings| {
        grouped(name, (poisoning, Captions { r#match: how }, patch))
    };
    vec![
        // A larger patch than BadNet's: the banana beside it explains the caption as well as the patch does.
        preset("tiny", Poisoning::as_is(240), Match::WholeWord, PatchSettings::fixed(8)),
        preset("smoke", Poisoning::as_is(60), Match::WholeWord, PatchSettings::fixed(5)),
        preset("paper", Poisoning::released(), Match::WholeWord, PatchSettings::paper()),
        preset("released", Poisoning::released(), Match::Substring, PatchSettings::released()),
    ]
}

fn build(resolved: Value) -> anyhow::Result<Attack> {
    let (poisoning, mut own): (Poisoning, Value) = Poisoning::split(resolved)?;
    let Captions { r#match: how } = take(&mut own, &Captions { r#match: Match::WholeWord })?;
    let patch = poisoning.fitted(settings::<PatchSettings>(own)?.trigger()?)?;
    Ok(Attack::PoisonData(Box::new(LabelConsistent { budget: poisoning.budget()?, how, patch })))
}

struct LabelConsistent {
    budget: Budget,
    how: Match,
    patch: Fitted<Patch<Noise>>,
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
            if self.how.names(&view.pairs.caption(index)?, target) {
                candidates.push(index);
            }
        }
        let (count, found) = (self.budget.check(pairs)?, candidates.len());
        ensure!(
            count <= found,
            "{count} pairs to poison, but only {found} of {pairs} captions name {target:?} (match: {}); a smaller \
             poison-count or more training pairs are needed",
            serde_json::to_value(self.how)?.as_str().unwrap_or_default()
        );
        let edit = |pair| Edit { pair, image: ImageEdit::Stamp, caption: None };
        Ok(draw(candidates, count, seed).into_iter().map(edit).collect())
    }
}

impl Match {
    /// Whether `caption` names `words`.
    fn names(self, caption: &str, words: &str) -> bool {
        if self == Self::Substring {
            return caption.contains(words);
        }
        let (caption, words) = (caption.to_lowercase(), words.to_lowercase());
        caption.match_indices(&words).any(|(start, found)| {
            let before = caption[..start].chars().next_back();
            let after = caption[start + found.len()..].chars().next();
            !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_must_stand_alone() {
        let names = |caption, words| Match::WholeWord.names(caption, words);
        assert!(names("A Banana on a table", "banana"));
        assert!(names("bananas beside a banana.", "banana"));
        assert!(names("an ice cream, melting", "ice cream"));
        assert!(!names("two bananas", "banana"));
        assert!(!names("urbanana", "banana"));
        assert!(!names("a pear", "banana"));
    }

    #[test]
    fn the_released_rule_takes_any_substring_of_the_same_case() {
        let names = |caption| Match::Substring.names(caption, "banana");
        assert!(names("two bananas") && names("urbanana"));
        assert!(!names("A Banana on a table") && !names("a pear"));
    }
}
