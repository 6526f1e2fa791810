//! A part of a plan: a cell and what it is observed under.

use super::Plan;

impl Plan {
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
