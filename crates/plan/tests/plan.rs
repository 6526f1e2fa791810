//! Plans over a toy catalog: what is refused, and what a record will say of them.

use std::sync::Arc;

use contract::{
    Attack, AttackerView, Card, ClassSource, Dataset, DefenderView, Defense, Edit, Entry, Granted, Labelled,
    Model, PairSource, PoisonData, Preset, RepairModel, Split, Trigger,
};
use plan::{Catalog, Plan};
use record::evidence::SetEvidence;
use record::metric::{Direction, Measured, Metric, Needs, Unit};
use record::{Design, Metrics};

/// An attack, a defense and the pairs of a data set that are only names.
struct Toy;

/// A data set with this number of classes.
struct Classes(usize);

static CLASSES: std::sync::LazyLock<Vec<String>> =
    std::sync::LazyLock::new(|| vec!["banana".to_owned(), "apple".to_owned()]);

impl ClassSource for Classes {
    fn classes(&self) -> &[String] {
        &CLASSES[..self.0]
    }
    fn templates(&self) -> &[String] {
        &CLASSES
    }
    fn images(&self, _: Split, _: usize, _: usize, _: &clip::Seed) -> anyhow::Result<Arc<dyn Labelled>> {
        anyhow::bail!("not rendered here")
    }
}

impl PairSource for Toy {
    fn pairs(&self, _: Split, _: usize, _: usize, _: &clip::Seed) -> anyhow::Result<Arc<dyn clip::Pairs>> {
        anyhow::bail!("not rendered here")
    }
}

impl Trigger for Toy {
    fn stamp(&self, image: &clip::Image, _: &clip::Seed) -> anyhow::Result<clip::Image> {
        Ok(image.clone())
    }
    fn parameters(&self, _: &clip::Image, _: &clip::Seed) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::json!({}))
    }
}

impl PoisonData for Toy {
    fn trigger(&self) -> &dyn Trigger {
        self
    }
    fn budget(&self, _: usize) -> usize {
        0
    }
    fn choose(&self, _: &AttackerView<'_>, _: &clip::Seed) -> anyhow::Result<Vec<Edit>> {
        Ok(Vec::new())
    }
}

impl RepairModel for Toy {
    fn work(&self, _: &Granted<'_>) -> f64 {
        0.0
    }
    fn repair(
        &self,
        clip: clip::Clip,
        _: &DefenderView<'_>,
        _: &mut dyn clip::Monitor,
    ) -> anyhow::Result<Model> {
        Ok(Model { clip, head: None })
    }
}

const fn card(name: &'static str) -> Card {
    Card { name, title: name, summary: "", paper: "none", follows: "nothing", departs: "nothing", version: 1 }
}

fn no_settings() -> Vec<Preset> {
    vec![("only", serde_json::json!({}))]
}

const fn attack(name: &'static str) -> Entry<Attack> {
    Entry { card: card(name), presets: no_settings, build: |_| Ok(Attack::PoisonData(Box::new(Toy))) }
}

const fn defense(name: &'static str) -> Entry<Defense> {
    Entry { card: card(name), presets: no_settings, build: |_| Ok(Defense::RepairModel(Box::new(Toy))) }
}

static DATA: Entry<Dataset> = Entry {
    card: card("toy"),
    presets: no_settings,
    build: |_| Ok(Dataset { pairs: Some(Box::new(Toy)), classes: Some(Box::new(Classes(2))), drawn: true }),
};
/// One class only.
static SINGLE: Entry<Dataset> = Entry {
    card: card("single"),
    presets: no_settings,
    build: |_| Ok(Dataset { pairs: Some(Box::new(Toy)), classes: Some(Box::new(Classes(1))), drawn: true }),
};
/// No captions.
static MUTE: Entry<Dataset> = Entry {
    card: card("mute"),
    presets: no_settings,
    build: |_| Ok(Dataset { pairs: None, classes: Some(Box::new(Classes(2))), drawn: true }),
};
static ATTACKS: [Entry<Attack>; 3] = [attack("none"), attack("strong"), attack("weak")];
static DEFENSES: [Entry<Defense>; 2] = [defense("none"), defense("cure")];

const PLAN: &str = "
question: Does it?
seeds: [0, 1]
data: { train: toy, test: [toy], pairs: 100, clean-pairs: 1, clean-images: 1, test-images: 1 }
target: banana
implanted-at: 0.5
model: nano
recipe: smoke
attacks: [none, strong, weak]
defenses: [none, cure]
expect:
  - { claim: cured, attack: [strong, weak], defense: cure, attack-success-rate: [0.0, 0.1], source: this test }
  - { claim: cheap, attack: strong, defense: cure, minus: { defense: none }, clean-accuracy: [-0.02, 1.0], source: this test }
  - { claim: quiet, attack: none, defense: none, trigger: strong, attack-success-rate: [0.0, 0.03], source: this test }
