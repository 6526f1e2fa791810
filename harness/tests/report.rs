//! Means over seeds, verdicts and tables of made-up rows.

use harness::Plan;
use harness::catalog::Catalog;
use harness::contract::{
    Attack, AttackerView, Card, ClassSource, Dataset, DefenderView, Defense, Edit, Entry, Labelled, Model,
    PairSource, PoisonData, RepairModel, Split, Trigger,
};
use harness::record::{Row, Status};
use harness::report::{Summary, Verdict, compare, compared_markdown, judge, markdown, terminal};
use std::sync::Arc;

/// A data set of two classes, an attack and a defense that are only names.
struct Toy;

static CLASSES: std::sync::LazyLock<Vec<String>> =
    std::sync::LazyLock::new(|| vec!["banana".to_owned(), "apple".to_owned()]);

impl ClassSource for Toy {
    fn classes(&self) -> &[String] {
        &CLASSES
    }
    fn templates(&self) -> &[String] {
        &CLASSES
    }
    fn images(&self, _: Split, _: usize, _: usize, _: &clip::Seed) -> anyhow::Result<Arc<dyn Labelled>> {
        anyhow::bail!("not drawn here")
    }
}

/// A data set of one class.
struct Single;

impl ClassSource for Single {
    fn classes(&self) -> &[String] {
        &CLASSES[..1]
    }
    fn templates(&self) -> &[String] {
        &CLASSES
    }
    fn images(&self, _: Split, _: usize, _: usize, _: &clip::Seed) -> anyhow::Result<Arc<dyn Labelled>> {
        anyhow::bail!("not drawn here")
    }
}

impl PairSource for Toy {
    fn pairs(&self, _: Split, _: usize, _: usize, _: &clip::Seed) -> anyhow::Result<Arc<dyn clip::Pairs>> {
        anyhow::bail!("not drawn here")
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
    fn repair(
        &self,
        clip: clip::Clip,
        _: &DefenderView<'_>,
        _: &mut dyn clip::Monitor,
    ) -> anyhow::Result<Option<Model>> {
        Ok(Some(Model { clip, head: None }))
    }
}

const fn card(name: &'static str) -> Card {
    Card { name, title: name, summary: "", paper: "none", follows: "nothing", departs: "nothing", version: 1 }
}

fn no_settings() -> Vec<harness::contract::Preset> {
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
    build: |_| Ok(Dataset { pairs: Some(Box::new(Toy)), classes: Some(Box::new(Toy)) }),
};
/// One class only.
static SINGLE: Entry<Dataset> = Entry {
    card: card("single"),
    presets: no_settings,
    build: |_| Ok(Dataset { pairs: Some(Box::new(Toy)), classes: Some(Box::new(Single)) }),
};
/// No captions.
static MUTE: Entry<Dataset> = Entry {
    card: card("mute"),
    presets: no_settings,
    build: |_| Ok(Dataset { pairs: None, classes: Some(Box::new(Toy)) }),
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
    }
}

fn plan() -> Plan {
    parse(PLAN)
}

fn parse(text: &str) -> Plan {
    Plan::parse("toy.yaml", text, &catalog()).expect("a plan")
}

fn rows(cells: &[(&str, &str, &str, f64, f64)]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (attack, defense, trigger, accuracy, success) in cells {
        for seed in [0u64, 1] {
            for (metric, value) in [("clean-accuracy", accuracy), ("attack-success-rate", success)] {
                rows.push(Row {
                    seed,
                    attack: (*attack).into(),
                    defense: (*defense).into(),
                    trigger: (*trigger).into(),
                    epoch: None,
                    test_set: "toy".into(),
                    metric: metric.into(),
                    value: Some(value + if seed == 0 { 0.01 } else { -0.01 }),
                    samples: Some(100),
                    status: Status::Measured,
                    message: String::new(),
                    evidence: String::new(),
                });
            }
        }
    }
    rows
}

