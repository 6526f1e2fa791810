//! With the feature `cuda`: compiles `src/cuda/all.cu` to PTX once per element type, and writes for every
//! `KERNEL(name, parameters)` of the sources a Rust function with the same parameters. Without it: nothing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Where the kernels are.
const SOURCES: &str = "src/cuda";
/// Element types of activations: the name in file names, the C++ type, and what else the compiler is told.
const ELEMENTS: &[(&str, &str, &[&str])] =
    &[("f32", "float", &[]), ("bf16", "__nv_bfloat16", &["-DTENSOR_CORES"])];
/// What is compiled for where neither `CUDA_COMPUTE_CAP` nor `nvidia-smi` says: PTX runs on every newer GPU, and
/// bfloat16 arithmetic begins here.
const OLDEST_ARCHITECTURE: &str = "80";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    println!("cargo:rerun-if-changed={SOURCES}");
    for name in ["CUDA_HOME", "CUDA_PATH", "CUDA_COMPUTE_CAP", "PATH"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut calls = String::new();
    for source in sources() {
        let text = fs::read_to_string(&source).expect("a readable source");
        for kernel in text.split("\nKERNEL(").skip(1) {
            let (declaration, _) = kernel.split_once(')').expect("a closing bracket");
            calls += &call(&source, declaration);
        }
    }
    fs::write(out.join("calls.rs"), calls).expect("OUT_DIR can be written");
    let (nvcc, architecture) = (nvcc(), architecture());
    for (name, element, flags) in ELEMENTS {
        compile(&nvcc, &architecture, (element, flags), &out.join(format!("{name}.ptx")));
    }
}

fn sources() -> Vec<PathBuf> {
    let folder = fs::read_dir(SOURCES).expect("a folder of kernels");
    let mut found: Vec<PathBuf> = folder.map(|entry| entry.expect("an entry").path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "cu"));
    found.sort();
    found
}

/// The Rust function of a declaration `name, const T *x, T *y, int count`.
fn call(source: &Path, declaration: &str) -> String {
    let mut parts = declaration.split(',').map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let name = parts.next().expect("a name");
    let (mut parameters, mut arguments) = (String::new(), String::new());
    for parameter in parts {
        let at = parameter.rfind([' ', '*']).expect("a type and a name") + 1;
        let (kind, argument) = (parameter[..at].trim(), &parameter[at..]);
        let element = |c: &str| match c.trim_end_matches(" *") {
            "T" => "T",
            "float" => "f32",
            "unsigned" => "u32",
            "unsigned long long" => "u64",
            other => panic!("{}: {name}: no Rust type for {other:?}", source.display()),
        };
        let rust = match kind {
            "int" => "usize".to_owned(),
            "float" => "f32".to_owned(),
            read if read.starts_with("const ") => format!("&CudaView<'_, {}>", element(&read[6..])),
            written => format!("&mut CudaViewMut<'_, {}>", element(written)),
        };
        if rust == "usize" {
            writeln!(arguments, "    let {argument} = int(\"{name}\", {argument})?;").expect("memory");
        }
        write!(parameters, ", {argument}: {rust}").expect("memory");
    }
    let builder: String = declaration
        .split(',')
        .skip(1)
        .map(|parameter| parameter.rsplit([' ', '*']).next().expect("a name").trim().to_owned())
        .map(|argument| {
            let by_reference = parameters.contains(&format!(", {argument}: &"));
            format!("    builder.arg({}{argument});\n", if by_reference { "" } else { "&" })
        })
        .collect();
    format!(
        "/// `{name}` of `{file}`.\n\
         pub(super) fn {name}<T: Element>(device: &CudaDevice, shape: LaunchConfig{parameters}) -> Result<()> {{\n\
         {arguments}    let function = device.get_or_load_custom_func(\"{name}\", T::MODULE, T::PTX)?;\n\
         \x20   allow_shared_memory(&function, shape).map_err(|error| failed(\"{name}\", &error))?;\n\
         \x20   let mut builder = function.builder();\n\
         {builder}\
         \x20   // SAFETY: build.rs takes these arguments, in order and in type, from the kernel's own declaration;\n\
         \x20   // that their lengths fit the counts is what each caller sees to, inside this crate.\n\
         \x20   unsafe {{ builder.launch(shape) }}.map_err(|error| failed(\"{name}\", &error))?;\n\
         \x20   Ok(())\n}}\n\n",
        file = source.file_name().expect("a name").to_string_lossy(),
    )
}

/// The compiler: that of CUDA_HOME or CUDA_PATH, else the one on PATH, else the usual place.
fn nvcc() -> PathBuf {
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(PathBuf::from);
    for home in homes.chain([PathBuf::from("/usr/local/cuda")]) {
        let nvcc = home.join("bin").join("nvcc");
        if nvcc.is_file() {
            return nvcc;
        }
    }
    PathBuf::from("nvcc")
}

/// What PTX is made for, as in `compute_80`.
fn architecture() -> String {
    let asked = env::var("CUDA_COMPUTE_CAP").ok().filter(|value| !value.is_empty());
    asked.or_else(found_architecture).unwrap_or_else(|| OLDEST_ARCHITECTURE.to_owned()).replace('.', "")
}

fn found_architecture() -> Option<String> {
    let output = Command::new("nvidia-smi")
        .args(["--query-gpu=compute_cap", "--format=csv,noheader"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.lines().next()?.trim().to_owned()).filter(|value| output.status.success() && !value.is_empty())
}

fn compile(nvcc: &Path, architecture: &str, (element, flags): (&str, &[&str]), to: &Path) {
    let output = Command::new(nvcc)
        .args([
            "-ptx",
            "-O3",
            "-std=c++17",
            &format!("-arch=compute_{architecture}"),
            &format!("-DELEMENT={element}"),
        ])
        .args(flags)
        .arg(Path::new(SOURCES).join("all.cu"))
        .arg("-o")
        .arg(to)
        .output();
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) => fail(&format!(
            "{} could not compile {SOURCES}/all.cu for {element} and compute_{architecture}:\n{}",
            nvcc.display(),
            String::from_utf8_lossy(&output.stderr)
        )),
        Err(error) => fail(&format!(
            "the feature `cuda` needs nvcc, CUDA's compiler, but {} could not be run: {error}.\n\
             Set CUDA_HOME to the folder of the CUDA toolkit (nvcc is in its bin/) or put nvcc on PATH; \
             docs/gpu.md says how to get one on a machine without a GPU",
            nvcc.display()
        )),
    }
}

/// Ends the build with a message instead of a panic's trace.
fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    std::process::exit(1);
}
