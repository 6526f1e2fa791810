//! Fully connected layer, attention, embedding and element-wise operations.

use crate::support::{
    Operation, assert_close, assert_refused, check, devices, moved, random, random_indices, run,
    same_with_any_threads, values,
};
use candle_core::{D, DType, Device, Result, Tensor};
use kernels::Gelu;

pub(crate) fn reference_linear(inputs: &[Tensor]) -> Result<Tensor> {
    let (x, w) = (&inputs[0], &inputs[1]);
    let (outputs, width) = w.dims2()?;
    let y = x.reshape(((), width))?.matmul(&w.t()?)?;
    let y = match inputs.get(2) {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    let mut dims = x.dims().to_vec();
    dims[x.rank() - 1] = outputs;
    y.reshape(dims)
}

#[test]
fn linear_agrees_with_matrix_products() {
    let shapes: &[(&[usize], usize)] =
        &[(&[1, 1], 1), (&[1, 7], 5), (&[3, 5, 17], 33), (&[700, 30], 13), (&[2100, 64], 65), (&[9], 4)];
    for (shape, outputs) in shapes {
        let width = shape[shape.len() - 1];
        let mut inputs = vec![random(shape, 1), random(&[*outputs, width], 2)];
        let plain = |inputs: &[Tensor]| kernels::linear(&inputs[0], &inputs[1], None);
        check("linear", &plain, &reference_linear, &inputs, 3e-6);
        inputs.push(random(&[*outputs], 3));
        let biased = |inputs: &[Tensor]| kernels::linear(&inputs[0], &inputs[1], Some(&inputs[2]));
        check("linear", &biased, &reference_linear, &inputs, 3e-6);
    }
}

/// One head's block of columns of `[B, T, D]`.
fn head(x: &Tensor, head: usize, heads: usize) -> Result<Tensor> {
    let width = x.dim(2)? / heads;
    x.narrow(2, head * width, width)?.contiguous()
}

fn softmax(x: &Tensor) -> Result<Tensor> {
    let exponentials = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?.exp()?;
    exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)
}

pub(crate) fn reference_attention(inputs: &[Tensor], heads: usize, causal: bool) -> Result<Tensor> {
    let (queries, keys, width) = (inputs[0].dim(1)?, inputs[1].dim(1)?, inputs[0].dim(2)?);
    let hidden = |query: usize, key: usize| if causal && key > query { -1e30 } else { 0f64 };
    let mask: Vec<f64> = (0..queries * keys).map(|at| hidden(at / keys, at % keys)).collect();
    let mask = Tensor::from_vec(mask, (1, queries, keys), &Device::Cpu)?;
    let scale = 1.0 / ((width / heads) as f64).sqrt();
    let mut outputs = Vec::new();
    for index in 0..heads {
        let (q, k) = (head(&inputs[0], index, heads)?, head(&inputs[1], index, heads)?);
        let scores = (q.matmul(&k.t()?.contiguous()?)? * scale)?.broadcast_add(&mask)?;
        outputs.push(softmax(&scores)?.matmul(&head(&inputs[2], index, heads)?)?);
    }
    Tensor::cat(&outputs, 2)
}

#[test]
fn attention_agrees_with_its_definition() {
    // batch, queries, keys, width, heads, causal
    for (batch, queries, keys, width, heads, causal) in [
        (1, 1, 1, 1, 1, false),
        (2, 3, 5, 6, 3, false),
        (2, 5, 5, 6, 2, true),
        (9, 14, 14, 64, 2, true),
        (7, 1, 17, 96, 4, false),
        (3, 17, 17, 40, 1, true),
    ] {
        let key_shape = [batch, keys, width];
        let inputs = [random(&[batch, queries, width], 1), random(&key_shape, 2), random(&key_shape, 3)];
        let ours = |inputs: &[Tensor]| kernels::attention(&inputs[0], &inputs[1], &inputs[2], heads, causal);
        check("attention", &ours, &|inputs| reference_attention(inputs, heads, causal), &inputs, 5e-6);
    }
}

