//! A token in front of patches.

use crate::support::{assert_refused, check, random};
use candle_core::{Result, Tensor};

#[test]
fn a_prepended_token_agrees_with_concatenation() {
    for [batch, height, width, channels] in [[1, 1, 1, 1], [3, 2, 5, 7], [9, 7, 7, 64]] {
        let tokens = height * width + 1;
        let inputs = [
            random(&[batch, height, width, channels], 1),
            random(&[channels], 2),
            random(&[tokens, channels], 3),
        ];
        let ours = |inputs: &[Tensor]| kernels::prepend_token(&inputs[0], &inputs[1], &inputs[2]);
        let reference = |inputs: &[Tensor]| -> Result<Tensor> {
            let x = inputs[0].reshape((batch, tokens - 1, channels))?;
            let token = inputs[1].broadcast_as((batch, 1, channels))?;
            Tensor::cat(&[&token, &x], 1)?.broadcast_add(&inputs[2])
        };
        check("prepend_token", &ours, &reference, &inputs, 2e-6);
    }
}

#[test]
fn wrong_shapes_are_refused() {
    let prepend = |shape: [usize; 4], token: usize, positions: [usize; 2]| {
        kernels::prepend_token(&random(&shape, 1), &random(&[token], 2), &random(&positions, 3))
    };
    assert!(prepend([1, 2, 2, 3], 3, [5, 3]).is_ok());
    assert_refused(prepend([1, 2, 2, 3], 4, [5, 3]), "prepend_token", &["[1, 2, 2, 3]", "[4]"]);
    assert_refused(prepend([1, 2, 2, 3], 3, [4, 3]), "prepend_token", &["[4, 3]"]);
    assert_refused(prepend([0, 2, 2, 3], 3, [5, 3]), "prepend_token", &["[0, 2, 2, 3]"]);
    assert_refused(prepend([1, 2, 2, 0], 0, [5, 0]), "prepend_token", &["[1, 2, 2, 0]"]);
}