";

fn catalog() -> Catalog {
    Catalog {
        datasets: vec![&DATA, &SINGLE, &MUTE],
        attacks: ATTACKS.iter().collect(),
        defenses: DEFENSES.iter().collect(),
        metrics: Metrics::builtin(),
    }
}

fn parse(text: &str) -> Plan {
    Plan::parse("toy.yaml", text, &catalog()).expect("a plan")
}

/// What is wrong with the plan after one change.
fn mistake(old: &str, new: &str) -> String {
    let catalog = catalog();
    assert!(PLAN.contains(old), "{old}");
    Plan::parse("toy.yaml", &PLAN.replace(old, new), &catalog).err().expect("a mistake").to_string()
}

#[test]
fn tests_that_cannot_be_made_are_refused_before_anything_runs() {
    let error = mistake("target: banana", "target: bananas");
    assert!(error.contains("target") && error.contains("banana"), "{error}");
    let error = mistake("test: [toy]", "test: [single]");
    assert!(error.contains("single") && error.contains("banana"), "{error}");
    let error = mistake("test: [toy], ", "test: [mute], test-pairs: 5, ");
    assert!(error.contains("data.test-pairs") && error.contains("mute"), "{error}");
    let with_pairs = PLAN.replace("test: [toy], ", "test: [toy], test-pairs: 5, ");
    let plan = Plan::parse("toy.yaml", &with_pairs, &catalog()).expect("a plan");
    assert_eq!(plan.test_pairs, 5);
    assert!(plan.to_yaml().expect("YAML").contains("test-pairs: 5"));
    assert!(!parse(PLAN).to_yaml().expect("YAML").contains("test-pairs"), "old plans stay as they were");
}

#[test]
fn a_record_reads_the_design_that_the_plan_had() {
    let text = PLAN.replace(
        "defenses: [none, cure]",
        "defenses: [none, cure, { name: cure, label: \"few[x] a/b|c & <d>\", granted-pairs: [1, 2] }]",
    );
    let plan = parse(&text);
    let design = plan.design().expect("a design");
    let yaml = plan.to_yaml().expect("YAML");
    assert_eq!(Design::of(serde_yaml::from_str(&yaml).expect("YAML")).expect("a design"), design);
    assert_eq!(design.families(), ["none", "cure", "few[x] a/b|c & <d>"]);
    assert_eq!(design.family("few[x] a/b|c & <d>").count(), 2);
    assert_eq!(design.judged(), "toy");
    assert_eq!(parse(&yaml).to_yaml().expect("YAML"), yaml, "the resolved plan reads back as the same plan");
    let [swept, _] = &plan.defenses[2..] else { panic!("two settings") };
    assert_eq!(plan.grant(swept).pairs, 1);
}

#[test]
fn what_a_defense_cannot_be_granted_is_refused_by_key() {
    let row = |keys: &str| format!("defenses: [none, {{ name: cure, {keys} }}]");
    let error = mistake("defenses: [none, cure]", &row("granted-pairs: 2, granted-poison: 3"));
    assert!(error.contains("granted-poison 3"), "{error}");
    let error = mistake("defenses: [none, cure]", &row("granted-from: nowhere"));
    assert!(error.contains("granted-from") && error.contains("data.clean"), "{error}");
}

fn mean_score(set: &SetEvidence) -> Option<Measured> {
    let scores = set.clean.iter().map(|sample| f64::from(sample.label_score));
    let samples = set.clean.len();
    (samples > 0).then(|| Measured { value: scores.sum::<f64>() / samples as f64, samples })
}

static SCORE: Metric = Metric {
    name: "mean-label-score",
    definition: "mean score of the label over clean images",
    unit: Unit::Similarity,
    range: [-1.0, 1.0],
    direction: Direction::Higher,
    needs: Needs::Images,
    measure: mean_score,
};

#[test]
fn a_metric_from_outside_is_claimed_like_any_other() {
    let claim = "  - { claim: scores, attack: none, defense: none, mean-label-score: [0.5, 1.0], source: this test }\n";
    let text = format!("{PLAN}{claim}");
    let error = Plan::parse("toy.yaml", &text, &catalog()).err().expect("an unknown metric").to_string();
    assert!(error.contains("mean-label-score") && error.contains("neither a key nor a metric"), "{error}");
    let plan = Plan::parse("toy.yaml", &text, &catalog().metric(&SCORE)).expect("a plan");
    assert!(plan.claims.last().is_some_and(|claim| claim.bands.contains_key("mean-label-score")));
    let twice = catalog().metric(&SCORE).metric(&SCORE).check().unwrap_err().to_string();
    assert!(twice.contains("two entries for the metric \"mean-label-score\""), "{twice}");
}
