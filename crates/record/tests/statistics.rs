//! Statistics against SciPy's.

use base::Seed;
use record::statistics::{
    bootstrap_interval, holm, mean_interval, rounded, sign_test, welch_interval, wilcoxon,
};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("numbers").iter().map(|value| value.as_f64().expect("a number")).collect()
}

fn close(found: Option<f64>, expected: &Value, what: &str) {
    let (found, expected) = (found.expect("a value"), expected.as_f64().expect("a number"));
    assert!((found - expected).abs() < 1e-9, "{what}: {found}, expected {expected}");
}

#[test]
fn welch_equivalence_and_intervals_agree_with_scipy() {
    let golden = golden::json("statistics.json");
    for case in golden["groups"].as_array().expect("cases") {
        let (first, second) = (numbers(&case["first"]), numbers(&case["second"]));
        // The interval of level 1 − p just excludes no difference.
        let p = case["welch_p"].as_f64().expect("a number");
        let [low, high] = welch_interval(&first, &second, 1.0 - p).expect("two groups");
        assert!(low.abs().min(high.abs()) < 1e-6 * (high - low), "{low} to {high}");
        // Two one-sided tests at p reject a difference of the margin just when the interval of level 1 − 2 p touches it.
        let (p, margin) = (case["equivalence_p"].as_f64(), case["margin"].as_f64().expect("a margin"));
        if let Some(p) = p.filter(|p| *p < 0.5) {
            let [low, high] = welch_interval(&first, &second, 1.0 - 2.0 * p).expect("two groups");
            let nearest = (margin - high).abs().min((margin + low).abs());
            assert!(nearest < 1e-6 * (high - low), "{low} to {high}, margin {margin}");
        }
        for (found, expected) in
            mean_interval(&first, 0.95).expect("two values").iter().zip(numbers(&case["interval_95"]))
        {
            assert!((found - expected).abs() < 1e-9, "{found}, expected {expected}");
        }
    }
}

#[test]
fn exact_tests_on_pairs_agree_with_scipy() {
    let golden = golden::json("statistics.json");
    for case in golden["pairs"].as_array().expect("cases") {
        let differences = numbers(&case["differences"]);
        close(wilcoxon(&differences), &case["wilcoxon_p"], "Wilcoxon");
        close(sign_test(&differences), &case["sign_p"], "sign");
    }
}

#[test]
fn differences_of_counts_are_ranked_as_counts() {
    for samples in [7.0, 300.0, 2000.0, 49_950.0] {
        let counts: [(f64, f64); 8] =
            [(6.0, 5.0), (3.0, 2.0), (4.0, 5.0), (1.0, 0.0), (5.0, 2.0), (3.0, 6.0), (2.0, 2.0), (6.0, 4.0)];
        let shares = counts.map(|(first, second)| first / samples - second / samples);
        let whole = counts.map(|(first, second)| first - second);
        assert_eq!(wilcoxon(&shares), wilcoxon(&whole), "of {samples}");
        // The same difference by another way is 0 and says nothing.
        let by_another_way = [0.7 - 0.2 - 0.5, 0.3 - 0.2 - 0.1, 0.5];
        assert_eq!(sign_test(&by_another_way), Some(1.0));
    }
    assert_ne!(0.7 - 0.2, 0.5);
    assert_eq!(rounded(0.7 - 0.2), 0.5);
}

#[test]
fn nothing_is_said_of_too_few_values() {
    assert_eq!((mean_interval(&[0.5], 0.95), bootstrap_interval(&[0.5], 0.95, &Seed::new(0))), (None, None));
    let welch = |second: &[f64]| welch_interval(&[0.5, 0.5], second, 0.9);
    assert_eq!((welch(&[0.5]), welch(&[0.5, 0.5])), (None, None));
    assert_eq!((wilcoxon(&[]), sign_test(&[0.0, 0.0])), (None, None));
}

#[test]
fn the_bootstrap_covers_as_often_as_it_says() {
    // Means of 12 uniform values around 0.5; the percentile interval is known to be a little narrow.
    let mut covered = 0;
    for trial in 0..200 {
        let mut rng = Seed::new(trial).rng();
        let values: Vec<f64> = (0..12).map(|_| rand::Rng::random(&mut rng)).collect();
        let [lowest, highest] = bootstrap_interval(&values, 0.95, &Seed::new(trial)).expect("12 values");
        covered += usize::from((lowest..=highest).contains(&0.5));
    }
    assert!((170..=197).contains(&covered), "{covered} of 200");
}

#[test]
fn holm_keeps_order_and_never_lowers() {
    let corrected = holm(&[0.04, 0.01, 0.03, 0.5]);
    let expected = [0.09, 0.04, 0.09, 0.5];
    assert!(
        corrected.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12),
        "{corrected:?}"
    );
}
