//! A plan with other defenses.

use base::BASELINE;
use contract::find;

use crate::catalog::Catalog;
use crate::check::{check, grant};
use crate::choice::Choice;
use crate::plan::Plan;
use crate::section::{PlanError, Source};

impl Plan {
    /// The same attacks with no defense and with the named ones: labels or families of the plan's, or entries of the
    /// catalog, which are then in the preset of the plan's first defense if they have it, otherwise in their first.
    /// Claims are left out.
    pub fn narrowed(&self, catalog: &Catalog, names: &[&str]) -> Result<Self, PlanError> {
        let source = Source { file: "the plan of the comparison", text: "", builds: true };
        let wanted = self.defenses.iter().find(|defense| !defense.entry.card.is_baseline());
        let mut defenses: Vec<Choice<_>> = Vec::new();
        for name in [&[BASELINE], names].concat() {
            let own = self.defenses.iter().filter(|own| own.label == name || own.family == name);
            let before = defenses.len();
            defenses.extend(own.cloned());
            if defenses.len() > before {
                continue;
            }
            let entry = find("defense", &catalog.defenses, name)
                .map_err(|message| source.error(&["defenses".to_owned()], message))?;
            let presets = (entry.presets)();
            let first = presets.first().map(|(name, _)| *name);
            let preset = wanted.and_then(|wanted| Choice::preset(entry, &wanted.preset));
            defenses.extend(preset.or_else(|| Choice::preset(entry, first?)));
        }
        let mut plan = Self { defenses, claims: Vec::new(), ..self.clone() };
        grant(&mut plan, &source)?;
        check(&plan, &source)?;
        Ok(plan)
    }
}
