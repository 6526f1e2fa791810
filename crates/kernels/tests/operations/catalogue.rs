//! Every differentiable operation once, with small inputs and its reference: what holds for all of them is tested in
//! `properties`.

use candle_core::{DType, Device, Result, Tensor};
use kernels::{Activation, Gelu};

use crate::support::random;
use crate::{contrastive, convolution, dense, losses, norms};

/// An operation, or its reference.
pub(crate) type Function = fn(&[Tensor]) -> Result<Tensor>;

/// One operation.
pub(crate) struct Case {
    /// What its errors call it.
    pub(crate) name: &'static str,
    pub(crate) operation: Function,
    pub(crate) reference: Function,
    pub(crate) inputs: Vec<Tensor>,
    /// Whether it takes its inputs in any shape, as long as they agree.
    pub(crate) any_shape: bool,
}

fn case(name: &'static str, operation: Function, reference: Function, shapes: &[&[usize]]) -> Case {
    let inputs = shapes.iter().enumerate().map(|(index, shape)| random(shape, index as u64 + 1)).collect();
    Case { name, operation, reference, inputs, any_shape: false }
}

fn indices(of: &[u32]) -> Tensor {
    Tensor::new(of, &Device::Cpu).expect("indices")
}

/// In f64 for a reference.
fn constant(shape: &[usize], like: &Tensor) -> Result<Tensor> {
    let dtype = if like.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    random(shape, 70).to_dtype(dtype)?.to_device(like.device())
}

fn spatial() -> Vec<Case> {
    vec![
        case(
            "conv2d",
            |x| kernels::conv2d(&x[0], &x[1], 1, 1),
            |x| convolution::convolution(x, 1, 1),
            &[&[1, 7, 5, 3], &[4, 3, 3, 3]],
        ),
        case(
            "conv2d",
            |x| kernels::conv2d(&x[0], &x[1], 2, 1),
            |x| convolution::convolution(x, 2, 1),
            &[&[2, 7, 5, 9], &[17, 3, 3, 9]],
        ),
        case(
            "conv2d",
            |x| kernels::conv2d(&x[0], &x[1], 1, 0),
            |x| convolution::convolution(x, 1, 0),
            &[&[2, 7, 5, 1], &[1, 1, 1, 1]],
        ),
        case(
            "conv2d",
            |x| kernels::conv2d(&x[0], &x[1], 4, 0),
            |x| convolution::convolution(x, 4, 0),
            &[&[2, 4, 8, 3], &[7, 4, 4, 3]],
        ),
        case(
            "average_pool2d",
            |x| kernels::average_pool2d(&x[0], 2),
            |x| x[0].narrow(1, 0, 6)?.reshape((2, 3, 2, 2, 2, 5))?.mean(4)?.mean(2),
            &[&[2, 7, 4, 5]],
        ),
        case(
            "batch_norm_train",
            |x| norms::batch_norm(x, Activation::Relu),
            |x| norms::reference_batch_norm(x, Activation::Relu),
            &[&[2, 7, 5, 3], &[3], &[3]],
        ),
        case(
            "batch_norm_train",
            |x| norms::batch_norm(x, Activation::Identity),
            |x| norms::reference_batch_norm(x, Activation::Identity),
            &[&[6, 17], &[17], &[17], &[6, 17]],
        ),
        case(
            "batch_norm_eval",
            |x| {
                let given = (&constant(&[3], &x[0])?, &constant(&[3], &x[0])?.sqr()?);
                let epsilon = norms::EPSILON;
                kernels::batch_norm_eval(&x[0], &x[1], &x[2], given, x.get(3), epsilon, Activation::Identity)
            },
            |x| {
                let (mean, variance) = (constant(&[3], &x[0])?, constant(&[3], &x[0])?.sqr()?);
                let deviation = (variance + norms::EPSILON)?.sqrt()?;
                let y = x[0].broadcast_sub(&mean)?.broadcast_div(&deviation)?.broadcast_mul(&x[1])?;
                y.broadcast_add(&x[2])? + &x[3]
            },
            &[&[2, 5, 3], &[3], &[3], &[2, 5, 3]],
        ),
        case(
            "attention_pool",
            |x| {
                let bias = constant(&[6], &x[0])?;
                kernels::attention_pool(&x[0], &x[1], (&x[2], &x[3]), (&x[4], &bias), (&x[5], &x[6]), 2)
            },
            |x| dense::reference_pool(x, 2),
            &[&[2, 3, 2, 6], &[7, 6], &[6, 6], &[6], &[6, 6], &[6, 6], &[6]],
        ),
    ]
}

