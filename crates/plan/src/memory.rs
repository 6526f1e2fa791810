//! How much memory there is, where the system says so.

use std::path::Path;

/// Bytes that the machine has, or that the control group allows, whichever is less.
pub fn of_the_machine() -> Option<f64> {
    least([kibibytes("/proc/meminfo", "MemTotal:"), control_group().map(|(limit, _)| limit)])
}

/// Bytes that can be had without swapping: of the machine, and below the limits of the control group and of the
/// process's address space (`ulimit -v`).
pub fn available() -> Option<f64> {
    let group = control_group().map(|(limit, used)| (limit - used).max(0.0));
    least([kibibytes("/proc/meminfo", "MemAvailable:"), group, address_space()])
}

/// Address space that the allocator and the stacks of threads take without using it.
const RESERVED: f64 = 800e6;

/// Bytes of address space below the process's limit; `None` where there is no limit.
fn address_space() -> Option<f64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    let limit: f64 = limit.split_whitespace().next()?.parse().ok()?;
    Some((limit - kibibytes("/proc/self/status", "VmSize:")? - RESERVED).max(0.0))
}

/// The least limit of the process's control group and those above it, and what is in use below that one; `None` where
/// there is no limit.
fn control_group() -> Option<(f64, f64)> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    groups
        .lines()
        .filter_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let (root, names) = match controllers {
                "" => ("/sys/fs/cgroup", ["memory.max", "memory.current"]),
                "memory" => ("/sys/fs/cgroup/memory", ["memory.limit_in_bytes", "memory.usage_in_bytes"]),
                _ => return None,
            };
            limit_below(Path::new(root), path, names)
        })
        .min_by(|(a, _), (b, _)| a.total_cmp(b))
}

fn limit_below(root: &Path, path: &str, [limit, usage]: [&str; 2]) -> Option<(f64, f64)> {
    let number = |path: &Path| std::fs::read_to_string(path).ok()?.trim().parse::<f64>().ok();
    let below = Path::new(path.trim_start_matches('/'));
    below
        .ancestors()
        .filter_map(|group| {
            let group = root.join(group);
            let used = number(&group.join(usage))?;
            // What the system keeps of files that were read is given back where memory is short.
            let files = field(group.join("memory.stat"), "inactive_file ").unwrap_or(0.0);
            Some((number(&group.join(limit))?, (used - files).max(0.0)))
        })
        .min_by(|(a, _), (b, _)| a.total_cmp(b))
}

/// The bytes of a [`field`] in KiB.
fn kibibytes(path: &str, name: &str) -> Option<f64> {
    Some(field(path, name)? * 1024.0)
}

/// The number on the line that begins with `name`.
fn field(path: impl AsRef<Path>, name: &str) -> Option<f64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

fn least<const N: usize>(found: [Option<f64>; N]) -> Option<f64> {
    found.into_iter().flatten().min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_the_groups_above_counts() -> std::io::Result<()> {
        let root = tempfile::tempdir()?;
        let names = ["memory.max", "memory.current"];
        for (group, limit, used) in [("", "max", "900"), ("a", "500", "300"), ("a/b", "700", "100")] {
            let group = root.path().join(group);
            std::fs::create_dir_all(&group)?;
            std::fs::write(group.join(names[0]), format!("{limit}\n"))?;
            std::fs::write(group.join(names[1]), format!("{used}\n"))?;
            std::fs::write(group.join("memory.stat"), "anon 5\ninactive_file 40\n")?;
        }
        assert_eq!(limit_below(root.path(), "/a/b", names), Some((500.0, 260.0)));
        assert_eq!(limit_below(root.path(), "/", names), None, "no limit");
        Ok(())
    }

    #[test]
    fn there_is_memory() {
        assert!(available().is_none_or(|bytes| bytes > 1e6) && of_the_machine() >= available());
    }
}
