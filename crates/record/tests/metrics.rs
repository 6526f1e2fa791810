//! Metrics against golden numbers, and evidence through Parquet.

use record::evidence::pair_table;
use record::evidence::pairs::{PairEvidence, PairScored};
use record::evidence::{Scored, SetEvidence, from_frame, score, to_frame};
use record::metric::{METRICS, Metric, Metrics, Needs, per_class};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|n| n.as_f64().expect("a number")).collect()
}

fn golden() -> (Value, SetEvidence) {
    let golden = golden::json("scores.json");
    let labels: Vec<u32> = numbers(&golden["labels"]).iter().map(|label| *label as u32).collect();
    let target = golden["target"].as_u64().expect("a class") as u32;
    let mut classes = 0;
    let mut scored = |name: &str| {
        let rows = golden[name].as_array().expect("rows");
        let row = |row: &Value| numbers(row).into_iter().map(|score| score as f32).collect::<Vec<_>>();
        let rows: Vec<Vec<f32>> = rows.iter().map(row).collect();
        classes = rows[0].len();
        score(&rows, &labels, target).expect("scored")
    };
    let (clean, triggered) = (scored("clean_scores"), scored("triggered_scores"));
    let set = SetEvidence {
        test_set: "golden".into(),
        target,
        classes: classes as u32,
        clean,
        triggered,
        triggered_images: labels.iter().map(|label| format!("{label:016x}")).collect(),
        labels,
        pairs: None,
        map: None,
    };
    (golden, set)
}

fn find(name: &str) -> Option<&'static Metric> {
    Metrics::builtin().find(name)
}

fn value(set: &SetEvidence, name: &str) -> f64 {
    let metric = find(name).unwrap_or_else(|| panic!("no metric {name}"));
    (metric.measure)(set).unwrap_or_else(|| panic!("no value of {name}")).value
}

fn assert_near(what: &str, found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{what}: {found} instead of {expected}");
}

#[test]
fn metrics_agree_with_the_released_definitions() {
    let (golden, set) = golden();
    let accuracies = golden["clean_accuracy"].as_object().expect("accuracies");
    let (mut ranks, mut named) = (0, 0);
    for (top, expected) in accuracies {
        let (top, expected): (u32, f64) =
            (top.parse().expect("a rank"), expected.as_f64().expect("a number"));
        let hits = set.clean.iter().filter(|sample| sample.label_rank < top).count();
        assert_near(&format!("top {top}"), hits as f64 / set.clean.len() as f64, expected);
        ranks += 1;
        let name = if top == 1 { "clean-accuracy".to_owned() } else { format!("clean-accuracy-top-{top}") };
        if find(&name).is_some() {
            assert_near(&name, value(&set, &name), expected);
            named += 1;
        }
    }
    assert!(ranks > 0 && named > 0, "{accuracies:?}");
    let rates = golden["attack_success_rate"].as_object().expect("success rates");
    for (definition, expected) in rates {
        let name = match definition.split(':').next() {
            Some("primary") => "attack-success-rate",
            Some("numerator-only") => "attack-success-rate-released",
            Some("relabelled") => "attack-success-rate-relabelled",
            _ => panic!("an unknown definition: {definition}"),
        };
        assert_near(name, value(&set, name), expected.as_f64().expect("a number"));
    }
    assert!(!rates.is_empty());
    let expected = golden["triggered_accuracy"].as_f64().expect("a number");
    assert_near("accuracy-under-trigger", value(&set, "accuracy-under-trigger"), expected);
}

#[test]
fn classes_make_up_the_whole() {
    let (_, set) = golden();
    let classes = per_class(&set);
    assert!(classes.iter().all(|class| class.class != set.target && class.rate.samples > 0));
    let samples: usize = classes.iter().map(|class| class.rate.samples).sum();
    let hits: f64 = classes.iter().map(|class| class.rate.value * class.rate.samples as f64).sum();
    assert_near("the mean over classes", hits / samples as f64, value(&set, "attack-success-rate"));
    let rates = || classes.iter().map(|class| class.rate.value);
    let (lowest, highest) = (rates().fold(1.0, f64::min), rates().fold(0.0, f64::max));
    assert_near("lowest", value(&set, "attack-success-rate-lowest-class"), lowest);
    assert_near("highest", value(&set, "attack-success-rate-highest-class"), highest);
    let tops = ["attack-success-rate", "attack-success-rate-top-3", "attack-success-rate-top-5"];
    assert!(tops.windows(2).all(|pair| value(&set, pair[0]) <= value(&set, pair[1])));
}