#[test]
fn attention_survives_huge_scores() -> Result<()> {
    let shape = [2, 5, 6];
    let inputs = [(random(&shape, 1) * 1e4)?, (random(&shape, 2) * 1e4)?, random(&shape, 3)];
    let ours = |inputs: &[Tensor]| kernels::attention(&inputs[0], &inputs[1], &inputs[2], 2, true);
    let reference = |inputs: &[Tensor]| reference_attention(inputs, 2, true);
    let expected = run(&reference, &inputs, DType::F64)?;
    for device in devices() {
        let found = run(&ours, &moved(&inputs, device), DType::F32)?;
        assert_close("attention", &found[0], &expected[0], 1e-6);
        assert!(found.iter().all(|tensor| values(tensor).iter().all(|value| value.is_finite())));
    }
    Ok(())
}

#[test]
fn embedding_agrees_with_index_select() {
    for (rows, width, ids) in [(1, 1, vec![1]), (5, 3, vec![2, 7]), (160, 64, vec![33]), (7, 65, vec![3, 5])]
    {
        let inputs = [random(&[rows, width], 1), random_indices(&ids, rows as u32, 2)];
        let ours = |inputs: &[Tensor]| kernels::embedding(&inputs[0], &inputs[1]);
        let reference = |inputs: &[Tensor]| {
            let mut dims = inputs[1].dims().to_vec();
            dims.push(width);
            inputs[0].index_select(&inputs[1].flatten_all()?, 0)?.reshape(dims)
        };
        check("embedding", &ours, &reference, &inputs, 1e-6);
    }
}

/// OpenAI's attention pool as it is written, every token projected; without the keys' bias.
pub(crate) fn reference_pool(inputs: &[Tensor], heads: usize) -> Result<Tensor> {
    let (batch, height, width, channels) = inputs[0].dims4()?;
    let x = inputs[0].reshape((batch, height * width, channels))?;
    let x = Tensor::cat(&[&x.mean_keepdim(1)?, &x], 1)?.broadcast_add(&inputs[1])?;
    let project = |x: &Tensor, w: usize, bias: usize| {
        reference_linear(&[x.contiguous()?, inputs[w].clone(), inputs[bias].clone()])
    };
    let query = project(&x.narrow(1, 0, 1)?, 2, 3)?;
    let keys = reference_linear(&[x.clone(), inputs[4].clone()])?;
    reference_attention(&[query, keys, project(&x, 5, 6)?], heads, false)?.squeeze(1)
}

#[test]
fn attention_pool_agrees_with_projecting_every_token() -> Result<()> {
    for (shape, heads) in [([1, 1, 1, 1], 1), ([2, 3, 2, 6], 3), ([9, 4, 4, 64], 4), ([3, 7, 5, 33], 1)] {
        let [_, height, width, channels] = shape;
        let (matrix, vector) = ([channels, channels], [channels]);
        let inputs = [
            random(&shape, 1),
            random(&[height * width + 1, channels], 2),
            random(&matrix, 3),
            random(&vector, 4),
            random(&matrix, 5),
            random(&matrix, 6),
            random(&vector, 7),
        ];
        let bias = random(&vector, 8);
        let ours = |inputs: &[Tensor]| {
            let [x, positions, q, q_bias, k, v, v_bias] = inputs else { unreachable!("seven inputs") };
            let bias = bias.to_device(x.device())?;
            kernels::attention_pool(x, positions, (q, q_bias), (k, &bias), (v, v_bias), heads)
        };
        check("attention_pool", &ours, &|inputs| reference_pool(inputs, heads), &inputs, 1e-5);
    }
    let (x, w, b) = (random(&[2, 2, 2, 6], 1), random(&[6, 6], 2), random(&[6], 3));
    let pool = |positions: usize, heads: usize| {
        kernels::attention_pool(&x, &random(&[positions, 6], 4), (&w, &b), (&w, &b), (&w, &b), heads)
    };
    assert!(pool(5, 2).is_ok());
    assert_refused(pool(4, 2), "attention_pool", &["[2, 2, 2, 6]", "[4, 6]"]);
    assert_refused(pool(5, 4), "attention_pool", &["4 heads"]);
    Ok(())
}

#[test]
fn positions_agree_with_broadcasting() {
    for (batch, length, width, rows) in [(1, 1, 1, 1), (3, 5, 7, 9), (130, 15, 64, 32)] {
        let inputs = [random(&[batch, length, width], 1), random(&[rows, width], 2)];
        let ours = |inputs: &[Tensor]| kernels::add_table(&inputs[0], &inputs[1]);
        let reference = |inputs: &[Tensor]| inputs[0].broadcast_add(&inputs[1].narrow(0, 0, length)?);
        check("add_table", &ours, &reference, &inputs, 1e-6);
    }
}

