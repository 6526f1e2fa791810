//! Metrics against golden numbers, and evidence through Parquet.

use clip::candle_core::{Device, Tensor};
use harness::evidence::{SetEvidence, from_frame, score, to_frame};
use harness::metric::find;
use serde_json::Value;

fn golden() -> (Value, SetEvidence) {
    let golden: Value = golden::json("scores.json");
    let numbers = |value: &Value| {
        value.as_array().expect("a list").iter().map(|n| n.as_f64().expect("a number")).collect::<Vec<_>>()
    };
    let labels: Vec<u32> = numbers(&golden["labels"]).iter().map(|label| *label as u32).collect();
    let target = golden["target"].as_u64().expect("a class") as u32;
    let scored = |name: &str| {
        let rows = golden[name].as_array().expect("rows");
        let values: Vec<f32> = rows.iter().flat_map(numbers).map(|score| score as f32).collect();
        let classes = values.len() / rows.len();
        let scores = Tensor::from_vec(values, (rows.len(), classes), &Device::Cpu).expect("a tensor");
        score(&scores, &labels, target).expect("scored")
    };
    let set = SetEvidence {
        test_set: "golden".into(),
        target,
        classes: 7,
        clean: scored("clean_scores"),
        triggered: scored("triggered_scores"),
        triggered_images: labels.iter().map(|label| format!("{label:016x}")).collect(),
        labels,
    };
    (golden, set)
}

#[test]
fn metrics_agree_with_the_released_definitions() {
    let (golden, set) = golden();
    let value = |name: &str| (find(name).expect("a metric").measure)(&set).expect("a value").value;
    let rates = &golden["attack_success_rate"];
    for (name, expected) in [
        ("clean-accuracy", &golden["clean_accuracy"]["1"]),
        ("clean-accuracy-top-5", &golden["clean_accuracy"]["5"]),
        ("attack-success-rate", &rates["primary: target class left out of numerator and denominator"]),
        (
            "attack-success-rate-released",
            &rates["numerator-only: target class left out of the numerator, divided by all"],
        ),
        ("attack-success-rate-relabelled", &rates["relabelled: target class kept"]),
        ("accuracy-under-trigger", &golden["triggered_accuracy"]),
    ] {
        let expected = expected.as_f64().expect("a number");
        assert!((value(name) - expected).abs() < 1e-12, "{name}: {} instead of {expected}", value(name));
    }
}

#[test]
fn evidence_survives_a_table() {
    let (_, set) = golden();
    let other = SetEvidence { test_set: "other".into(), ..set.clone() };
    let evidence = vec![set, other];
    assert_eq!(from_frame(&to_frame(&evidence).expect("a table")).expect("evidence"), evidence);
}

#[test]
fn scores_that_are_not_numbers_are_refused() {
    let scores = Tensor::from_vec(vec![0.5f32, f32::NAN], (1, 2), &Device::Cpu).expect("a tensor");
    assert!(score(&scores, &[0], 1).is_err());
}

#[test]
fn only_target_images_leave_nothing_to_attack() {
    let (_, mut set) = golden();
    set.labels.fill(set.target);
    assert_eq!((find("attack-success-rate").expect("a metric").measure)(&set), None);
}
