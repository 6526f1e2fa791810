//! Parts of a plan: with some of its defenses, or others in their place; or one cell.

use serde_yaml::{Mapping, Value};

use super::Plan;
use crate::catalog::Catalog;
use crate::run::BASELINE;

impl Plan {
    /// The same attacks with no defense and with the named ones: labels or families of the plan's, or entries of the
    /// catalog, which are then in the preset of the plan's first defense, where they have it. Claims are left out.
    pub fn narrowed(&self, catalog: &Catalog, names: &[&str]) -> anyhow::Result<Self> {
        let preset = self.defenses.iter().find(|defense| defense.entry.card.name != BASELINE);
        let mut rows = Vec::new();
        for name in [&[BASELINE], names].concat() {
            let mut own =
                self.defenses.iter().filter(|own| own.label == name || own.family() == name).peekable();
            if own.peek().is_none() {
                let entry = catalog.defenses.iter().find(|entry| entry.card.name == name);
                let presets = entry.map(|entry| (entry.presets)()).unwrap_or_default();
                let mut row = Mapping::from_iter([("name".into(), name.into())]);
                if let Some(preset) =
                    preset.filter(|wanted| presets.iter().any(|(name, _)| *name == wanted.preset))
                {
                    row.insert("preset".into(), preset.preset.as_str().into());
                }
                rows.push(Value::from(row));
            }
            for own in own {
                rows.push(serde_yaml::to_value(own.as_plan())?);
            }
        }
        let mut plan: Value = serde_yaml::from_str(&self.to_yaml()?)?;
        plan["defenses"] = rows.into();
        plan["expect"] = Value::Sequence(Vec::new());
        Ok(Self::parse("the plan of the comparison", &serde_yaml::to_string(&plan)?, catalog)?)
    }

    /// The same plan with only these attacks, this defense and this seed, and no claims: what is stored of them is found
    /// under the same keys.
    pub fn part(&self, attacks: &[&str], defense: &str, seed: u64) -> Self {
        let mut part = self.clone();
        part.attacks.retain(|attack| attacks.contains(&attack.label.as_str()));
        part.defenses.retain(|choice| choice.label == defense);
        part.seeds = vec![seed];
        part.claims.clear();
        part
    }
}
