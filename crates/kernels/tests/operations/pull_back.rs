//! `pull_back` gives the gradients that candle's graph gives, or an error.

use candle_core::{DType, Result, Tensor, Var};

use crate::support::{assert_refused, bits, random, run};

fn layers(inputs: &[Tensor]) -> Result<Tensor> {
    let hidden = kernels::linear(&inputs[0], &inputs[1], None)?;
    kernels::add(&kernels::quick_gelu(&hidden)?, &hidden)
}

#[test]
fn gradients_are_those_of_candles_graph() -> Result<()> {
    let inputs = [random(&[5, 7], 1), random(&[9, 7], 2)];
    let expected = run(&layers, &inputs, DType::F32)?;
    let vars = [Var::from_tensor(&inputs[0])?.into_inner(), Var::from_tensor(&inputs[1])?.into_inner()];
    let unused = Var::from_tensor(&inputs[0])?.into_inner();
    let dy = random(&[5, 9], 99);
    let (y, gradients) = kernels::pull_back(|| layers(&vars), &[&vars[0], &vars[1], &unused], &dy)?;
    assert_eq!(bits(&y), bits(&expected[0]));
    for (found, expected) in gradients.iter().zip(&expected[1..]) {
        assert_eq!(bits(found.as_ref().expect("a gradient")), bits(expected));
    }
    assert!(gradients[2].is_none(), "an input that takes no part has no gradient");
    Ok(())
}

#[test]
fn lost_gradients_and_wrong_shapes_are_refused() -> Result<()> {
    let vars = [Var::from_tensor(&random(&[5, 7], 1))?, Var::from_tensor(&random(&[9, 7], 2))?];
    let forward = || layers(&[vars[0].affine(2.0, 0.0)?, vars[1].as_tensor().clone()]);
    let refused = kernels::pull_back(forward, &[vars[1].as_tensor()], &random(&[5, 9], 99));
    assert_refused(refused, "pull_back", &["1 gradients"]);
    let refused = kernels::pull_back(forward, &[], &random(&[5, 8], 99));
    assert_refused(refused, "pull_back", &["[5, 8]", "[5, 9]"]);
    Ok(())
}