fn measured() -> Vec<Row> {
    rows(&[
        ("none", "none", "none", 0.8, 0.01),
        ("none", "none", "strong", 0.8, 0.02),
        ("none", "cure", "none", 0.78, 0.01),
        ("strong", "none", "strong", 0.8, 0.95),
        ("strong", "cure", "strong", 0.77, 0.05),
        ("weak", "none", "weak", 0.8, 0.2),
        ("weak", "cure", "weak", 0.77, 0.01),
    ])
}

#[test]
fn means_and_deviations_are_over_seeds() {
    let summary = Summary::of(&measured(), Vec::new()).expect("a summary");
    let mean = summary.get("strong", "cure", "strong", "toy", "attack-success-rate").expect("a mean");
    assert!((mean.mean - 0.05).abs() < 1e-12 && mean.seeds == 2);
    assert!((mean.deviation.expect("two seeds") - 0.02 / 2f64.sqrt()).abs() < 1e-12);
    assert!(summary.get("strong", "cure", "none", "toy", "attack-success-rate").is_none());
}

#[test]
fn verdicts_keep_their_kinds_apart() {
    let plan = plan();
    let verdicts = |rows: &[Row]| -> Vec<Verdict> {
        judge(&plan, &Summary::of(rows, Vec::new()).expect("a summary"))
            .iter()
            .map(|judgement| judgement.verdict)
            .collect()
    };
    // 0.77 is 0.03 below 0.80, outside the band of `cheap`; `weak` reaches 0.2 undefended.
    let expected = [Verdict::Reproduced, Verdict::NotImplanted, Verdict::NotReproduced, Verdict::Reproduced];
    assert_eq!(verdicts(&measured()), expected);
    let mut failed = measured();
    failed.retain(|row| (row.attack.as_str(), row.defense.as_str()) != ("strong", "cure"));
    failed.push(Row {
        status: Status::Failed,
        value: None,
        message: "no disk".into(),
        ..rows(&[("strong", "cure", "strong", 0.0, 0.0)]).remove(0)
    });
    assert_eq!(verdicts(&failed)[..3], [Verdict::Failed, Verdict::NotImplanted, Verdict::Failed]);
    let partial: Vec<Row> = measured().into_iter().filter(|row| row.defense == "none").collect();
    assert_eq!(verdicts(&partial)[0], Verdict::Skipped);
}

/// The claim `cured` with the success rates of the strong attack under `cure` in three seeds.
fn of_three(rates: [f64; 3]) -> (Verdict, Option<[f64; 2]>) {
    let plan = parse(&PLAN.replace("seeds: [0, 1]", "seeds: [0, 1, 2]"));
    let mut all = Vec::new();
    for (seed, rate) in rates.into_iter().enumerate() {
        for row in rows(&[("strong", "none", "strong", 0.8, 0.95), ("strong", "cure", "strong", 0.77, rate)])
        {
            // Both rows of a value are 0.01 from it.
            let value = row.value.map(|value| value + if row.seed == 0 { -0.01 } else { 0.01 });
            all.push(Row { seed: seed as u64, value, ..row });
        }
    }
    let summary = Summary::of(&all, Vec::new()).expect("a summary");
    let judgements = judge(&plan, &summary);
    (judgements[0].verdict, judgements[0].interval)
}

