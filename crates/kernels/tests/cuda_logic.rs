//! The arithmetic of the CUDA kernels, without CUDA: the same sources, compiled by g++ with a small emulator of blocks,
//! warps and barriers (`emulator/cuda_emulator.h`), against plain loops. Not a test of the path to a GPU.

use std::path::Path;
use std::process::Command;

#[test]
fn kernels_agree_with_plain_loops() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/emulator");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda_logic");
    let skip = |why: &str| eprintln!("SKIPPED: the CUDA kernels' arithmetic was not tested: {why}");
    if !cfg!(target_arch = "x86_64") {
        return skip("the emulator needs an x86-64 processor");
    }
    let compiled = Command::new("g++")
        .args(["-std=c++17", "-O1", "-w", "-x", "c++", "-DELEMENT=float"])
        .arg(folder.join("logic.cpp"))
        .arg("-o")
        .arg(&program)
        .output();
    let compiled = match compiled {
        Ok(compiled) => compiled,
        Err(error) => return skip(&format!("g++ cannot be run: {error}")),
    };
    assert!(compiled.status.success(), "g++ failed:\n{}", String::from_utf8_lossy(&compiled.stderr));
    let run = Command::new(&program).output().expect("the compiled program runs");
    let (said, errors) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && said.contains(" 0 wrong"), "{said}{errors}");
    println!("{said}");
}
