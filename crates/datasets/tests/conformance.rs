//! Every data set keeps its contract, as far as its files are there.

use contract::conformance::dataset;
use serde_json::{Map, json};

#[test]
fn every_data_set_keeps_its_contract() {
    let folder = tempfile::tempdir().expect("a folder");
    let classes = folder.path().join("classes.txt");
    std::fs::write(&classes, "cat\ndog\n").expect("a file");
    for entry in datasets::all() {
        // Without a folder of images it cannot know its classes.
        let named = json!({ "classes": classes });
        let over = named.as_object().filter(|_| entry.card.name == "folder").cloned();
        let report = dataset(entry, &over.unwrap_or_else(Map::new));
        assert!(report.passed(), "{report}");
    }
}