#[test]
fn from_three_seeds_on_the_interval_must_lie_in_the_band() {
    // The band is 0 to 0.1; t(2) at 5 % is 2.919986 (Student's tables).
    let (verdict, interval) = of_three([0.04, 0.05, 0.06]);
    let [low, high] = interval.expect("an interval");
    let reach = 2.919_986 * 0.01 / 3f64.sqrt();
    assert!((low - 0.05 + reach).abs() < 1e-6 && (high - 0.05 - reach).abs() < 1e-6, "{low} to {high}");
    assert_eq!(verdict, Verdict::Reproduced);
    assert_eq!(of_three([0.02, 0.05, 0.08]).0, Verdict::Undecided, "it reaches to 0.1006");
    assert_eq!(of_three([0.025, 0.05, 0.075]).0, Verdict::Reproduced, "it reaches to 0.092");
    assert_eq!(of_three([0.09, 0.11, 0.13]).0, Verdict::NotReproduced);
    // What cannot be is not held against the band: no rate is below 0.
    let (verdict, interval) = of_three([0.0, 0.0, 0.03]);
    assert_eq!((verdict, interval.map(|[low, _]| low)), (Verdict::Reproduced, Some(0.0)));
}

#[test]
fn differences_are_of_the_same_seed() {
    // `cheap`: the cure costs 0.01 in every seed, though accuracy itself goes up and down by 0.2.
    let plan = parse(&PLAN.replace("seeds: [0, 1]", "seeds: [0, 1, 2]"));
    let mut all = Vec::new();
    for (seed, accuracy) in [0.6, 0.8, 0.7].into_iter().enumerate() {
        let cells =
            [("strong", "none", "strong", accuracy, 0.9), ("strong", "cure", "strong", accuracy - 0.01, 0.0)];
        let one = rows(&cells).into_iter().filter(|row| row.seed == 0);
        all.extend(one.map(|row| Row { seed: seed as u64, ..row }));
    }
    let summary = Summary::of(&all, Vec::new()).expect("a summary");
    let judgements = judge(&plan, &summary);
    let cheap = judgements.iter().find(|judgement| judgement.claim.claim == "cheap").expect("a claim");
    assert_eq!(cheap.verdict, Verdict::Reproduced);
    assert!(cheap.found.and_then(|mean| mean.deviation).is_some_and(|deviation| deviation < 1e-9));
    let words = cheap.in_words();
    assert!(words.contains("clean accuracy -0.010") && words.contains("n = 3"), "{words}");
}

