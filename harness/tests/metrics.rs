//! Metrics against golden numbers, and evidence through Parquet.

use clip::candle_core::{Device, Tensor};
use harness::evidence::pairs::{self, Captions, PairEvidence, PairScored};
use harness::evidence::{Scored, SetEvidence, from_frame, score, to_frame};
use harness::metric::{METRICS, find, per_class};
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
        let values: Vec<f32> = rows.iter().flat_map(numbers).map(|score| score as f32).collect();
        classes = values.len() / rows.len();
        let scores = Tensor::from_vec(values, (rows.len(), classes), &Device::Cpu).expect("a tensor");
        score(&scores, &labels, target).expect("scored")
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

/// Six pairs of four captions, two of which are equal and two of which name the target.
fn retrieval() -> (Tensor, Tensor, Vec<String>) {
    let captions = ["a cat", "a Banana!", "a cat", "red bananas", "one banana here", "a dog"];
    let images: Vec<f32> = vec![1.0, 0.1, 0.2, 1.0, 0.9, 0.5, -1.0, 0.3, 0.0, -1.0, 0.7, 0.7];
    let texts: Vec<f32> = vec![1.0, 0.0, 0.0, 1.0, -0.8, 0.6, 0.6, -0.8, 0.6, 0.8];
    let tensor = |values: Vec<f32>| {
        let rows = values.len() / 2;
        Tensor::from_vec(values, (rows, 2), &Device::Cpu).expect("a tensor")
    };
    (tensor(images), tensor(texts), captions.map(str::to_owned).to_vec())
}

fn compared() -> (Vec<PairScored>, Vec<bool>) {
    let (images, texts, captions) = retrieval();
    let (distinct, of_pairs) = pairs::distinct(&captions);
    assert_eq!(of_pairs, [0, 1, 0, 2, 3, 4]);
    let names_target: Vec<bool> = distinct.iter().map(|caption| pairs::names(caption, "banana")).collect();
    assert_eq!(names_target, [false, true, false, true, false]);
    let target = Tensor::new(&[[0f32, 1.0]], &Device::Cpu).expect("a tensor");
    let captions =
        Captions { features: &texts, of_pairs: &of_pairs, names_target: &names_target, target: &target };
    let scored = pairs::compare(&images, &captions).expect("compared");
    (scored, of_pairs.iter().map(|caption| names_target[*caption]).collect())
}

#[test]
fn pairs_are_ranked_as_by_hand() {
    let (scored, _) = compared();
    let (images, texts, captions) = retrieval();
    let (images, texts) = (images.to_vec2::<f32>().expect("rows"), texts.to_vec2::<f32>().expect("rows"));
    let (_, of_pairs) = pairs::distinct(&captions);
    let cosine = |image: usize, pair: usize| {
        let (a, b) = (&images[image], &texts[of_pairs[pair]]);
        let norm = |v: &[f32]| f64::from(v[0]).hypot(f64::from(v[1]));
        (f64::from(a[0] * b[0]) + f64::from(a[1] * b[1])) / norm(a) / norm(b)
    };
    for (index, pair) in scored.iter().enumerate() {
        let own = cosine(index, index);
        assert!((f64::from(pair.similarity) - own).abs() < 1e-6);
        let equal = |other: usize| of_pairs[other] == of_pairs[index];
        let above = (0..6).filter(|other| !equal(*other) && cosine(index, *other) > own + 1e-6).count();
        assert_eq!(pair.caption_rank as usize, above, "captions above pair {index}");
        let best =
            (0..6).filter(|other| equal(*other)).map(|other| cosine(other, index)).fold(-1.0, f64::max);
        let above = (0..6).filter(|image| cosine(*image, index) > best + 1e-6).count();
        assert_eq!(pair.image_rank as usize, above, "images above pair {index}");
        let best = [1, 4].map(|named| cosine(index, named)).into_iter().fold(-1.0, f64::max);
        let above = (0..6).filter(|other| cosine(index, *other) > best + 1e-6).count();
        assert_eq!(pair.target_rank as usize, above, "captions above the target's, pair {index}");
    }
    assert_eq!(scored[0].image_rank, scored[2].image_rank, "equal captions share their best image");
}

#[test]
fn retrieval_metrics_count_ranks() {
    let (_, mut set) = golden();
    let of_pairs = METRICS.iter().filter(|metric| (metric.measure)(&set).is_none());
    let of_pairs: Vec<&str> = of_pairs.map(|metric| metric.name).collect();
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
    let frame = pairs::to_frame(&evidence).expect("a table").expect("pairs");
    pairs::attach(&mut found, &frame).expect("pairs");
    assert_eq!(found, evidence);
    let error = pairs::attach(&mut found[1..].to_vec(), &frame).expect_err("no such set").to_string();
    assert!(error.contains("golden"), "{error}");
    assert!(pairs::to_frame(&evidence[1..].to_vec()).expect("a table").is_none());
}

#[test]
fn scores_that_are_not_numbers_are_refused() {
    let scores = Tensor::from_vec(vec![0.5f32, 0.1, 0.2, f32::NAN], (2, 2), &Device::Cpu).expect("a tensor");
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
    let (images, texts, captions) = retrieval();
    let (_, of_pairs) = pairs::distinct(&captions);
    let target = Tensor::new(&[[f32::NAN, 1.0]], &Device::Cpu).expect("a tensor");
    let captions =
        Captions { features: &texts, of_pairs: &of_pairs, names_target: &[false; 5], target: &target };
    let error = pairs::compare(&images, &captions).expect_err("not finite").to_string();
    assert!(error.contains("pair 0"), "{error}");
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