#[test]
fn embedding_takes_leading_dimensions_as_one() {
    let inputs = [random(&[4, 5, 3], 1), random_indices(&[6], 20, 2)];
    let ours = |inputs: &[Tensor]| kernels::embedding(&inputs[0], &inputs[1]);
    let reference = |inputs: &[Tensor]| inputs[0].reshape((20, 3))?.index_select(&inputs[1], 0);
    check("embedding", &ours, &reference, &inputs, 1e-6);
}

pub(crate) fn reference_quick_gelu(inputs: &[Tensor]) -> Result<Tensor> {
    let x = &inputs[0];
    x / ((x * -1.702)?.exp()? + 1.0)?
}

pub(crate) fn reference_gelu(inputs: &[Tensor]) -> Result<Tensor> {
    let x = &inputs[0];
    (x * ((x * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.0)?)? * 0.5
}

/// A fully connected layer with a non-linearity behind it.
pub(crate) fn reference_linear_gelu(inputs: &[Tensor], kind: Gelu) -> Result<Tensor> {
    let y = [reference_linear(inputs)?];
    if kind == Gelu::Quick { reference_quick_gelu(&y) } else { reference_gelu(&y) }
}

#[test]
fn linear_gelu_agrees_with_its_parts() {
    // Around the blocks of 64 rows.
    let shapes: &[(&[usize], usize)] =
        &[(&[1, 1], 1), (&[3, 5, 17], 33), (&[64, 8], 16), (&[65, 9], 7), (&[333, 24], 65), (&[9], 4)];
    for (shape, outputs) in shapes {
        let width = shape[shape.len() - 1];
        let inputs = [random(shape, 1), random(&[*outputs, width], 2), random(&[*outputs], 3)];
        for kind in [Gelu::Quick, Gelu::Exact] {
            let ours = |inputs: &[Tensor]| kernels::linear_gelu(&inputs[0], &inputs[1], &inputs[2], kind);
            let reference = |inputs: &[Tensor]| reference_linear_gelu(inputs, kind);
            check("linear_gelu", &ours, &reference, &inputs, 3e-6);
        }
    }
}

#[test]
fn linear_gelu_is_the_same_without_gradients() -> Result<()> {
    let (x, w, bias) = (random(&[2, 37, 9], 1), random(&[33, 9], 2), random(&[33], 3));
    let constant = kernels::linear_gelu(&x, &w, &bias, Gelu::Quick)?;
    let w = candle_core::Var::from_tensor(&w)?;
    let tracked = kernels::linear_gelu(&x, &w, &bias, Gelu::Quick)?;
    assert_eq!(values(&constant), values(&tracked));
    let gradients = tracked.sum_all()?.backward()?;
    assert!(gradients.get(&w).is_some() && gradients.get(&x).is_none());
    Ok(())
}

#[test]
fn queries_keys_and_values_may_stand_side_by_side() {
    for (batch, tokens, width, heads, causal) in
        [(1, 1, 3, 1, true), (2, 7, 6, 2, true), (9, 15, 64, 2, false)]
    {
        let ours = |inputs: &[Tensor]| kernels::self_attention(&inputs[0], heads, causal);
        let reference = |inputs: &[Tensor]| {
            let part = |part: usize| inputs[0].narrow(2, width * part, width)?.contiguous();
            reference_attention(&[part(0)?, part(1)?, part(2)?], heads, causal)
        };
        check("self_attention", &ours, &reference, &[random(&[batch, tokens, 3 * width], 1)], 2e-5);
    }
}

#[test]
fn element_wise_operations_agree_with_candle() -> Result<()> {
    for shape in [vec![1], vec![7, 5], vec![3, 7, 5, 33], vec![40_000]] {
        let gelu = |inputs: &[Tensor]| kernels::quick_gelu(&inputs[0]);
        check("quick_gelu", &gelu, &reference_quick_gelu, &[(random(&shape, 1) * 6.0)?], 2e-6);
        let exact = |inputs: &[Tensor]| kernels::gelu(&inputs[0]);
        check("gelu", &exact, &reference_gelu, &[(random(&shape, 1) * 6.0)?], 2e-6);
        let inputs = [random(&shape, 1), random(&shape, 2)];
        let plain = |inputs: &[Tensor]| kernels::add(&inputs[0], &inputs[1]);
        check("add", &plain, &|inputs| &inputs[0] + &inputs[1], &inputs, 1e-6);
    }
    Ok(())
}

#[test]
fn element_wise_operations_survive_extremes() -> Result<()> {
    let x = Tensor::new(&[-1e4f32, -100.0, 0.0, 100.0, 1e4], &Device::Cpu)?;
    let expected = Tensor::new(&[0f32, 0.0, 0.0, 100.0, 1e4], &Device::Cpu)?;
    let kinds: [(&str, Operation<'_>); 2] = [
        ("quick_gelu", &|inputs| kernels::quick_gelu(&inputs[0])),
        ("gelu", &|inputs| kernels::gelu(&inputs[0])),
    ];
    for ((name, operation), device) in
        kinds.into_iter().flat_map(|kind| devices().iter().map(move |device| (kind, device)))
    {
        let found = same_with_any_threads(name, operation, &moved(std::slice::from_ref(&x), device));
        assert_close(name, &found[0], &expected, 1e-7);
        assert!(values(&found[1]).iter().all(|value| value.is_finite()), "{name}");
    }
    Ok(())
}

#[test]
fn wrong_shapes_are_refused() -> Result<()> {
    let (x, w, ids) = (random(&[2, 3], 1), random(&[4, 3], 2), random_indices(&[2], 4, 3));
    assert_refused(kernels::linear(&x, &random(&[4, 5], 2), None), "linear", &["[2, 3]", "[4, 5]"]);
    assert_refused(kernels::linear(&x, &w, Some(&random(&[3], 1))), "linear", &["[3]"]);
    assert_refused(kernels::linear(&random(&[0, 3], 1), &w, None), "linear", &["[0, 3]"]);
    assert_refused(kernels::linear(&x, &random(&[0, 3], 2), None), "linear", &["[0, 3]"]);
    assert_refused(kernels::embedding(&random(&[4, 0], 1), &ids), "embedding", &["[4, 0]"]);
    assert_refused(kernels::embedding(&w, &x), "embedding", &["F32", "[2, 3]"]);
    assert_refused(kernels::embedding(&w, &random_indices(&[0], 4, 1)), "embedding", &["[0]"]);
    assert_refused(
        kernels::embedding(&w, &Tensor::new(&[4u32], &Device::Cpu)?),
        "embedding",
        &["id 4", "4 rows"],
    );
    assert_refused(kernels::add(&x, &w), "add", &["[2, 3]", "[4, 3]"]);
    let short = kernels::add_table(&random(&[2, 5, 3], 1), &w);
    assert_refused(short, "add_table", &["[2, 5, 3]", "[4, 3]"]);
    let empty = kernels::add_table(&random(&[0, 4, 3], 1), &w);
    assert_refused(empty, "add_table", &["[0, 4, 3]"]);
    assert_refused(kernels::quick_gelu(&x.to_dtype(DType::F64)?), "quick_gelu", &["f32"]);
    let fully = |x: &Tensor, w: &Tensor, bias: &Tensor| kernels::linear_gelu(x, w, bias, Gelu::Quick);
    assert_refused(fully(&x, &random(&[4, 5], 2), &random(&[4], 3)), "linear_gelu", &["[2, 3]", "[4, 5]"]);
    assert_refused(fully(&x, &w, &random(&[3], 3)), "linear_gelu", &["[4, 3]", "[3]"]);
    let three = |batch, length, width| random(&[batch, length, width], 1);
    let refused = |q: &Tensor, k: &Tensor, v: &Tensor, heads, causal| {
        let part = format!("{:?}", q.dims());
        assert_refused(kernels::attention(q, k, v, heads, causal), "attention", &[&part]);
    };
    refused(&three(1, 2, 6), &three(1, 3, 6), &three(1, 3, 6), 2, true);
    refused(&three(1, 2, 6), &three(1, 3, 6), &three(1, 2, 6), 2, false);
    refused(&three(1, 2, 6), &three(2, 2, 6), &three(2, 2, 6), 2, false);
    refused(&three(1, 2, 6), &three(1, 2, 6), &three(1, 2, 6), 4, false);
    refused(&three(1, 2, 6), &three(1, 2, 6), &three(1, 2, 6), 0, false);
    refused(&three(0, 2, 6), &three(0, 2, 6), &three(0, 2, 6), 2, false);
    refused(&three(1, 2, 0), &three(1, 2, 0), &three(1, 2, 0), 2, false);
    Ok(())
}