fn dense_ones() -> Vec<Case> {
    let mut embedding =
        case("embedding", |x| kernels::embedding(&x[0], &x[1]), |x| x[0].index_select(&x[1], 0), &[&[4, 3]]);
    embedding.inputs.push(indices(&[0, 3, 0, 1]));
    let attention_shapes: &[&[usize]] = &[&[2, 5, 6], &[2, 5, 6], &[2, 5, 6]];
    vec![
        embedding,
        case("linear", |x| kernels::linear(&x[0], &x[1], None), dense::reference_linear, &[&[7, 5], &[9, 5]]),
        case(
            "linear",
            |x| kernels::linear(&x[0], &x[1], Some(&x[2])),
            dense::reference_linear,
            &[&[1, 3, 17], &[33, 17], &[33]],
        ),
        case(
            "linear_gelu",
            |x| kernels::linear_gelu(&x[0], &x[1], &x[2], Gelu::Quick),
            |x| dense::reference_linear_gelu(x, Gelu::Quick),
            &[&[2, 3, 17], &[33, 17], &[33]],
        ),
        case(
            "linear_gelu",
            |x| kernels::linear_gelu(&x[0], &x[1], &x[2], Gelu::Exact),
            |x| dense::reference_linear_gelu(x, Gelu::Exact),
            &[&[7, 5], &[9, 5], &[9]],
        ),
        case(
            "self_attention",
            |x| kernels::self_attention(&x[0], 2, true),
            |x| {
                let part = |part: usize| x[0].narrow(2, 6 * part, 6)?.contiguous();
                dense::reference_attention(&[part(0)?, part(1)?, part(2)?], 2, true)
            },
            &[&[2, 5, 18]],
        ),
        case(
            "attention",
            |x| kernels::attention(&x[0], &x[1], &x[2], 2, true),
            |x| dense::reference_attention(x, 2, true),
            attention_shapes,
        ),
        case(
            "attention",
            |x| kernels::attention(&x[0], &x[1], &x[2], 3, false),
            |x| dense::reference_attention(x, 3, false),
            attention_shapes,
        ),
        case(
            "layer_norm",
            |x| kernels::layer_norm(&x[0], &x[1], &x[2], norms::EPSILON),
            norms::reference_layer_norm,
            &[&[3, 5, 7], &[7], &[7]],
        ),
        case(
            "add_table",
            |x| kernels::add_table(&x[0], &x[1]),
            |x| x[0].broadcast_add(&x[1].narrow(0, 0, 5)?),
            &[&[2, 5, 3], &[6, 3]],
        ),
    ]
}

fn losses_and_norms() -> Vec<Case> {
    let loss_shapes: &[&[usize]] = &[&[5, 9], &[5, 9], &[]];
    let mut cross_entropy = case(
        "cross_entropy",
        |x| kernels::cross_entropy(&x[0], &x[1]),
        losses::reference_cross_entropy,
        &[&[4, 19]],
    );
    cross_entropy.inputs.push(indices(&[0, 18, 7, 1]));
    vec![
        cross_entropy,
        case("l2_normalize", |x| kernels::l2_normalize(&x[0]), losses::reference_normalize, &[&[5, 9]]),
        case(
            "info_nce",
            |x| kernels::info_nce(&x[0], &x[1], &x[2]),
            |x| contrastive::reference(x, true),
            loss_shapes,
        ),
        case(
            "in_modal",
            |x| kernels::in_modal(&x[0], &x[1], &x[2]),
            |x| contrastive::reference(x, false),
            loss_shapes,
        ),
    ]
}

fn element_wise() -> Vec<Case> {
    let one = |name, operation: Function, reference: Function| Case {
        any_shape: true,
        ..case(name, operation, reference, &[&[3, 7, 5]])
    };
    vec![
        one("gelu", |x| kernels::gelu(&x[0]), dense::reference_gelu),
        one("quick_gelu", |x| kernels::quick_gelu(&x[0]), dense::reference_quick_gelu),
        case("add", |x| kernels::add(&x[0], &x[1]), |x| &x[0] + &x[1], &[&[3, 7], &[3, 7]]),
    ]
}

/// Every operation.
pub(crate) fn all() -> Vec<Case> {
    [spatial(), dense_ones(), losses_and_norms(), element_wise()].into_iter().flatten().collect()
}
