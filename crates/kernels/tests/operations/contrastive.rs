//! InfoNCE and the in-modal loss against their composition from plain operations.

use crate::support::{assert_close, assert_refused, check, devices, moved, random, run, values};
use candle_core::{D, DType, Device, Result, Tensor};

type Loss = fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>;

/// Both losses, and whether each goes both ways.
const LOSSES: [(&str, Loss, bool); 2] =
    [("info_nce", kernels::info_nce, true), ("in_modal", kernels::in_modal, false)];

/// Mean over the rows of ln Σ e^logit − the logit of the row's own column.
fn reference_direction(logits: &Tensor) -> Result<Tensor> {
    let own: Vec<u32> = (0..logits.dim(0)? as u32).collect();
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let own = shifted.gather(&Tensor::new(own, logits.device())?.unsqueeze(1)?, 1)?;
    (log_sum - own)?.mean_all()
}

pub(crate) fn reference(inputs: &[Tensor], symmetric: bool) -> Result<Tensor> {
    let unit = |x: &Tensor| x.broadcast_div(&x.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(1e-12)?);
    let (a, b) = (unit(&inputs[0])?, unit(&inputs[1])?);
    let logits = a.matmul(&b.t()?.contiguous()?)?.broadcast_mul(&inputs[2].exp()?)?;
    if !symmetric {
        return reference_direction(&logits);
    }
    (reference_direction(&logits)? + reference_direction(&logits.t()?.contiguous()?)?)? * 0.5
}

fn scalar(value: f32) -> Tensor {
    Tensor::new(value, &Device::Cpu).expect("a scalar")
}

#[test]
fn losses_agree_with_their_composition() {
    // Around the blocks of 64 rows and the lanes of 16; ln 100 is the largest scale of training.
    for (name, loss, symmetric) in LOSSES {
        for (batch, width, scale) in [
            (2, 3, 0.0f32),
            (7, 5, 2.659),
            (17, 24, 4.6052),
            (63, 8, 2.0),
            (64, 33, 3.0),
            (65, 17, 4.6052),
            (130, 65, 1.0),
        ] {
            let inputs = [random(&[batch, width], 1), random(&[batch, width], 2), scalar(scale)];
            let ours = |inputs: &[Tensor]| loss(&inputs[0], &inputs[1], &inputs[2]);
            check(name, &ours, &|inputs| reference(inputs, symmetric), &inputs, 1e-5);
        }
    }
}

#[test]
fn losses_survive_extremes() -> Result<()> {
    let equal = random(&[1, 8], 1).broadcast_as((70, 8))?.contiguous()?;
    let (a, b) = (random(&[70, 8], 1), random(&[70, 8], 2));
    let cases = [
        ("identical features", equal.clone(), equal.clone(), 4.6052, 1e-6),
        ("each its own partner", a.clone(), a.clone(), 4.6052, 1e-5),
        ("opposite partners", a.clone(), a.neg()?, 4.6052, 1e-6),
        ("huge features", (&a * 1e20)?, (&b * 1e20)?, 4.6052, 1e-5),
        ("small features", (&a * 1e-11)?, (&b * 1e-11)?, 4.6052, 1e-5),
        ("huge logits", a.clone(), b.clone(), 9.0, 1e-5),
        ("no scale", a.clone(), b.clone(), -50.0, 1e-6),
        ("one pair", a.narrow(0, 0, 1)?, b.narrow(0, 0, 1)?, 4.6052, 1e-6),
    ];
    for (name, loss, symmetric) in LOSSES {
        for (what, a, b, scale, tolerance) in &cases {
            let inputs = [a.clone(), b.clone(), scalar(*scale)];
            let expected = run(&|inputs| reference(inputs, symmetric), &inputs, DType::F64)?;
            for device in devices() {
                let ours = |inputs: &[Tensor]| loss(&inputs[0], &inputs[1], &inputs[2]);
                let found = run(&ours, &moved(&inputs, device), DType::F32)?;
                // Composed of operations, as on CUDA, logits of up to 14 are rounded before they cancel.
                let share = if device.is_cpu() { 1.0 } else { 100.0 };
                assert_close(&format!("{name}, {what}"), &found[0], &expected[0], *tolerance * share);
                for (index, gradient) in found.iter().enumerate() {
                    let finite = values(gradient).iter().all(|value| value.is_finite());
                    assert!(finite, "{name}, {what}: output {index} is not finite");
                }
                assert_close(&format!("{name}, {what}, scale"), &found[3], &expected[3], 1e-4 * share);
            }
        }
        let zeros = Tensor::zeros((5, 3), DType::F32, &Device::Cpu)?;
        let found = loss(&zeros, &zeros, &scalar(4.6052))?;
        assert_close(name, &found, &scalar(5f32.ln()), 1e-6);
    }
    Ok(())
}

#[test]
fn lost_numbers_reach_the_loss() -> Result<()> {
    for (name, loss, _) in LOSSES {
        for device in devices() {
            let a = random(&[70, 8], 1).to_device(device)?;
            let lost = a.slice_assign(&[69..70, 7..8], &Tensor::full(f32::NAN, (1, 1), device)?)?;
            let scale = scalar(1.0).to_device(device)?;
            let nan = |result: Result<Tensor>| Ok::<_, candle_core::Error>(values(&result?)[0].is_nan());
            assert!(nan(loss(&lost, &a, &scale))? && nan(loss(&a, &lost, &scale))?, "{name}");
            let scale = scalar(f32::NAN).to_device(device)?;
            assert!(nan(loss(&a, &a, &scale))?, "{name}");
            let overflow = scalar(100.0).to_device(device)?;
            assert!(nan(loss(&a, &a, &overflow))?, "{name}: e^100 is no f32");
        }
    }
    Ok(())
}

#[test]
fn what_needs_no_gradient_gets_none() -> Result<()> {
    for (_, loss, _) in LOSSES {
        let a = candle_core::Var::from_tensor(&random(&[4, 3], 1))?;
        let (b, scale) = (random(&[4, 3], 2), scalar(1.0));
        let gradients = loss(&a, &b, &scale)?.backward()?;
        assert!(gradients.get(&a).is_some() && gradients.get(&b).is_none());
        let once = values(gradients.get(&a).expect("a gradient"));
        let y = loss(&a, &b, &scale)?;
        for _ in 0..2 {
            assert_eq!(values(y.backward()?.get(&a).expect("a gradient")), once, "a second backward pass");
        }
    }
    Ok(())
}

#[test]
fn wrong_shapes_are_refused() {
    for (name, loss, _) in LOSSES {
        let of = |shape: &[usize]| random(shape, 1);
        let refused = |a: &[usize], b: &[usize], scale: &[usize], parts: &[&str]| {
            assert_refused(loss(&of(a), &of(b), &of(scale)), name, parts);
        };
        refused(&[2, 3], &[2, 4], &[], &["[2, 3]", "[2, 4]", "[B > 0, E > 0]"]);
        refused(&[2, 3], &[3, 3], &[], &["[2, 3]", "[3, 3]"]);
        refused(&[0, 3], &[0, 3], &[], &["[0, 3]"]);
        refused(&[3, 0], &[3, 0], &[], &["[3, 0]"]);
        refused(&[3], &[3], &[], &["[3]"]);
        refused(&[2, 3], &[2, 3], &[1], &["[1]", "scalar"]);
        let double = of(&[2, 3]).to_dtype(DType::F64).expect("f64");
        assert_refused(loss(&double, &double, &of(&[])), name, &["f32"]);
    }
}