/// Six pairs of four distinct captions, of which the second and the fifth name the target.
fn compared() -> (Vec<PairScored>, Vec<bool>) {
    let pair = |caption_rank, image_rank, target_rank, similarity: f32| PairScored {
        caption_rank,
        image_rank,
        target_rank,
        similarity,
        target_similarity: similarity - 0.5,
    };
    let scored = vec![
        pair(0, 0, 2, 0.99),
        pair(1, 0, 0, 0.98),
        pair(2, 0, 3, 0.87),
        pair(0, 1, 4, 0.95),
        pair(0, 2, 0, 0.93),
        pair(1, 0, 1, 0.91),
    ];
    (scored, vec![false, true, false, false, true, false])
}

#[test]
fn retrieval_metrics_count_ranks() {
    let (_, mut set) = golden();
    let of_pairs = METRICS.iter().filter(|metric| (metric.measure)(&set).is_none());
    let of_pairs: Vec<&str> = of_pairs.map(|metric| metric.name).collect();
    let declared = METRICS.iter().filter(|metric| metric.needs == Needs::Pairs);
    assert_eq!(of_pairs, declared.map(|metric| metric.name).collect::<Vec<_>>());
    let (clean, names_target) = compared();
    let mut triggered = clean.clone();
    triggered.iter_mut().for_each(|pair| (pair.target_rank, pair.caption_rank) = (0, 7));
    let triggered_images = vec![String::new(); clean.len()];
    set.pairs = Some(PairEvidence { names_target, clean: clean.clone(), triggered, triggered_images });
    assert!(of_pairs.len() > 15 && of_pairs.iter().all(|name| value(&set, name).is_finite()));
    let share = |hits: usize| hits as f64 / clean.len() as f64;
    let first = clean.iter().filter(|pair| pair.caption_rank == 0).count();
    assert_near("recall", value(&set, "image-to-text-recall-at-1"), share(first));
    let first = clean.iter().filter(|pair| pair.image_rank == 0).count();
    assert_near("recall", value(&set, "text-to-image-recall-at-1"), share(first));
    assert_near("recall", value(&set, "triggered-image-to-text-recall-at-5"), 0.0);
    assert_near("recall", value(&set, "triggered-image-to-text-recall-at-10"), 1.0);
    assert_near("hits", value(&set, "target-caption-hit-at-1"), 1.0);
    let hits = find("target-caption-hit-at-1").expect("a metric");
    assert_eq!(
        (hits.measure)(&set).expect("a value").samples,
        4,
        "captions that name the target are left out"
    );
    set.pairs.as_mut().expect("pairs").names_target.fill(false);
    assert_eq!((hits.measure)(&set), None, "no caption names the target");
}

#[test]
fn evidence_survives_a_table() {
    let (_, mut set) = golden();
    let other = SetEvidence { test_set: "other".into(), ..set.clone() };
    let (clean, names_target) = compared();
    let triggered_images = (0..clean.len()).map(|pair| format!("{pair:016x}")).collect();
    set.pairs = Some(PairEvidence { names_target, triggered: clean.clone(), clean, triggered_images });
    let evidence = vec![set, other];
    let mut found = from_frame(&to_frame(&evidence).expect("a table")).expect("evidence");
    let frame = pair_table::to_frame(&evidence).expect("a table").expect("pairs");
    pair_table::attach(&mut found, &frame).expect("pairs");
    assert_eq!(found, evidence);
    let error = pair_table::attach(&mut found[1..].to_vec(), &frame).expect_err("no such set").to_string();
    assert!(error.contains("golden"), "{error}");
    assert!(pair_table::to_frame(&evidence[1..].to_vec()).expect("a table").is_none());
}

#[test]
fn scores_that_are_not_numbers_are_refused() {
    let scores = [vec![0.5, 0.1], vec![0.2, f32::NAN]];
    let error = score(&scores, &[0, 1], 1).expect_err("not finite").to_string();
    assert!(error.contains("image 1") && error.contains("class 1"), "{error}");
    let error = score(&scores, &[0, 1], 2).expect_err("no such class").to_string();
    assert!(error.contains("target 2"), "{error}");
    let (_, mut set) = golden();
    set.triggered[3] = Scored { target_score: f32::NAN, ..set.triggered[3] };
    let error = from_frame(&to_frame(&vec![set.clone()]).expect("a table")).expect_err("a lost number");
    assert!(
        error.to_string().contains("triggered_target_score") && error.to_string().contains("row 3"),
        "{error}"
    );
    (set.triggered[3].target_score, set.target) = (0.0, set.classes);
    let error = from_frame(&to_frame(&vec![set]).expect("a table")).expect_err("no such class");
    assert!(error.to_string().contains("golden: the target"), "{error}");
}

#[test]
fn only_target_images_leave_nothing_to_attack() {
    let (_, mut set) = golden();
    set.labels.fill(set.target);
    for name in ["attack-success-rate", "attack-success-rate-released", "attack-success-rate-highest-class"] {
        assert_eq!((find(name).expect("a metric").measure)(&set), None, "{name}");
    }
    assert!((find("attack-success-rate-relabelled").expect("a metric").measure)(&set).is_some());
}
