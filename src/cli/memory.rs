//! How much memory a process holds, where the system tells (`/proc`, so Linux).

/// Most resident bytes of this process so far (VmHWM), or since [`reset_peak`].
pub(super) fn peak() -> Option<u64> {
    of("self", "VmHWM")
}

/// Lets [`peak`] begin anew at the present size. False where the system does not allow it.
pub(super) fn reset_peak() -> bool {
    reset_peak_of("self")
}

/// The same of `/proc/PROCESS`.
pub(super) fn reset_peak_of(process: &str) -> bool {
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").is_ok()
}

/// A field of `/proc/PROCESS/status` in bytes, such as `VmHWM` or `VmRSS`.
pub(super) fn of(process: &str, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