const SWEEP: &str = "
question: At which price?
seeds: [0, 1]
every-epoch: true
data: { train: toy, test: [toy, { name: toy, label: tuning, split: validation }], pairs: 100, clean-pairs: 1, clean-images: 1, test-images: 1 }
target: banana
model: nano
recipe: smoke
attacks: [strong]
defenses: [none, { name: cure, label: \"cure[a]\" }, { name: cure, label: \"cure[b]\" }, { name: cure, label: other }]
expect:
  - { claim: keeps, attack: strong, defense: cure, at-attack-success-rate: 0.05, clean-accuracy: [0.70, 0.72], source: this test }
  - { claim: wins, attack: strong, defense: cure, minus: { defense: other }, at-attack-success-rate: 0.05, clean-accuracy: [0.0, 1.0], source: this test }
";

/// Both seeds' rows of a point on both sets; `tuning` are accuracy and success there, `test` on the set judged.
fn point(defense: &str, epoch: Option<usize>, tuning: [f64; 2], test: [f64; 2]) -> Vec<Row> {
    let mut points = Vec::new();
    for (set, [accuracy, success]) in [("tuning", tuning), ("toy", test)] {
        for row in rows(&[("strong", defense, "strong", accuracy, success)]) {
            points.push(Row { test_set: set.into(), epoch, ..row });
        }
    }
    points
}

#[test]
fn frontiers_are_chosen_on_one_set_and_read_off_another() {
    let plan = parse(SWEEP);
    let rows = [
        point("none", None, [0.8, 0.95], [0.8, 0.95]),
        point("cure[a]", Some(1), [0.79, 0.3], [0.79, 0.0]),
        // The best below the cap where models are chosen; its success on the test set may lie above.
        point("cure[a]", None, [0.75, 0.03], [0.71, 0.08]),
        point("cure[b]", None, [0.70, 0.0], [0.9, 0.0]),
        point("other", None, [0.9, 0.5], [0.9, 0.0]),
    ]
    .concat();
    let summary = Summary::of(&rows, Vec::new()).expect("a summary");
    // Rows differ by ± 0.01 between the two seeds, so that the cap of 1 % holds for one seed of cure[b] alone.
    let reached = |family: &str, cap: f64| summary.reached(&plan, "strong", family, cap).expect("points");
    let at = reached("cure", 0.05);
    let (accuracy, success) = (at.accuracy.expect("a mean"), at.success.expect("a mean"));
    assert!((accuracy.mean - 0.71).abs() < 1e-12 && (success.mean - 0.08).abs() < 1e-12, "{at:?}");
    assert_eq!((at.reached, at.seeds), (2, 2));
    assert!((reached("cure", 1.0).accuracy.expect("a mean").mean - 0.79).abs() < 1e-12);
    let never = reached("other", 0.05);
    assert_eq!((never.accuracy, never.reached, never.seeds), (None, 0, 2));
    let verdicts: Vec<Verdict> = judge(&plan, &summary).iter().map(|judgement| judgement.verdict).collect();
    assert_eq!(verdicts, [Verdict::Reproduced; 2], "what never gets there keeps nothing");
    let page = markdown(&plan, &summary);
    assert!(page.contains("| strong | cure | 80.0 ± 1.4 / 95.0 ± 1.4 |"), "{page}");
    assert!(page.contains("never") && page.contains("chosen on tuning, values from toy"), "{page}");
    for width in [60, 120, 200] {
        let text = terminal(&plan, &summary, width);
        assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
    }
}

#[test]
fn tables_fit_the_terminal_and_say_everything() {
    let (plan, summary) = (plan(), Summary::of(&measured(), Vec::new()).expect("a summary"));
    for width in [60, 80, 200] {
        let text = terminal(&plan, &summary, width);
        for line in text.lines() {
            assert!(line.chars().count() <= width, "{} columns: {line}", line.chars().count());
        }
        for word in ["77.0 ± 1.4", "not implanted", "not reproduced", "chance 50.0", "strong 2.0 ± 1.4"] {
            assert!(
                text.split_whitespace().collect::<Vec<_>>().join(" ").contains(word),
                "{word:?} is not in\n{text}"
            );
        }
    }
    let page = markdown(&plan, &summary);
    assert!(page.contains("| strong | 80.0 ± 1.4 | 95.0 ± 1.4 | 77.0 ± 1.4 | 5.0 ± 1.4 |"), "{page}");
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
    assert!(!self::plan().to_yaml().expect("YAML").contains("test-pairs"), "old plans stay as they were");
}

#[test]
fn errors_are_described_on_one_line() {
    let error = anyhow::anyhow!("no space\n   0: frame\n      at file.rs:1").context("cannot write");
    assert_eq!(harness::describe(&error), "cannot write: no space");
}

#[test]
fn defenses_are_compared_over_pairs_whose_attack_implanted() {
    let plan = plan();
    let compared = compare(&plan, &measured(), "cure").expect("a comparison");
    let [accuracy, success] = &compared[..] else { panic!("{compared:?}") };
    // Two seeds of the strong attack; the weak one did not implant.
    assert!(accuracy.differences.iter().all(|difference| (difference - 0.03).abs() < 1e-9), "{accuracy:?}");
    assert!(success.differences.iter().all(|difference| (difference - 0.9).abs() < 1e-9), "{success:?}");
    assert_eq!(
        (accuracy.differences.len(), accuracy.wilcoxon, accuracy.corrected),
        (2, Some(0.5), Some(1.0))
    );
    assert!(!accuracy.supported(), "two pairs support nothing");
    let page = compared_markdown(&compared, "cure");
    assert!(page.contains("| none | clean-accuracy ↑ | 2 | +3.0 |"), "{page}");
    let error = compare(&plan, &measured(), "cura").unwrap_err().to_string();
    assert!(error.contains("did you mean \"cure\""), "{error}");
}
