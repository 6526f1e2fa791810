//! Published models of RN50 on CC3M, tested on ImageNet-1K, that pages draw beside a plan's own. The tables of Bansal et
//! al. (2023) were not to be had as text; what stands here was read in released code and raw results, and nothing is
//! read off a plot.

use report::page::Published;

/// Models trained by others, of RN50 on CC3M with 1 500 BadNet poisons and 100 000 clean pairs: raw results, read and
/// sorted by us.
const VERMA: &str =
    "Verma et al., arXiv 2311.14948v4; github.com/vsahil/attack-cleanclip at 3d4bd74, results_plots/*.json";
/// Blended, 1 500 poisons of three million pairs.
const BANSAL: &str =
    "Bansal et al., arXiv 2303.03323; github.com/nishadsinghi/CleanCLIP at d6e2f1d, utils/asr_hyper.py";

/// Model, training and test data of all of them.
const SCALE: &str = "RN50, CC3M, ImageNet; not ours";

const fn badnet(defense: &'static str, [accuracy, success]: [f64; 2], setting: &'static str) -> Published {
    Published {
        attack: "badnet",
        defense,
        clean_accuracy: accuracy / 100.0,
        attack_success_rate: success / 100.0,
        setting,
        source: VERMA,
        scale: SCALE,
    }
}

const fn blended(rates: [f64; 2], setting: &'static str) -> Published {
    Published { attack: "blended", source: BANSAL, ..badnet("cleanclip", rates, setting) }
}

/// Clean accuracy and attack success rate in percent.
pub(crate) const PUBLISHED: [Published; 12] = [
    badnet("none", [16.00, 99.89], "the poisoned model"),
    badnet("contrastive", [11.65, 0.38], "the most accurate at ASR ≤ 1 %"),
    badnet("contrastive", [12.43, 3.86], "the most accurate at ASR ≤ 5 %"),
    badnet("contrastive", [12.62, 6.42], "the most accurate at ASR ≤ 10 %"),
    badnet("cleanclip", [16.41, 0.66], "the most accurate at ASR ≤ 1 %"),
    badnet("cleanclip", [16.49, 4.92], "the most accurate at ASR ≤ 5 %"),
    badnet("cleanclip", [17.22, 8.68], "the most accurate at ASR ≤ 10 %"),
    blended([17.80, 7.48], "λ₂ = 0.5"),
    blended([18.14, 7.20], "λ₂ = 1, the default"),
    blended([17.80, 4.27], "λ₂ = 2"),
    blended([18.00, 2.89], "λ₂ = 4"),
    blended([17.40, 1.83], "λ₂ = 8"),
];
