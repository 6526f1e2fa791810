//! Loops over values, compiled for the widest vectors that the machine has.

/// Functions of plain arguments, compiled for AVX-512, for AVX2 and for any machine, of which a call takes the best
/// that the processor can run. Rust neither fuses nor reorders arithmetic, so the result is the same with all.
/// What a function calls should be `#[inline(always)]`.
macro_rules! wide {
    ($($(#[$attribute:meta])* $visibility:vis fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $body:block)*) => {$(
        $(#[$attribute])*
        $visibility fn $name($($argument: $kind),*) {
            #[inline(always)]
            fn any($($argument: $kind),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                /// # Safety
                /// The processor has the features.
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2")]
                unsafe fn with_avx512($($argument: $kind),*) {
                    any($($argument),*)
                }

                /// # Safety
                /// The processor has the feature.
                #[target_feature(enable = "avx2")]
                unsafe fn with_avx2($($argument: $kind),*) {
                    any($($argument),*)
                }

                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
                {
                    // SAFETY: the processor has the features.
                    return unsafe { with_avx512($($argument),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: as above.
                    return unsafe { with_avx2($($argument),*) };
                }
            }
            any($($argument),*)
        }
    )*};
}

pub(crate) use wide;
