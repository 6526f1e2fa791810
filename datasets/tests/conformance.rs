//! Every data set keeps its contract, as far as its files are there.

use harness::conformance::dataset;
use serde_json::Map;

#[test]
fn every_data_set_keeps_its_contract() {
    for entry in datasets::all() {
        let report = dataset(entry, &Map::new());
        assert!(report.passed(), "{report}");
        println!("{report}");
    }
}
