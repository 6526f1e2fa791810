//! Means over seeds, verdicts and tables of made-up rows.

use record::metric::CLEAN_ACCURACY;
use record::{Design, Row, Status};
use report::{
    Sheet, State, Summary, Verdict, compare, compared_markdown, csv, json_lines, judge, latex, markdown,
    terminal,
};

const PLAN: &str = "
question: Does it?
seeds: [0, 1]
data: { test: [{ name: toy }], pairs: 100, seed: 0, split: test }
target: banana
implanted-at: 0.5
attacks: [{ name: none }, { name: strong }, { name: weak }]
defenses: [{ name: none }, { name: cure }]
expect:
  - { claim: cured, attack: [strong, weak], defense: cure, attack-success-rate: [0.0, 0.1], source: this test }
  - { claim: cheap, attack: [strong], defense: cure, minus: { defense: none }, clean-accuracy: [-0.02, 1.0], source: this test }
  - { claim: quiet, attack: [none], defense: none, trigger: [strong], attack-success-rate: [0.0, 0.03], source: this test }
";

fn design() -> Design {
    parse(PLAN)
}

fn parse(text: &str) -> Design {
    Design::of(serde_yaml::from_str(text).expect("YAML")).expect("a design")
}

/// Of two classes, as evidence would say.
fn summary(rows: &[Row]) -> Summary {
    let mut summary = Summary::of(rows);
    summary.classes.extend([("toy".to_owned(), 2)]);
    summary
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

/// The same without the rows of a cell.
fn without(cell: (&str, &str)) -> Vec<Row> {
    measured().into_iter().filter(|row| (row.attack.as_str(), row.defense.as_str()) != cell).collect()
}

/// The row of an attack under `cure` that was not measured.
fn lost(attack: &str, status: Status) -> Row {
    let row = rows(&[(attack, "cure", attack, 0.0, 0.0)]).remove(0);
    Row { status, value: None, message: "why".into(), ..row }
}

#[test]
fn means_and_deviations_are_over_seeds() {
    let found = summary(&measured());
    let mean = found.get(["strong", "cure"], "strong", "toy", "attack-success-rate").expect("a mean");
    assert!((mean.mean - 0.05).abs() < 1e-12 && mean.seeds == 2);
    assert!((mean.deviation.expect("two seeds") - 0.02 / 2f64.sqrt()).abs() < 1e-12);
    assert!(found.get(["strong", "cure"], "none", "toy", "attack-success-rate").is_none());
}

#[test]
fn verdicts_keep_their_kinds_apart() {
    let design = design();
    let verdicts = |rows: &[Row]| -> Vec<Verdict> {
        judge(&design, &summary(rows)).iter().map(|judgement| judgement.verdict).collect()
    };
    // 0.77 is 0.03 below 0.80, outside the band of `cheap`; `weak` reaches 0.2 undefended.
    let expected = [Verdict::Reproduced, Verdict::NotImplanted, Verdict::NotReproduced, Verdict::Reproduced];
    assert_eq!(verdicts(&measured()), expected);
    let mut failed = without(("strong", "cure"));
    failed.push(lost("strong", Status::Failed));
    assert_eq!(verdicts(&failed)[..3], [Verdict::Failed, Verdict::NotImplanted, Verdict::Failed]);
    let partial: Vec<Row> = measured().into_iter().filter(|row| row.defense == "none").collect();
    assert_eq!(verdicts(&partial)[0], Verdict::Skipped);
}

#[test]
fn what_lies_on_an_edge_lies_within() {
    // 0.78 − 0.80 is −0.020000000000000018 in floating point, and 0.7 − 0.2 is 0.49999999999999994.
    let rows = rows(&[
        ("none", "none", "strong", 0.8, 0.2),
        ("strong", "none", "strong", 0.8, 0.7),
        ("strong", "cure", "strong", 0.78, 0.1),
    ]);
    let (design, found) = (design(), summary(&rows));
    assert_eq!(found.implanted(&design, "strong"), Some(true));
    let judged = judge(&design, &found);
    let verdict =
        |claim: &str| judged.iter().find(|judgement| judgement.claim.claim == claim).map(|j| j.verdict);
    assert_eq!([verdict("cured"), verdict("cheap")], [Some(Verdict::Reproduced); 2]);
}

/// The claim `cured` with the success rates of the strong attack under `cure` in three seeds.
fn of_three(rates: [f64; 3]) -> (Verdict, Option<[f64; 2]>) {
    let design = parse(&PLAN.replace("seeds: [0, 1]", "seeds: [0, 1, 2]"));
    let mut all = Vec::new();
    for (seed, rate) in rates.into_iter().enumerate() {
        let cells = [("strong", "none", "strong", 0.8, 0.95), ("strong", "cure", "strong", 0.77, rate)];
        for row in rows(&cells) {
            // Both rows of a value are 0.01 from it.
            let value = row.value.map(|value| value + if row.seed == 0 { -0.01 } else { 0.01 });
            all.push(Row { seed: seed as u64, value, ..row });
        }
    }
    let found = summary(&all);
    let judgements = judge(&design, &found);
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
    let design = parse(&PLAN.replace("seeds: [0, 1]", "seeds: [0, 1, 2]"));
    let mut all = Vec::new();
    for (seed, accuracy) in [0.6, 0.8, 0.7].into_iter().enumerate() {
        let cells =
            [("strong", "none", "strong", accuracy, 0.9), ("strong", "cure", "strong", accuracy - 0.01, 0.0)];
        let one = rows(&cells).into_iter().filter(|row| row.seed == 0);
        all.extend(one.map(|row| Row { seed: seed as u64, ..row }));
    }
    let found = summary(&all);
    let judgements = judge(&design, &found);
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
data: { test: [{ name: toy }, { name: toy, label: tuning, split: validation }], pairs: 100, seed: 0, split: test }
target: banana
implanted-at: 0.5
attacks: [{ name: strong }]
defenses:
  - { name: none }
  - { name: cure, label: \"cure[a]\", family: cure }
  - { name: cure, label: \"cure[b]\", family: cure }
  - { name: cure, label: other }
  - { name: cure, label: \"cure[c]\" }
expect:
  - { claim: keeps, attack: [strong], defense: cure, at-attack-success-rate: 0.05, clean-accuracy: [0.70, 0.72], source: this test }
  - { claim: wins, attack: [strong], defense: cure, minus: { defense: other }, at-attack-success-rate: 0.05, clean-accuracy: [0.0, 1.0], source: this test }
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
    let design = parse(SWEEP);
    let rows = [
        point("none", None, [0.8, 0.95], [0.8, 0.95]),
        point("cure[a]", Some(1), [0.79, 0.3], [0.79, 0.0]),
        // The best below the cap where models are chosen; its success on the test set may lie above.
        point("cure[a]", None, [0.75, 0.03], [0.71, 0.08]),
        point("cure[b]", None, [0.70, 0.0], [0.9, 0.0]),
        point("other", None, [0.9, 0.5], [0.9, 0.0]),
        // A label with brackets that is no setting of a sweep.
        point("cure[c]", None, [0.99, 0.0], [0.99, 0.0]),
    ]
    .concat();
    let found = summary(&rows);
    // Rows differ by ± 0.01 between the two seeds, so that the cap of 1 % holds for one seed of cure[b] alone.
    let reached = |family: &str, cap: f64| found.reached(&design, "strong", family, cap).expect("points");
    let at = reached("cure", 0.05);
    let (accuracy, success) = (at.accuracy.expect("a mean"), at.success.expect("a mean"));
    assert!((accuracy.mean - 0.71).abs() < 1e-12 && (success.mean - 0.08).abs() < 1e-12, "{at:?}");
    assert_eq!((at.reached, at.seeds), (2, 2));
    assert!((reached("cure", 1.0).accuracy.expect("a mean").mean - 0.79).abs() < 1e-12);
    let never = reached("other", 0.05);
    assert_eq!((never.accuracy, never.reached, never.seeds), (None, 0, 2));
    let verdicts: Vec<Verdict> = judge(&design, &found).iter().map(|judgement| judgement.verdict).collect();
    assert_eq!(verdicts, [Verdict::Reproduced; 2], "what never gets there keeps nothing");
    let page = markdown(&Sheet::of(&design, &found));
    assert!(page.contains("| strong | cure | 80.0 ± 1.4 / 95.0 ± 1.4 |"), "{page}");
    assert!(page.contains("never") && page.contains("chosen on tuning, values from toy"), "{page}");
    for width in [60, 120, 200] {
        let text = terminal(&Sheet::of(&design, &found), width);
        assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
    }
}

#[test]
fn tables_fit_the_terminal_and_say_everything() {
    let (design, found) = (design(), summary(&measured()));
    for width in [60, 80, 200] {
        let text = terminal(&Sheet::of(&design, &found), width);
        for line in text.lines() {
            assert!(line.chars().count() <= width, "{} columns: {line}", line.chars().count());
        }
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for word in ["77.0 ± 1.4", "not implanted", "not reproduced", "chance 50.0", "strong 2.0 ± 1.4"] {
            assert!(words.contains(word), "{word:?} is not in\n{text}");
        }
    }
    let page = markdown(&Sheet::of(&design, &found));
    assert!(page.contains("| strong | 80.0 ± 1.4 | 95.0 ± 1.4 | 77.0 ± 1.4 | 5.0 ± 1.4 |"), "{page}");
}

#[test]
fn defenses_are_compared_over_pairs_whose_attack_implanted() {
    let design = design();
    let compared = compare(&design, &measured(), "cure").expect("a comparison");
    let [accuracy, success] = &compared[..] else { panic!("{compared:?}") };
    // Two seeds of the strong attack; the weak one did not implant.
    assert!(accuracy.differences.iter().all(|difference| (difference - 0.03).abs() < 1e-9), "{accuracy:?}");
    assert!(success.differences.iter().all(|difference| (difference - 0.9).abs() < 1e-9), "{success:?}");
    assert_eq!(accuracy.differences.len(), 2);
    assert_eq!((accuracy.wilcoxon, accuracy.corrected), (Some(0.5), Some(1.0)));
    assert!(!accuracy.supported(), "two pairs support nothing");
    let page = compared_markdown(&compared, "cure");
    assert!(page.contains("| none | clean-accuracy ↑ | 2 | +3.0 |"), "{page}");
    let error = compare(&design, &measured(), "cura").unwrap_err().to_string();
    assert!(error.contains("did you mean \"cure\""), "{error}");
}

#[test]
fn a_cell_has_the_same_state_in_every_form() {
    let mut rows = without(("strong", "cure"));
    rows.retain(|row| (row.attack.as_str(), row.defense.as_str()) != ("none", "cure"));
    rows.extend([lost("strong", Status::Failed), lost("none", Status::Skipped)]);
    let (design, found) = (design(), summary(&rows));
    let sheet = Sheet::of(&design, &found);
    let state = |attack: &str| {
        let mut cells = sheet.grids[0].iter();
        cells.find(|(own, defense, _)| (*own, *defense) == (attack, "cure")).map(|(.., state)| state.name())
    };
    let states = [("strong", "failed"), ("weak", "not implanted"), ("none", "skipped")];
    let forms = [
        terminal(&sheet, 200),
        markdown(&sheet),
        csv(&sheet).expect("CSV"),
        latex(&sheet, &rows),
        json_lines(&design, &found, &rows),
    ];
    for (attack, name) in states {
        assert_eq!(state(attack), Some(name));
        for form in &forms {
            assert!(form.contains(name), "{name:?} is not in\n{form}");
        }
    }
    assert!(matches!(State::of(&design, &found, "weak", "cure", "toy"), State::NotImplanted(_)));
}

#[test]
fn labels_are_text_in_every_form() {
    let label = "few[x] a/b|c & <d>";
    let renamed = PLAN.replace("{ name: cure }", &format!("{{ name: cure, label: \"{label}\" }}"));
    let design = parse(&renamed.replace("defense: cure,", &format!("defense: \"{label}\",")));
    let mut rows = measured();
    rows.iter_mut().filter(|row| row.defense == "cure").for_each(|row| row.defense = label.into());
    let found = summary(&rows);
    let sheet = Sheet::of(&design, &found);
    assert!(terminal(&sheet, 200).contains(label));
    let page = markdown(&sheet);
    assert!(page.contains("few[x] a/b\\|c &amp; \\<d>"), "{page}");
    let columns = |line: &str| line.replace("\\|", "").matches('|').count();
    let table: Vec<usize> = page.lines().skip_while(|line| !line.starts_with('|')).map(columns).collect();
    assert_eq!(table[0], table[2], "{page}");
    assert!(latex(&sheet, &rows).contains("few[x] a/b|c \\& <d>"));
    assert!(csv(&sheet).expect("CSV").contains(label));
}

#[test]
fn metrics_have_one_name_in_every_form() {
    let (design, rows) = (design(), measured());
    let found = summary(&rows);
    let lines = json_lines(&design, &found, &rows);
    let cell: serde_json::Value = serde_json::from_str(lines.lines().next().expect("a cell")).expect("JSON");
    assert!(cell["metrics"][CLEAN_ACCURACY].is_f64(), "{cell}");
}
